package mint_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"github.com/kasbah-authz/kasbah/keys/internal/mint"
)

// publicKey returns the key of that id out of a published set.
func publicKey(raw []byte, id any) (any, error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, err
	}
	for _, text := range set.Keys {
		key, err := jwkset.NewJWKFromRawJSON(text, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil {
			return nil, err
		}
		if key.Marshal().KID == id {
			return key.Key(), nil
		}
	}
	return nil, errors.New("an unknown key")
}

func signingKey(t testing.TB, algorithm string) (private crypto.Signer, method jwt.SigningMethod) {
	t.Helper()
	var err error
	switch method = jwt.GetSigningMethod(algorithm); algorithm {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case "RS256":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return private, method
}

// A file of which any part is in doubt is refused, in words that hold nothing of it.
func TestReadRefuses(t *testing.T) {
	text, err := newKeys(t, mint.Algorithms...).Format()
	if err != nil {
		t.Fatal(err)
	}
	fresh := func() []any {
		var file map[string][]any
		if err := json.Unmarshal(text, &file); err != nil {
			t.Fatal(err)
		}
		return file["keys"]
	}
	of := func(algorithm string, change func(key map[string]any)) func() any {
		return func() any {
			list := fresh()
			for _, member := range list {
				if key := member.(map[string]any); key["alg"] == algorithm {
					change(key)
				}
			}
			return list
		}
	}
	other := fresh()[0].(map[string]any)
	secrets := []string{}
	for _, member := range fresh() {
		secrets = append(secrets, member.(map[string]any)["d"].(string))
	}
	weak, _ := rsa.GenerateKey(rand.Reader, 1024)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	foreign := func(private crypto.Signer, algorithm string) func() any {
		return func() any {
			key, err := jwkset.NewJWKFromKey(private, jwkset.JWKOptions{Marshal: jwkset.JWKMarshalOptions{Private: true}, Metadata: jwkset.JWKMetadataOptions{KID: "a", ALG: jwkset.ALG(algorithm)}})
			if err != nil {
				t.Fatal(err)
			}
			text, _ := json.Marshal(key.Marshal())
			var member map[string]any
			_ = json.Unmarshal(text, &member)
			return []any{member}
		}
	}
	for name, change := range map[string]func() any{
		"absent":             func() any { return nil },
		"a text":             func() any { return "keys" },
		"empty":              func() any { return []any{} },
		"a number":           func() any { return []any{7.0} },
		"too many":           func() any { return make([]any, 101) },
		"no d":               of("ES256", func(key map[string]any) { delete(key, "d") }),
		"no kid":             of("EdDSA", func(key map[string]any) { delete(key, "kid") }),
		"no alg":             of("EdDSA", func(key map[string]any) { delete(key, "alg") }),
		"a long kid":         of("EdDSA", func(key map[string]any) { key["kid"] = strings.Repeat("k", 257) }),
		"kid twice":          of("EdDSA", func(key map[string]any) { key["kid"] = other["kid"]; key["d"] = secrets[1] }),
		"alg is another":     of("ES256", func(key map[string]any) { key["alg"] = "EdDSA" }),
		"alg is none":        of("ES256", func(key map[string]any) { key["alg"] = "none" }),
		"alg is symmetric":   of("ES256", func(key map[string]any) { key["alg"] = "HS256" }),
		"alg is PS256":       of("RS256", func(key map[string]any) { key["alg"] = "PS256" }),
		"use is enc":         of("ES256", func(key map[string]any) { key["use"] = "enc" }),
		"d is a number":      of("ES256", func(key map[string]any) { key["d"] = 7.0 }),
		"d is no base64":     of("ES256", func(key map[string]any) { key["d"] = "!!" + secrets[0] }),
		"another's d":        of("EdDSA", func(key map[string]any) { key["d"] = secrets[0] }),
		"another's x":        of("ES256", func(key map[string]any) { key["x"] = key["y"] }),
		"another exponent":   of("RS256", func(key map[string]any) { key["e"] = "Aw" }),
		"nbf is a text":      of("ES256", func(key map[string]any) { key["nbf"] = "now" }),
		"nbf has a fraction": of("ES256", func(key map[string]any) { key["nbf"] = 1.5 }),
		"nbf is negative":    of("ES256", func(key map[string]any) { key["nbf"] = -1.0 }),
		"exp is far":         of("ES256", func(key map[string]any) { key["exp"] = 1e15 }),
		"symmetric": func() any {
			return []any{map[string]any{"kty": "oct", "k": "c2VjcmV0", "d": "x", "kid": "a", "alg": "HS256"}}
		},
		"weak RSA": foreign(weak, "RS256"),
		"P-384":    foreign(p384, "ES256"),
	} {
		file := map[string]any{"keys": change()}
		keys, err := mint.Read(file)
		if err == nil {
			t.Errorf("%s: it is read, with %d keys", name, len(keys.All()))
			continue
		}
		for _, secret := range secrets {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error has a private key in it", name)
			}
		}
	}
}

// What is written is read as the same, and written as the same again.
func TestFormatRoundTrip(t *testing.T) {
	text, err := newKeys(t, mint.Algorithms...).Format()
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	keys, err := mint.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := keys.Format()
	if err != nil || string(again) != string(text) {
		t.Errorf("%v, another text", err)
	}
}
