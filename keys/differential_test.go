package keys_test

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
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
)

// golangJWT is golang-jwt with all of its own checks on, over keys that were decoded here by hand.
func golangJWT(t testing.TB, jwks []byte, now func() time.Time) func(token string) (jwt.MapClaims, error) {
	t.Helper()
	var document struct {
		Keys []struct{ Kid, Alg, Kty, N, E, X, Y string }
	}
	if err := json.Unmarshal(jwks, &document); err != nil {
		t.Fatal(err)
	}
	public, algorithms := map[any]any{}, map[any]any{}
	for _, k := range document.Keys {
		algorithms[k.Kid] = k.Alg
		switch k.Kty {
		case "RSA":
			public[k.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(decode(t, k.N)), E: int(new(big.Int).SetBytes(decode(t, k.E)).Int64())}
		case "EC":
			key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, decode(t, k.X)...), decode(t, k.Y)...))
			if err != nil {
				t.Fatal(err)
			}
			public[k.Kid] = key
		case "OKP":
			public[k.Kid] = ed25519.PublicKey(decode(t, k.X))
		}
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"RS256", "ES256", "EdDSA"}), jwt.WithStrictDecoding(), jwt.WithTimeFunc(now),
		jwt.WithLeeway(30*time.Second), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithIssuer(issuerName), jwt.WithAudience("api"))
	return func(token string) (jwt.MapClaims, error) {
		claims := jwt.MapClaims{}
		_, err := parser.ParseWithClaims(token, claims, func(token *jwt.Token) (any, error) {
			kid := token.Header["kid"]
			if public[kid] == nil || algorithms[kid] != token.Header["alg"] {
				return nil, errors.New("no such key")
			}
			return public[kid], nil
		})
		return claims, err
	}
}

func decode(t testing.TB, text string) []byte {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func asJWT(m map[string]any) jwt.MapClaims { return jwt.MapClaims(m) }

// floats turns the integers that we keep exactly into what encoding/json makes of them.
func floats(value any) any {
	switch value := value.(type) {
	case json.Number:
		number, err := value.Float64()
		if err != nil {
			panic(err)
		}
		return number
	case []any:
		list := make([]any, len(value))
		for i := range value {
			list[i] = floats(value[i])
		}
		return list
	case map[string]any:
		object := map[string]any{}
		for name := range value {
			object[name] = floats(value[name])
		}
		return object
	}
	return value
}

func drawValue(depth int) *rapid.Generator[any] {
	scalars := []*rapid.Generator[any]{
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.String().AsAny(), rapid.Float64Range(-1e300, 1e300).AsAny(), rapid.Int64().AsAny(),
	}
	if depth == 0 {
		return rapid.OneOf(scalars...)
	}
	return rapid.OneOf(append(scalars,
		rapid.SliceOfN(drawValue(depth-1), 0, 4).AsAny(), rapid.MapOfN(rapid.String(), drawValue(depth-1), 0, 4).AsAny())...)
}

// Whatever is accepted here, golang-jwt accepts too with all of its checks on, and reads the same claims.
func TestAcceptsNoMoreThanGolangJWT(t *testing.T) {
	f := newFixture(t)
	verify := golangJWT(t, f.issuer.JWKS(), f.Now)
	accepted, denied := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		now := float64(instant.Unix())
		extra := rapid.MapOfN(rapid.StringMatching(`[a-z.]{1,6}|[ -~]{0,3}|é`), drawValue(3), 0, 4).Draw(t, "extra")
		for _, name := range []string{"exp", "nbf", "iat"} {
			times := rapid.OneOf(rapid.Float64Range(now-60, now+90).AsAny(), rapid.Float64Range(now-3e5, now+3e5).AsAny(), drawValue(1))
			if rapid.IntRange(0, 3).Draw(t, name+" changed") == 0 {
				extra[name] = times.Draw(t, name)
			}
		}
		for _, name := range []string{"aud", "sub", "iss", "roles", "scope"} {
			if rapid.IntRange(0, 9).Draw(t, name+" changed") == 0 {
				extra[name] = rapid.OneOf(rapid.SampledFrom([]any{"api", []any{"web", "api"}, issuerName}), drawValue(2)).Draw(t, name)
			}
		}
		token := f.issuer.Token(keystest.Claims{Extra: extra, Algorithm: rapid.SampledFrom([]string{"RS256", "ES256", "EdDSA"}).Draw(t, "alg")})
		if rapid.IntRange(0, 3).Draw(t, "altered") == 0 {
			token = alter(t, token)
		}
		outcome, err := f.auth.Evaluate(t.Context(), withToken(token), &policy.Principal{})
		if err != nil {
			t.Fatal(err)
		}
		if outcome.Verdict != policy.Passed {
			denied++
			return
		}
		accepted++
		claims, err := verify(strings.TrimLeft(token, " ")) // between Bearer and the token is 1*SP (RFC 9110, section 11.4)
		if err != nil {
			t.Fatalf("accepted here, and golang-jwt says %v", err)
		}
		if diff := cmp.Diff(claims, asJWT(floats(outcome.Principal.Claims).(map[string]any))); diff != "" {
			t.Fatalf("claims (-golang-jwt +ours):\n%s", diff)
		}
	})
	if accepted < 5 || denied < 5 {
		t.Errorf("%d tokens were accepted and %d denied, and the test needs both", accepted, denied)
	}
}

// Spaces between the scheme and the token are no part of the token; within the token, or behind it, they are no token's.
func TestSpacesBeforeTheToken(t *testing.T) {
	f := newFixture(t)
	token := f.issuer.Token(keystest.Claims{})
	for text, want := range map[string]policy.Verdict{token: policy.Passed, "  " + token: policy.Passed, token[:9] + " " + token[9:]: policy.Denied, token + " x": policy.Denied} {
		if outcome, err := f.auth.Evaluate(t.Context(), withToken(text), &policy.Principal{}); err != nil || outcome.Verdict != want {
			t.Errorf("%d bytes: %v, %v", len(text), outcome.Verdict, err)
		}
	}
}

func alter(t *rapid.T, token string) string {
	at := rapid.IntRange(0, len(token)-1).Draw(t, "at")
	switch rapid.IntRange(0, 3).Draw(t, "how") {
	case 0:
		return token[:at] + token[at+1:]
	case 1:
		return token[:at] + rapid.SampledFrom(strings.Split("A.=.\r.\n. .-._.+./.,.\x00.é", ".")).Draw(t, "insert") + token[at:]
	case 2:
		return token[:at]
	}
	return token[:at] + string(token[at]^byte(1<<rapid.IntRange(0, 6).Draw(t, "bit"))) + token[at+1:]
}
