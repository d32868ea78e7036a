package keystest

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"maps"
	"time"
)

// Client is an OAuth client that proves to be the one whom its tokens were issued to (DPoP, RFC 9449). It is safe for use by many
// goroutines at once.
type Client struct {
	// Now is the client's clock, time.Now unless it is set before the first use.
	Now func() time.Time

	key *signingKey
}

// NewClient returns a client with a fresh key for RS256, ES256 or EdDSA.
func NewClient(algorithm string) (*Client, error) {
	key, err := newSigningKey(algorithm)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return &Client{Now: time.Now, key: key}, nil
}

// Thumbprint is that of the client's key (RFC 7638).
func (c *Client) Thumbprint() string { return c.key.id }

// Confirmation is the claim `cnf` of tokens that are bound to the client's key.
func (c *Client) Confirmation() map[string]any { return map[string]any{"jkt": c.key.id} }

// JWK is the client's public key.
func (c *Client) JWK() map[string]any { return maps.Clone(c.key.public) }

// Proof says what a proof is for. Entries of Claims and Header replace those of a good one; a nil value leaves one out.
type Proof struct {
	Method, URL string
	Token       string // the access token
	Nonce       string // left out when empty
	Claims      map[string]any
	Header      map[string]any
}

// Proof returns a proof for one request, made now.
func (c *Client) Proof(p Proof) string {
	header := map[string]any{"typ": "dpop+jwt", "alg": c.key.algorithm, "jwk": c.key.public}
	hash := sha256.Sum256([]byte(p.Token))
	claims := map[string]any{"jti": rand.Text(), "htm": p.Method, "htu": p.URL, "iat": c.Now().Unix(), "ath": encode(hash[:])}
	if p.Nonce != "" {
		claims["nonce"] = p.Nonce
	}
	replaceEntries(header, p.Header)
	replaceEntries(claims, p.Claims)
	text := encode(mustJSON(header)) + "." + encode(mustJSON(claims))
	return text + "." + encode(c.key.sign(text))
}

func replaceEntries(entries, changes map[string]any) {
	for name, value := range changes {
		if value == nil {
			delete(entries, name)
			continue
		}
		entries[name] = value
	}
}
