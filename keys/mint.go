package keys

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/mint"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// SigningKeys are private keys that sign tokens of our own.
type SigningKeys = mint.Keys

// MintStats counts tokens of our own.
type MintStats = mint.Stats

// SigningAlgorithms are those that signing keys may be for.
func SigningAlgorithms() []string { return slices.Clone(mint.Algorithms) }

// MaxInternalLifetime is the longest that a token of our own may be good for.
const MaxInternalLifetime = 10 * time.Minute

// defaultInternalLifetime is how long one is good for where nothing says it.
const defaultInternalLifetime = time.Minute

// ReadSigningKeys reads a file of private keys. Errors hold nothing of a key.
func ReadSigningKeys(data []byte) (*SigningKeys, error) {
	if len(data) > maxKeySet {
		return nil, fmt.Errorf("signing keys of more than %d bytes", maxKeySet)
	}
	file, err := decodeObject(string(data), maxSetDepth)
	if err != nil {
		return nil, fmt.Errorf("no signing keys: %w", err)
	}
	keys, err := mint.Read(file)
	if err != nil {
		return nil, fmt.Errorf("no signing keys: %w", err)
	}
	return keys, nil
}

// Minter makes tokens of our own about principals. It is safe for use by many goroutines at once.
type Minter struct {
	minter *mint.Minter
	issuer string
	header string
	prefix string // before the token, such as "Bearer "
}

// Minter compiles what is said about tokens of our own. Errors are [*policy.FieldError], their fields relative to the message.
func (s *Store) Minter(cfg *configv1.InternalToken, files Files) (*Minter, error) {
	data, err := files.Read(cfg.GetKeys().GetFile())
	if err != nil {
		return nil, &policy.FieldError{Field: "keys.file", Err: err}
	}
	keys, err := ReadSigningKeys(data)
	if err != nil {
		return nil, &policy.FieldError{Field: "keys.file", Err: err}
	}
	m := &Minter{issuer: cfg.GetIssuer(), header: strings.ToLower(cmp.Or(cfg.GetHeader(), "x-internal-token"))}
	if scheme := cfg.GetScheme(); scheme != "" {
		m.prefix = scheme + " "
	} else if m.header == authorization {
		m.prefix = "Bearer "
	}
	lifetime := duration(cfg.GetLifetime(), defaultInternalLifetime)
	if lifetime > MaxInternalLifetime {
		return nil, &policy.FieldError{Field: "lifetime", Err: fmt.Errorf("it is longer than %v", MaxInternalLifetime)}
	}
	made := mint.Config{Issuer: m.issuer, Audiences: slices.Clone(cfg.GetAudiences()), Lifetime: lifetime, Keys: keys, Cache: s.minted, Now: s.now}
	for _, name := range slices.Sorted(maps.Keys(cfg.GetClaims())) {
		field := fmt.Sprintf("claims[%q]", name)
		if files.Claim == nil {
			return nil, &policy.FieldError{Field: field, Err: errors.New("expressions are not read here")}
		}
		value, err := files.Claim(cfg.GetClaims()[name])
		if err != nil {
			return nil, &policy.FieldError{Field: field, Err: err}
		}
		made.Claims = append(made.Claims, mint.Claim{Name: name, Value: value})
	}
	if m.minter, err = mint.New(made); err != nil {
		return nil, &policy.FieldError{Field: "keys", Err: err}
	}
	return m, nil
}

// Header returns the name of the header that a token goes in, in lower case.
func (m *Minter) Header() string { return m.header }

// Injection returns what makes the header's value, with a token for those audiences; none: those of the configuration. An
// anonymous principal has no value.
func (m *Minter) Injection(audiences []string) func(*policy.Request, *policy.Principal) (string, bool, error) {
	audiences = slices.Clone(audiences)
	return func(_ *policy.Request, principal *policy.Principal) (string, bool, error) {
		token, ok, err := m.minter.Token(principal, audiences)
		if !ok {
			return "", false, err
		}
		return m.prefix + token, true, nil
	}
}

// Issuer returns the tokens' `iss`.
func (m *Minter) Issuer() string { return m.issuer }

// KeySet returns the public keys as a JSON Web Key Set.
func (m *Minter) KeySet() ([]byte, error) { return m.minter.KeySet() }

// Algorithms returns those that tokens are signed with, now or after the next rotation.
func (m *Minter) Algorithms() []string { return m.minter.Algorithms() }

// Minted counts tokens of our own since the Store was made.
func (s *Store) Minted() MintStats { return s.minted.Stats() }
