package mint

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/kasbah-authz/kasbah/policy"
)

// skew is how far the clock of a verifier may be behind ours without a leeway of its own: `nbf` is that long ago.
const skew = 5 * time.Second

// reserved are the claims that a Minter makes itself, or that mean something to verifiers which only it may say.
var reserved = []string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "roles", "scope", "tenant", "provider", "provider_iss", "provider_sub", "client_id", "act", "cnf",
}

// Claim is one more claim of a token.
type Claim struct {
	Name string
	// Value returns what it is of a principal, as encoding/json takes it. present false leaves it out; an error refuses the token.
	Value func(principal *policy.Principal) (value any, present bool, err error)
}

// Config says what tokens a Minter makes. Issuer, Audiences, Lifetime, Keys, Cache and Now are required.
type Config struct {
	Issuer    string
	Audiences []string // of a token whose caller names none
	// Lifetime is how long a token is good for, in whole seconds from 1 on. One of a principal whose credential ends before ends with it.
	Lifetime time.Duration
	Claims   []Claim // in an order that is always the same
	Keys     *Keys
	Cache    *Cache
	Now      func() time.Time
}

// Minter makes tokens. It is safe for use by many goroutines at once.
type Minter struct {
	Config
	base []byte // what a statement begins with
}

// New returns a Minter.
func New(cfg Config) (*Minter, error) {
	if cfg.Issuer == "" || len(cfg.Audiences) == 0 || cfg.Lifetime < time.Second || cfg.Keys == nil || cfg.Cache == nil || cfg.Now == nil {
		return nil, errors.New("making a minter: Issuer, Audiences, Lifetime, Keys, Cache and Now are required")
	}
	for _, claim := range cfg.Claims {
		if slices.Contains(reserved, claim.Name) {
			return nil, fmt.Errorf("the claim %s is made of the principal, and cannot be another", claim.Name)
		}
	}
	if cfg.Keys.Current(cfg.Now()) == nil {
		return nil, ErrNoKey
	}
	m := &Minter{Config: cfg}
	m.base = writeInt(writeText(nil, cfg.Issuer), int64(cfg.Lifetime))
	return m, nil
}

// KeySet returns the public keys as JSON (RFC 7517, section 5).
func (m *Minter) KeySet() ([]byte, error) {
	return json.Marshal(map[string]any{"keys": m.Keys.published(m.Now(), m.Lifetime+time.Minute)})
}

// Algorithms returns those of the keys that a verifier may meet, each once.
func (m *Minter) Algorithms() []string {
	var all []string
	for _, key := range m.Keys.list {
		if !slices.Contains(all, key.Algorithm) {
			all = append(all, key.Algorithm)
		}
	}
	return all
}

// Token returns a token of a principal for those audiences; none: the Config's. ok is false for one that is anonymous, of whom
// there is nothing to say. It takes no lock and signs nothing where the principal had such a token lately.
func (m *Minter) Token(principal *policy.Principal, audiences []string) (token string, ok bool, err error) {
	if principal.Anonymous() {
		return "", false, nil
	}
	if len(audiences) == 0 {
		audiences = m.Audiences
	}
	token, err = m.token(principal, audiences)
	if err != nil {
		m.Cache.refused.Add(1)
		return "", false, fmt.Errorf("minting a token: %w", err)
	}
	return token, true, nil
}

func (m *Minter) token(principal *policy.Principal, audiences []string) (string, error) {
	now := m.Now()
	key := m.Keys.Current(now)
	if key == nil { // the clock went back
		return "", ErrNoKey
	}
	extra, err := m.more(principal)
	if err != nil {
		return "", err
	}
	said := m.state(key, principal, audiences, extra)
	if token, ok := m.Cache.get(said, now); ok {
		m.Cache.reused.Add(1)
		return token, nil
	}
	claims, ends, err := m.claims(principal, audiences, extra, now)
	if err != nil {
		return "", err
	}
	unsigned := jwt.NewWithClaims(key.method, claims)
	unsigned.Header["kid"] = key.ID
	token, err := unsigned.SignedString(key.private)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	m.Cache.minted.Add(1)
	// The half of its time, so that every token has as much left when it is handed out, if its credential has.
	if until := now.Add(m.Lifetime / 2); until.Before(ends) {
		ends = until
	}
	if now.Before(ends) { // or the credential is in its leeway
		m.Cache.put(said, token, ends)
	}
	return token, nil
}

// said is the text of one claim that the configuration adds.
type said struct {
	name string
	text json.RawMessage
}

// more returns the claims that the configuration adds.
func (m *Minter) more(principal *policy.Principal) ([]said, error) {
	var all []said
	for _, claim := range m.Claims {
		value, present, err := claim.Value(principal)
		if err != nil {
			return nil, fmt.Errorf("the claim %s: %w", claim.Name, err)
		}
		if !present {
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("the claim %s is no JSON", claim.Name)
		}
		all = append(all, said{claim.Name, text})
	}
	if actor, ok := principal.Claims["act"].(map[string]any); ok { // who acts for the subject (RFC 8693, section 4.1)
		text, err := json.Marshal(actor)
		if err != nil {
			return nil, errors.New("act is no JSON")
		}
		all = append(all, said{"act", text})
	}
	return all, nil
}

// claims returns what a token says, and when it ends.
func (m *Minter) claims(principal *policy.Principal, audiences []string, extra []said, now time.Time) (jwt.MapClaims, time.Time, error) {
	if !isText(principal, audiences) {
		return nil, time.Time{}, errors.New("the principal is not UTF-8, and JSON would make it another one")
	}
	issued := now.Truncate(time.Second)
	ends := issued.Add(m.Lifetime)
	if end := principal.Expires.Truncate(time.Second); !principal.Expires.IsZero() && end.Before(ends) {
		ends = end
	}
	claims := jwt.MapClaims{
		"iss": m.Issuer, "sub": principal.ID, "aud": audiences, "jti": rand.Text(),
		"iat": issued.Unix(), "nbf": issued.Add(-skew).Unix(), "exp": ends.Unix(), "provider": principal.Provider,
	}
	if len(audiences) == 1 {
		claims["aud"] = audiences[0]
	}
	if len(principal.Roles) > 0 {
		claims["roles"] = principal.Roles
	}
	// One string of words: a scope with a space in it would be read as two that nobody granted.
	scopes := slices.DeleteFunc(slices.Clone(principal.Scopes), func(scope string) bool { return strings.ContainsAny(scope, " \t\r\n") })
	for name, value := range map[string]string{
		"scope": strings.Join(scopes, " "), "tenant": principal.Tenant, "provider_iss": principal.Issuer,
		"provider_sub": principal.Subject, "client_id": client(principal),
	} {
		if value != "" {
			claims[name] = value
		}
	}
	for _, one := range extra {
		claims[one.name] = one.text
	}
	return claims, ends, nil
}

// client returns the client that the credential was given to (RFC 8693, section 4.3; OpenID Connect Core, section 2).
func client(principal *policy.Principal) string {
	for _, name := range [...]string{"client_id", "azp"} {
		if text, ok := principal.Claims[name].(string); ok {
			return text
		}
	}
	return ""
}

func isText(principal *policy.Principal, audiences []string) bool {
	for _, list := range [...][]string{
		{principal.ID, principal.Provider, principal.Issuer, principal.Subject, principal.Tenant, client(principal)}, principal.Roles, principal.Scopes, audiences,
	} {
		if slices.ContainsFunc(list, func(text string) bool { return !utf8.ValidString(text) }) {
			return false
		}
	}
	return true
}
