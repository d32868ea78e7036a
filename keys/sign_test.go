package keys_test

import (
	"crypto"
	"encoding/json"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

// rehead returns a well-signed token of the issuer with another header.
func rehead(t testing.TB, issuer *keystest.Issuer, changes map[string]any) string {
	t.Helper()
	return issuer.TokenWithHeader(keystest.Claims{}, changes)
}

// sign signs claims with any algorithm and key of golang-jwt's.
func sign(t testing.TB, method jwt.SigningMethod, key crypto.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	token := &jwt.Token{Method: method, Header: map[string]any{"alg": method.Alg()}, Claims: jwt.MapClaims(claims)}
	for name, value := range header {
		token.Header[name] = value
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func goodClaims() map[string]any {
	return map[string]any{"iss": issuerName, "sub": "alice", "aud": "api", "exp": instant.Unix() + 60}
}

func jwks(t testing.TB, keys ...map[string]any) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}
