package keys_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/kasbah-authz/kasbah/policy"
)

// BenchmarkDPoP is a request with a token that is remembered and a proof (ES256) beside golang-jwt alone, which verifies the same proof
// with the key in it.
func BenchmarkDPoP(b *testing.B) {
	p := newPossession(b)
	proof := p.client.Proof(p.good())
	req := request("DPoP "+p.token, proof)
	req.Serial = 1 // so that the same proof may come again
	b.Run("kasbah", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if outcome, err := p.auth.Evaluate(b.Context(), req, &policy.Principal{}); err != nil || outcome.Verdict != policy.Passed {
				b.Fatalf("%+v, %v", outcome, err)
			}
		}
	})
	b.Run("golang-jwt", func(b *testing.B) {
		parser := jwt.NewParser(jwt.WithValidMethods([]string{"ES256"}))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := parser.Parse(proof, embeddedKey); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// embeddedKey is the key in a proof's header.
func embeddedKey(token *jwt.Token) (any, error) {
	text, err := json.Marshal(token.Header["jwk"])
	if err != nil {
		return nil, err
	}
	var jwk struct{ X, Y string }
	if err := json.Unmarshal(text, &jwk); err != nil {
		return nil, err
	}
	point := []byte{4}
	for _, part := range []string{jwk.X, jwk.Y} {
		data, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || len(data) != 32 {
			return nil, errors.New("no coordinate")
		}
		point = append(point, data...)
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}
