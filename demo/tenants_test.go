package demo_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

const tenantsConfig = `server: {drain: 0s, log: {decisions: none}}
providers:
- name: directory
  jwt:
    issuer: https://login.example/{tenant}/v2.0
    tenants: [red, blue]
    audiences: [api]
    algorithms: [RS256]
    jwks: {file: jwks.json}
    claims: [{path: azp, values: [web]}]
    conditions: [principal.claims.email_verified, '!principal.id.startsWith("test-")']
    principal: {roles: realm_access.roles grants}
- name: batch
  jwt:
    issuer: batch
    audiences: [api]
    algorithms: [HS256]
    secrets: [{algorithm: HS256, secret: {file: secret.txt}}]
- name: sealed
  jwt:
    issuer: http://issuer:9193
    audiences: [api]
    algorithms: [RS256]
    jwks: {file: jwks.json}
    decryption: [{algorithm: ECDH-ES, key: {file: private.pem}}]
routes:
- name: orders
  match: [{path: /orders/}]
  authenticate: [directory, batch, sealed]
  any_principal: true
  headers: {x-user: principal.id, x-tenant: principal.tenant, x-roles: principal.roles}
`

// seal encrypts a token for a key that is returned in PEM.
func seal(t *testing.T) (private string, seal func(token string) string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encrypter, err := jose.NewEncrypter(jose.A128GCM, jose.Recipient{Algorithm: jose.ECDH_ES, Key: &key.PublicKey}, (&jose.EncrypterOptions{}).WithContentType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), func(token string) string {
		sealed, err := encrypter.Encrypt([]byte(token))
		if err != nil {
			t.Fatal(err)
		}
		text, err := sealed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
}

// The tokens of many tenants, with what else they must say, those of a program that shares a secret, and encrypted ones.
func TestTenants(t *testing.T) {
	private, seal := seal(t)
	const secret = "0123456789abcdef0123456789abcdef"
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": tenantsConfig, "secret.txt": secret + "\n", "private.pem": private})
	token := func(changes map[string]any) string {
		claims := map[string]any{
			"iss": "https://login.example/red/v2.0", "azp": "web", "email_verified": true,
			"realm_access": map[string]any{"roles": []any{"a"}}, "grants": map[string]any{"b": map[string]any{}, "c": false},
		}
		for name, value := range changes {
			claims[name] = value
		}
		return g.issuer.Token(keystest.Claims{Extra: claims})
	}
	batch := func(secret string) string {
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": "batch", "aud": "api", "sub": "nightly", "exp": time.Now().Unix() + 60}).SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	e := g.edge(t, "hardened", rawUpstream(t))
	for name, c := range map[string]struct {
		token  string
		status int
		seen   []string // x-user, x-tenant, x-roles
	}{
		"red":                 {token(nil), 200, []string{"alice", "red", "a,b"}},
		"blue":                {token(map[string]any{"iss": "https://login.example/blue/v2.0"}), 200, []string{"alice", "blue", "a,b"}},
		"not on the list":     {token(map[string]any{"iss": "https://login.example/green/v2.0"}), 401, nil},
		"another application": {token(map[string]any{"azp": "spy"}), 401, nil},
		"not verified":        {token(map[string]any{"email_verified": false}), 401, nil},
		"a test user":         {token(map[string]any{"sub": "test-1"}), 401, nil},
		"a shared secret":     {batch(secret), 200, []string{"nightly"}},
		"another secret":      {batch(secret + "x"), 401, nil},
		"encrypted":           {seal(g.issuer.Token(keystest.Claims{Subject: "carol"})), 200, []string{"carol"}},
		"not encrypted":       {g.issuer.Token(keystest.Claims{}), 401, nil},
		"encrypted, expired":  {seal(g.issuer.Forge(keystest.Expired, keystest.Claims{})), 401, nil},
		"the public key":      {g.issuer.Forge(keystest.HS256PublicKey, keystest.Claims{Extra: map[string]any{"iss": "batch"}}), 401, nil},
	} {
		o := e.try(t, attack{target: "/orders/7"}.with(bearer(c.token)))
		mustBe(t, e, attack{target: name}, o, c.status)
		if seen := slices.Concat(o.values("x-user"), o.values("x-tenant"), o.values("x-roles")); !slices.Equal(seen, c.seen) {
			t.Errorf("%s: the upstream sees %q, want %q", name, seen, c.seen)
		}
	}
	e.noErrors(t)
}
