package keys_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
)

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func ecJWK(t *testing.T, kid string, key *ecdsa.PrivateKey) map[string]any {
	t.Helper()
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	half := (len(point) - 1) / 2
	return map[string]any{"kid": kid, "kty": "EC", "crv": key.Params().Name, "x": encode(point[1 : 1+half]), "y": encode(point[1+half:])}
}

func rsaJWK(kid string, key *rsa.PrivateKey) map[string]any {
	return map[string]any{"kid": kid, "kty": "RSA", "n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes())}
}

// authenticator accepts the tokens of a key set, with every algorithm there is, or those named.
func authenticator(t *testing.T, set []byte, algorithms ...string) *keys.Authenticator {
	t.Helper()
	cfg := config("corp", set)
	cfg.GetJwt().Algorithms = algorithms
	if len(algorithms) == 0 {
		cfg.GetJwt().Algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	}
	store := newStore(t, keys.Options{Now: func() time.Time { return instant }})
	return keys.NewAuthenticator([]*keys.Provider{compile(t, store, cfg)})
}

type keyPair struct {
	private crypto.PrivateKey
	jwk     map[string]any
}

func keyPairs(t *testing.T) map[string]keyPair {
	t.Helper()
	pairs := map[string]keyPair{}
	for name, curve := range map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		pairs[name] = keyPair{key, ecJWK(t, name, key)}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pairs["rsa"] = keyPair{key, rsaJWK("rsa", key)}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pairs["ed"] = keyPair{private, map[string]any{"kid": "ed", "kty": "OKP", "crv": "Ed25519", "x": encode(public)}}
	return pairs
}

var keyOf = map[string]string{
	"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa",
	"ES256": "p256", "ES384": "p384", "ES512": "p521", "EdDSA": "ed",
}

// Every pair of a header's algorithm and a key, and of a header's algorithm and the one that signed: only those
// that belong together are accepted.
func TestEveryAlgorithmWithEveryKey(t *testing.T) {
	pairs := keyPairs(t)
	var set []map[string]any
	for _, pair := range pairs {
		set = append(set, pair.jwk)
	}
	auth := authenticator(t, jwks(t, set...))
	for signed, own := range keyOf {
		for claimed := range keyOf {
			for kid := range pairs {
				want := policy.InvalidSignature
				if signed == claimed && own == kid {
					want = policy.NoReason
				}
				header := map[string]any{"alg": claimed, "kid": kid}
				token := sign(t, jwt.GetSigningMethod(signed), pairs[own].private, header, goodClaims())
				if got := reason(t, auth, token); got != want {
					t.Errorf("signed with %s, alg %s, kid %s: %v, want %v", signed, claimed, kid, got, want)
				}
			}
		}
	}
}

func TestOnlyConfiguredAlgorithms(t *testing.T) {
	pair := keyPairs(t)["rsa"]
	auth := authenticator(t, jwks(t, pair.jwk), "RS256")
	for algorithm, own := range keyOf {
		if own != "rsa" {
			continue
		}
		want := policy.InvalidSignature
		if algorithm == "RS256" {
			want = policy.NoReason
		}
		token := sign(t, jwt.GetSigningMethod(algorithm), pair.private, map[string]any{"kid": "rsa"}, goodClaims())
		if got := reason(t, auth, token); got != want {
			t.Errorf("%s: %v, want %v", algorithm, got, want)
		}
	}
}

func TestKeysOwnAlgorithmHolds(t *testing.T) {
	pair := keyPairs(t)["rsa"]
	pair.jwk["alg"] = "PS256"
	auth := authenticator(t, jwks(t, pair.jwk))
	for _, header := range []map[string]any{{"kid": "rsa"}, {}} {
		if got := reason(t, auth, sign(t, jwt.SigningMethodPS256, pair.private, header, goodClaims())); got != policy.NoReason {
			t.Errorf("its own, header %v: %v", header, got)
		}
		if got := reason(t, auth, sign(t, jwt.SigningMethodRS256, pair.private, header, goodClaims())); got == policy.NoReason {
			t.Errorf("another, header %v, is accepted", header)
		}
	}
}

// withSignature returns a token of the algorithm with that signature.
func withSignature(t *testing.T, algorithm, kid string, signature func(text string) []byte) string {
	t.Helper()
	header, err := json.Marshal(map[string]any{"alg": algorithm, "kid": kid})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := json.Marshal(goodClaims())
	if err != nil {
		t.Fatal(err)
	}
	text := encode(header) + "." + encode(claims)
	return text + "." + encode(signature(text))
}

// The values that verifiers have accepted for any message (CVE-2022-21449 and its kind; the list follows
// Wycheproof's special values for ECDSA in P1363 form).
func TestSpecialSignaturesOfES256(t *testing.T) {
	pair := keyPairs(t)["p256"]
	auth := authenticator(t, jwks(t, pair.jwk))
	params := elliptic.P256().Params()
	one := big.NewInt(1)
	special := map[string]*big.Int{
		"0": big.NewInt(0), "1": one, "n-1": new(big.Int).Sub(params.N, one), "n": params.N, "n+1": new(big.Int).Add(params.N, one),
		"p": params.P, "p+1": new(big.Int).Add(params.P, one), "2^256-1": new(big.Int).Sub(new(big.Int).Lsh(one, 256), one),
	}
	for r, rValue := range special {
		for s, sValue := range special {
			signature := append(rValue.FillBytes(make([]byte, 32)), sValue.FillBytes(make([]byte, 32))...)
			if got := reason(t, auth, withSignature(t, "ES256", "p256", func(string) []byte { return signature })); got != policy.InvalidSignature {
				t.Errorf("r = %s, s = %s: %v", r, s, got)
			}
		}
	}
	good := func(text string) []byte {
		digest := sha256.Sum256([]byte(text))
		r, s, err := ecdsa.Sign(rand.Reader, pair.private.(*ecdsa.PrivateKey), digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
	if got := reason(t, auth, withSignature(t, "ES256", "p256", good)); got != policy.NoReason {
		t.Fatalf("a good signature: %v", got)
	}
	for name, change := range map[string]func([]byte) []byte{
		"s is -s mod p": func(b []byte) []byte {
			s := new(big.Int).Sub(params.P, new(big.Int).SetBytes(b[32:]))
			return append(b[:32:32], s.FillBytes(make([]byte, 32))...)
		},
		"r and s swapped": func(b []byte) []byte { return append(slices.Clone(b[32:]), b[:32]...) },
		"cut":             func(b []byte) []byte { return b[:63] },
		"longer":          func(b []byte) []byte { return append(b, 0) },
		"padded":          func(b []byte) []byte { return slices.Concat([]byte{0}, b[:32], []byte{0}, b[32:]) },
		"ASN.1": func(b []byte) []byte {
			return slices.Concat([]byte{0x30, 70, 2, 33, 0}, b[:32], []byte{2, 33, 0}, b[32:])
		},
	} {
		token := withSignature(t, "ES256", "p256", func(text string) []byte { return change(good(text)) })
		if got := reason(t, auth, token); got != policy.InvalidSignature {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestWrongFormsOfRS256(t *testing.T) {
	pair := keyPairs(t)["rsa"]
	key, ok := pair.private.(*rsa.PrivateKey)
	if !ok {
		t.Fatalf("the key is a %T", pair.private)
	}
	auth := authenticator(t, jwks(t, pair.jwk))
	raised := func(block []byte) []byte { // the private operation on any block
		return new(big.Int).Exp(new(big.Int).SetBytes(block), key.D, key.N).FillBytes(make([]byte, 256))
	}
	// DER of DigestInfo for SHA-256 (RFC 8017, section 9.2, note 1).
	prefix := []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}
	block := func(padding int, tail []byte, rest int) []byte {
		b := append([]byte{0, 1}, slices.Repeat([]byte{0xff}, padding)...)
		return slices.Concat(b, []byte{0}, tail, make([]byte, rest))
	}
	for name, test := range map[string]struct {
		make func(digest []byte) []byte
		want policy.Reason
	}{
		"right":                  {func(d []byte) []byte { return raised(block(202, append(slices.Clone(prefix), d...), 0)) }, policy.NoReason},
		"garbage behind (BB'06)": {func(d []byte) []byte { return raised(block(8, append(slices.Clone(prefix), d...), 194)) }, policy.InvalidSignature},
		"no DigestInfo":          {func(d []byte) []byte { return raised(block(221, d, 0)) }, policy.InvalidSignature},
		"NULL left out":          {func(d []byte) []byte { return raised(block(204, append(noNull(prefix), d...), 0)) }, policy.InvalidSignature},
		"zero":                   {func([]byte) []byte { return make([]byte, 256) }, policy.InvalidSignature},
		"one":                    {func([]byte) []byte { return append(make([]byte, 255), 1) }, policy.InvalidSignature},
		"the modulus":            {func([]byte) []byte { return key.N.Bytes() }, policy.InvalidSignature},
		"cut": {func(d []byte) []byte {
			return raised(block(202, append(slices.Clone(prefix), d...), 0))[:255]
		}, policy.InvalidSignature},
		"a zero before": {func(d []byte) []byte {
			return append([]byte{0}, raised(block(202, append(slices.Clone(prefix), d...), 0))...)
		}, policy.InvalidSignature},
	} {
		token := withSignature(t, "RS256", "rsa", func(text string) []byte { d := sha256.Sum256([]byte(text)); return test.make(d[:]) })
		if got := reason(t, auth, token); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	otherHash := withSignature(t, "RS256", "rsa", func(text string) []byte {
		digest := sha512.Sum512([]byte(text))
		signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA512, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return signature
	})
	if got := reason(t, auth, otherHash); got != policy.InvalidSignature {
		t.Errorf("SHA-512 under RS256: %v", got)
	}
}

// noNull returns a DigestInfo prefix whose algorithm has no parameters.
func noNull(prefix []byte) []byte {
	short := slices.Delete(slices.Clone(prefix), 15, 17)
	short[1], short[3] = 0x2f, 0x0b
	return short
}

// The published examples of RFC 7515, appendices A.2 and A.3. Their tokens have no subject and no audience, so
// that a good signature is seen by the refusal being about the claims.
func TestPublishedExamples(t *testing.T) {
	const claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	for name, test := range map[string]struct{ jwk, header, signature string }{
		"A.2": {
			`{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}`,
			"eyJhbGciOiJSUzI1NiJ9", "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
		},
		"A.3": {
			`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
			"eyJhbGciOiJFUzI1NiJ9", "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
		},
	} {
		cfg := config("joe", []byte(`{"keys":[`+test.jwk+`]}`))
		cfg.GetJwt().Issuer = "joe"
		store := newStore(t, keys.Options{Now: func() time.Time { return time.Unix(1300819000, 0) }})
		auth := keys.NewAuthenticator([]*keys.Provider{compile(t, store, cfg)})
		token := test.header + "." + claims + "." + test.signature
		if got := reason(t, auth, token); got != policy.WrongAudience {
			t.Errorf("%s: %v", name, got)
		}
		other := test.header + "." + encode([]byte(`{"iss":"joe","exp":1300819380}`)) + "." + test.signature
		if got := reason(t, auth, other); got != policy.InvalidSignature {
			t.Errorf("%s, other claims: %v", name, got)
		}
	}
}
