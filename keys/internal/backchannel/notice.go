package backchannel

import (
	"errors"
	"fmt"
	"math"
	"time"
)

const (
	// event is the member of `events` that makes a token a logout token.
	event = "http://schemas.openid.net/event/backchannel-logout"
	// maxText is the longest `sub`, `sid` or `jti`, in bytes.
	maxText = 1000
	// maxLife is how far away a token's end may be, and how long ago its beginning.
	maxLife = time.Hour
)

// Notice is what a logout token says.
type Notice struct {
	Issuer  string
	Subject string // one of these two is not empty
	Session string
	ID      string // `jti`
	Issued  time.Time
	Expires time.Time
}

// Read reads the verified claims of a logout token (sections 2.4 and 2.6), but for `iss` and `aud`. leeway is how far the issuer's
// clock may be off.
func Read(claims map[string]any, now time.Time, leeway time.Duration) (Notice, error) {
	var n Notice
	if _, present := claims["nonce"]; present {
		return n, errors.New("nonce is there, which makes it an ID token")
	}
	events, _ := claims["events"].(map[string]any)
	if _, ok := events[event].(map[string]any); !ok {
		return n, errors.New("events does not say that it is a logout")
	}
	for name, into := range map[string]*string{"sub": &n.Subject, "sid": &n.Session, "jti": &n.ID} {
		value, present := claims[name]
		if !present {
			continue
		}
		text, ok := value.(string)
		if !ok || text == "" || len(text) > maxText {
			return n, fmt.Errorf("%s is no string of 1 to %d bytes", name, maxText)
		}
		*into = text
	}
	switch {
	case n.ID == "":
		return n, errors.New("jti is absent")
	case n.Subject == "" && n.Session == "":
		return n, errors.New("it has neither sub nor sid")
	}
	var err error
	if n.Issued, err = seconds(claims, "iat"); err != nil {
		return n, err
	}
	if n.Expires, err = seconds(claims, "exp"); err != nil {
		return n, err
	}
	switch {
	case !now.Before(n.Expires.Add(leeway)):
		return n, errors.New("it has expired")
	case n.Issued.After(now.Add(leeway)):
		return n, errors.New("it is of the future")
	case now.Sub(n.Issued) > maxLife+leeway || n.Expires.Sub(now) > maxLife+leeway || n.Expires.Before(n.Issued):
		return n, fmt.Errorf("iat and exp are not within %v of now, in this order", maxLife)
	}
	return n, nil
}

// seconds reads a NumericDate that must be there.
func seconds(claims map[string]any, name string) (time.Time, error) {
	value, ok := claims[name].(float64)
	if !ok || !(value > 0 && value < 1<<53) {
		return time.Time{}, fmt.Errorf("%s is absent, or no number of seconds between 0 and 2^53", name)
	}
	whole, fraction := math.Modf(value)
	return time.Unix(int64(whole), int64(fraction*1e9)), nil
}
