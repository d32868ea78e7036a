package keystest_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

const name = "http://issuer.test"

var instant = time.Unix(1_800_000_000, 0)

func newIssuer(t *testing.T) *keystest.Issuer {
	t.Helper()
	issuer, err := keystest.New(name)
	if err != nil {
		t.Fatal(err)
	}
	issuer.Now = func() time.Time { return instant }
	return issuer
}

type jwk struct{ Kid, Alg, Use, Kty, Crv, N, E, X, Y string }

func published(t *testing.T, set []byte) map[string]jwk {
	t.Helper()
	var document struct{ Keys []jwk }
	if err := json.Unmarshal(set, &document); err != nil {
		t.Fatal(err)
	}
	keys := map[string]jwk{}
	for _, key := range document.Keys {
		keys[key.Kid] = key
	}
	if len(keys) == 0 || len(keys) != len(document.Keys) {
		t.Fatalf("%d keys under %d ids", len(document.Keys), len(keys))
	}
	return keys
}

func number(t *testing.T, text string) *big.Int {
	t.Helper()
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return new(big.Int).SetBytes(data)
}

func (k jwk) public(t *testing.T) any {
	t.Helper()
	switch k.Kty {
	case "RSA":
		return &rsa.PublicKey{N: number(t, k.N), E: int(number(t, k.E).Int64())}
	case "EC":
		point := append([]byte{4}, number(t, k.X).FillBytes(make([]byte, 32))...)
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(point, number(t, k.Y).FillBytes(make([]byte, 32))...))
		if err != nil {
			t.Fatal(err)
		}
		return key
	case "OKP":
		return ed25519.PublicKey(number(t, k.X).FillBytes(make([]byte, ed25519.PublicKeySize)))
	}
	t.Fatalf("a key of type %q", k.Kty)
	return nil
}

// verify is golang-jwt with all of its checks, as the plainest verifier that one could write.
func verify(t *testing.T, set []byte, token string) (jwt.MapClaims, error) {
	t.Helper()
	keys := published(t, set)
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		key, ok := keys[kid]
		if !ok || key.Alg != token.Header["alg"] {
			return nil, errors.New("no such key")
		}
		return key.public(t), nil
	},
		jwt.WithTimeFunc(func() time.Time { return instant }), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithIssuer(name), jwt.WithAudience("api"), jwt.WithStrictDecoding())
	return claims, err
}

func TestTokenIsGood(t *testing.T) {
	issuer := newIssuer(t)
	for _, algorithm := range []string{"", "RS256", "ES256", "EdDSA"} {
		t.Run("algorithm "+algorithm, func(t *testing.T) {
			token := issuer.Token(keystest.Claims{
				Subject: "bob", Audience: []string{"web", "api"}, Roles: []string{"admin"}, Scope: "read write",
				Lifetime: time.Minute, Algorithm: algorithm, Extra: map[string]any{"tenant": "acme", "jti": nil},
			})
			got, err := verify(t, issuer.JWKS(), token)
			if err != nil {
				t.Fatal(err)
			}
			want := jwt.MapClaims{
				"iss": name, "sub": "bob", "aud": []any{"web", "api"}, "roles": []any{"admin"}, "scope": "read write",
				"iat": float64(instant.Unix()), "exp": float64(instant.Unix() + 60), "tenant": "acme",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
		})
	}
}

func TestZeroClaims(t *testing.T) {
	issuer := newIssuer(t)
	got, err := verify(t, issuer.JWKS(), issuer.Token(keystest.Claims{}))
	if err != nil {
		t.Fatal(err)
	}
	id, ok := got["jti"].(string)
	if !ok || id == "" {
		t.Errorf("jti is %v", got["jti"])
	}
	delete(got, "jti")
	want := jwt.MapClaims{
		"iss": name, "sub": "alice", "aud": "api", "iat": float64(instant.Unix()), "exp": float64(instant.Unix() + 3600),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

func TestRotateKeepsTheFormerKeysOnce(t *testing.T) {
	issuer := newIssuer(t)
	token := issuer.Token(keystest.Claims{})
	first := published(t, issuer.JWKS())

	issuer.Rotate()
	if _, err := verify(t, issuer.JWKS(), token); err != nil {
		t.Errorf("after one rotation: %v", err)
	}
	second := issuer.Token(keystest.Claims{})
	if _, err := verify(t, issuer.JWKS(), second); err != nil {
		t.Errorf("a new token: %v", err)
	}
	if got := len(published(t, issuer.JWKS())); got != 2*len(first) {
		t.Errorf("%d keys are published, want %d", got, 2*len(first))
	}

	issuer.Rotate()
	if _, err := verify(t, issuer.JWKS(), token); err == nil {
		t.Error("after two rotations the first key is still published")
	}
	if _, err := verify(t, issuer.JWKS(), second); err != nil {
		t.Errorf("a token of the rotation before: %v", err)
	}
}

// lenient are the forgeries that golang-jwt accepts as it comes; they are why package keys looks at a token
// itself first. The test also shows that those forgeries are well signed and bad in the one way only.
var lenient = map[keystest.Forgery]bool{
	keystest.MillisExpiry: true, keystest.NoSubject: true, keystest.EmptySubject: true,
	keystest.CritHeader: true, keystest.UnencodedPayload: true, keystest.NestedToken: true,
	keystest.ForeignType: true, keystest.DuplicateClaim: true, keystest.DuplicateHeader: true,
	keystest.LineBreak: true, keystest.DeepClaims: true, keystest.InvalidUTF8: true,
}

func TestForgeriesAreBad(t *testing.T) {
	issuer := newIssuer(t)
	set := issuer.JWKS()
	all := keystest.Forgeries()
	if len(all) < 40 {
		t.Fatalf("%d forgeries", len(all))
	}
	names := map[string]bool{}
	for _, kind := range all {
		if names[kind.String()] || kind.String() == "" {
			t.Errorf("forgery %d has no name of its own: %q", kind, kind)
		}
		names[kind.String()] = true
		for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
			t.Run(kind.String()+"/"+algorithm, func(t *testing.T) {
				token := issuer.Forge(kind, keystest.Claims{Algorithm: algorithm})
				if strings.Count(token, ".") == 0 {
					t.Fatalf("%q is not even shaped like a token", token)
				}
				_, err := verify(t, set, token)
				if accepted := err == nil; accepted != lenient[kind] {
					t.Errorf("golang-jwt says %v", err)
				}
			})
		}
	}
}

// The claims of one token must not depend on what a test did to another's.
func TestForgeLeavesClaimsAlone(t *testing.T) {
	issuer := newIssuer(t)
	claims := keystest.Claims{Extra: map[string]any{"tenant": "acme"}, Roles: []string{"admin"}}
	for _, kind := range keystest.Forgeries() {
		issuer.Forge(kind, claims)
	}
	want := keystest.Claims{Extra: map[string]any{"tenant": "acme"}, Roles: []string{"admin"}}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

func TestNewNeedsAName(t *testing.T) {
	if issuer, err := keystest.New(""); err == nil || issuer != nil {
		t.Errorf("New(\"\") = %v, %v", issuer, err)
	}
}
