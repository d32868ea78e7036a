package keystest

import (
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Issuer is a development OIDC issuer. It is safe for use by many goroutines at once.
type Issuer struct {
	// Now is the issuer's clock, time.Now unless it is set before the first use.
	Now func() time.Time

	name    string
	foreign func() (keyRing, error) // keys that the issuer never publishes, made when first asked for

	mu      sync.Mutex
	current keyRing
	former  keyRing                   // still published, nil before the first Rotate
	opaque  map[string]map[string]any // what each opaque token stands for
}

// New returns an issuer of that identifier, such as "http://issuer:9193", with fresh keys: RSA of 2048
// bits, P-256 and Ed25519.
func New(issuer string) (*Issuer, error) {
	if issuer == "" {
		return nil, fmt.Errorf("making a development issuer: its identifier is empty, and would be a URL")
	}
	ring, err := newKeyRing()
	if err != nil {
		return nil, fmt.Errorf("making a development issuer: %w", err)
	}
	return &Issuer{Now: time.Now, name: issuer, foreign: sync.OnceValues(newKeyRing), current: ring}, nil
}

// Rotate puts new signing keys in force under new key ids. The former public keys stay published until
// the next Rotate.
func (i *Issuer) Rotate() {
	ring, err := newKeyRing()
	if err != nil {
		panic(fmt.Sprintf("keystest: rotating: %v", err))
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.current, i.former = ring, i.current
}

// JWKS returns the published key set (RFC 7517, section 5), the keys in force first.
func (i *Issuer) JWKS() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	keys := []map[string]any{}
	for _, ring := range []keyRing{i.current, i.former} {
		for _, algorithm := range slices.Sorted(maps.Keys(ring)) {
			keys = append(keys, ring[algorithm].jwk())
		}
	}
	return mustJSON(map[string]any{"keys": keys})
}

// Claims says what a token states. The zero Claims is a good token of alice for the audience "api".
type Claims struct {
	Subject  string        // default "alice"
	Audience []string      // default "api"; one is written as a string, more as an array
	Roles    []string      // left out when there are none
	Scope    string        // words with spaces between them, left out when empty
	Lifetime time.Duration // default 1h
	// Extra are further claims, and ones that replace those above; a nil value leaves the claim out.
	Extra map[string]any
	// Algorithm is RS256 (the default), ES256 or EdDSA. Any other is a fault of the caller, and panics.
	Algorithm string
}

// Token returns a good token, signed with the key in force.
func (i *Issuer) Token(claims Claims) string {
	return i.sign(claims, i.payload(claims), nil)
}

// TokenWithHeader returns a token that is signed as well as [Issuer.Token] signs, with other header members; a nil
// value leaves one out. It is good or bad as the header makes it.
func (i *Issuer) TokenWithHeader(claims Claims, header map[string]any) string {
	return i.sign(claims, i.payload(claims), header)
}

// payload is the claims of a good token.
func (i *Issuer) payload(claims Claims) map[string]any {
	now := i.Now()
	lifetime := claims.Lifetime
	if lifetime == 0 {
		lifetime = time.Hour
	}
	payload := map[string]any{
		"iss": i.name,
		"sub": claims.Subject,
		"aud": claims.Audience,
		"iat": now.Unix(),
		"exp": now.Add(lifetime).Unix(),
		"jti": rand.Text(),
	}
	if claims.Subject == "" {
		payload["sub"] = "alice"
	}
	switch len(claims.Audience) {
	case 0:
		payload["aud"] = "api"
	case 1:
		payload["aud"] = claims.Audience[0]
	}
	if len(claims.Roles) > 0 {
		payload["roles"] = claims.Roles
	}
	if claims.Scope != "" {
		payload["scope"] = claims.Scope
	}
	for name, value := range claims.Extra {
		if value == nil {
			delete(payload, name)
			continue
		}
		payload[name] = value
	}
	return payload
}

// sign signs the payload with the key in force of the claims' algorithm. Entries of header replace those
// of a good header; a nil value leaves one out.
func (i *Issuer) sign(claims Claims, payload, header map[string]any) string {
	key := i.key(claims)
	text := encode(mustJSON(headerOf(key, header))) + "." + encode(mustJSON(payload))
	return text + "." + encode(key.sign(text))
}

func headerOf(key *signingKey, changes map[string]any) map[string]any {
	header := map[string]any{"alg": key.algorithm, "kid": key.id, "typ": "JWT"}
	for name, value := range changes {
		if value == nil {
			delete(header, name)
			continue
		}
		header[name] = value
	}
	return header
}

// key returns the key in force of the claims' algorithm.
func (i *Issuer) key(claims Claims) *signingKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.current.of(claims)
}

func (r keyRing) of(claims Claims) *signingKey {
	algorithm := claims.Algorithm
	if algorithm == "" {
		algorithm = rs256
	}
	key, ok := r[algorithm]
	if !ok {
		panic(fmt.Sprintf("keystest: no key for the algorithm %q: it would be RS256, ES256 or EdDSA", algorithm))
	}
	return key
}
