package revoked

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

const (
	// MaxIssuer is the longest issuer of a name, in characters.
	MaxIssuer = 2048
	// MaxValue is the longest value, likewise.
	MaxValue = 1000
	// MaxWindows is the most windows of one name. None of them covers another, so that who reaches it withdraws by hand what
	// no command of ours does.
	MaxWindows = 100
)

// Name names credentials by one of their statements.
type Name struct {
	Claim  string // jti, sid or sub; iss for everything of an issuer
	Issuer string // empty: every issuer
	Value  string // empty just for iss
}

// Check reports what is wrong with a name.
func (n Name) Check() error {
	switch n.Claim {
	case "jti", "sid", "sub":
		if n.Value == "" {
			return fmt.Errorf("%s has no value", n.Claim)
		}
	case "iss":
		if n.Issuer == "" || n.Value != "" {
			return errors.New("iss has an issuer and no value")
		}
	default:
		return errors.New("it is by none of jti, sid, sub and iss")
	}
	if utf8.RuneCountInString(n.Issuer) > MaxIssuer || utf8.RuneCountInString(n.Value) > MaxValue {
		return fmt.Errorf("the issuer is longer than %d characters, or the value than %d", MaxIssuer, MaxValue)
	}
	if !utf8.ValidString(n.Issuer + n.Value) {
		return errors.New("it is no text")
	}
	return nil
}

// Window is for which of the credentials of a name, and for how long.
type Window struct {
	Before time.Time // what was issued until then; zero: all
	Until  time.Time // when it may be forgotten; zero: never
}

// covers reports whether w withdraws all that other does.
func (w Window) covers(other Window) bool {
	return reaches(w.Before, other.Before) && reaches(w.Until, other.Until)
}

// reaches reports whether a is not earlier than b, where zero is the end of time.
func reaches(a, b time.Time) bool { return a.IsZero() || !b.IsZero() && !a.Before(b) }

// Over reports whether the window is of no use any more.
func (w Window) Over(now time.Time) bool { return !w.Until.IsZero() && !now.Before(w.Until) }

// Record is all that is withdrawn of one name.
type Record struct {
	Name
	Windows []Window
}

// Merge returns the windows with one more, without those that another one covers, in one order always.
func Merge(windows []Window, more ...Window) []Window {
	all := slices.Concat(windows, more)
	slices.SortFunc(all, func(a, b Window) int { // what covers stands first
		switch {
		case a.Before.Equal(b.Before) && a.Until.Equal(b.Until):
			return 0
		case a.Before.Equal(b.Before):
			return earlier(reaches(a.Until, b.Until))
		}
		return earlier(reaches(a.Before, b.Before))
	})
	var kept []Window
	for _, w := range all {
		if !slices.ContainsFunc(kept, func(k Window) bool { return k.covers(w) }) {
			kept = append(kept, w)
		}
	}
	return kept
}

func earlier(yes bool) int {
	if yes {
		return -1
	}
	return 1
}

// Current returns the windows that are not over.
func Current(windows []Window, now time.Time) []Window {
	return slices.DeleteFunc(slices.Clone(windows), func(w Window) bool { return w.Over(now) })
}

// End returns when the last window is over; zero: never.
func End(windows []Window) time.Time {
	var end time.Time
	for i, w := range windows {
		if i == 0 || reaches(w.Until, end) {
			end = w.Until
		}
	}
	return end
}
