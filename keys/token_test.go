package keys

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
)

func encodeParts(parts ...string) string {
	for i := range parts {
		parts[i] = base64.RawURLEncoding.EncodeToString([]byte(parts[i]))
	}
	return strings.Join(parts, ".")
}

func TestParseTokenHeader(t *testing.T) {
	for header, good := range map[string]bool{
		`{"alg":"RS256"}`:                        true,
		`{"alg":"none"}`:                         true, // read, and refused by every provider's list
		`{"alg":"RS256","kid":"a/../b' OR 1=1"}`: true,
		`{"alg":"RS256","jku":"http://x","jwk":{},"x5c":[7],"x5u":8}`: true, // not looked at
		`{"alg":"RS256","cty":"json"}`:                                true,
		`{"ALG":"RS256"}`:                                             false,
		`{}`:                                                          false,
		`{"alg":null}`:                                                false,
		`{"alg":7}`:                                                   false,
		`{"alg":["RS256"]}`:                                           false,
		`{"alg":"RS256","alg":"RS256"}`:                               false,
		`{"alg":"RS256","crit":[]}`:                                   false,
		`{"alg":"RS256","crit":null}`:                                 false,
		`{"alg":"RS256","crit":["b64"],"b64":true}`:                   false,
		`{"alg":"RS256","b64":true}`:                                  false,
		`{"alg":"RS256","kid":""}`:                                    false,
		`{"alg":"RS256","kid":null}`:                                  false,
		`{"alg":"RS256","kid":["a"]}`:                                 false,
		`{"alg":"RS256","typ":7}`:                                     false,
		`{"alg":"RS256","cty":"jwt"}`:                                 false,
		`{"alg":"RS256","cty":"application/JWT"}`:                     false,
		`{"alg":"RS256","cty":7}`:                                     false,
		`[]`:                                                          false,
		`{} {}`:                                                       false,
		`"alg"`:                                                       false,

		`{"alg":"RS256","kid":"` + strings.Repeat("k", 256) + `"}`: true,

		`{"alg":"RS256","kid":"` + strings.Repeat("k", 257) + `"}`: false,

		`{"alg":"RS256","x":` + strings.Repeat("[", 15) + strings.Repeat("]", 15) + `}`: true,

		`{"alg":"RS256","x":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + `}`: false,
	} {
		_, err := parseToken(encodeParts(header, `{}`, `x`))
		if accepted := err == nil; accepted != good {
			t.Errorf("%s: %v", header, err)
		}
		if reason, _, _ := refusal(err); err != nil && reason != policy.MalformedCredential {
			t.Errorf("%s: the reason is %v", header, reason)
		}
	}
}

func TestParseTokenClaimsDepth(t *testing.T) {
	for deep, good := range map[int]bool{63: true, 64: false} {
		claims := `{"x":` + strings.Repeat("[", deep) + strings.Repeat("]", deep) + `}`
		if _, err := parseToken(encodeParts(`{"alg":"RS256"}`, claims, "x")); (err == nil) != good {
			t.Errorf("%d arrays in an object: %v", deep, err)
		}
	}
}

func TestCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		text := base64.RawURLEncoding.EncodeToString(data)
		if !canonical(text) {
			t.Fatalf("%q, as encoding/base64 writes it, is refused", text)
		}
		other := rapid.StringMatching(`[A-Za-z0-9_=+/\r\n -]{0,12}`).Draw(t, "other")
		decoded, err := base64.RawURLEncoding.DecodeString(other)
		if want := err == nil && base64.RawURLEncoding.EncodeToString(decoded) == other; canonical(other) != want {
			t.Fatalf("%q: canonical is %v", other, !want)
		}
	})
}

// Whatever is accepted here, golang-jwt reads as a well-formed token with the same algorithm and issuer.
func FuzzParseToken(f *testing.F) {
	good := encodeParts(`{"alg":"ES256","kid":"a","typ":"JWT"}`, `{"iss":"i","sub":"s","exp":1800000000}`, strings.Repeat("x", 64))
	for _, seed := range []string{good, good + ".", good + "=", good[:20], "..", encodeParts(`{"alg":"ES256","crit":[]}`, `{}`, ``)} {
		f.Add(seed)
	}
	parser := jwt.NewParser(jwt.WithStrictDecoding())
	f.Fuzz(func(t *testing.T, raw string) {
		token, err := parseToken(raw)
		if err != nil {
			if reason, _, ok := refusal(err); !ok || reason != policy.MalformedCredential {
				t.Errorf("the error is %v", err)
			}
			return
		}
		if jwt.GetSigningMethod(token.algorithm) == nil {
			return // golang-jwt refuses an algorithm that it does not know, and so does every provider
		}
		claims := jwt.MapClaims{}
		theirs, _, err := parser.ParseUnverified(raw, claims)
		if err != nil {
			t.Fatalf("golang-jwt says %v", err)
		}
		kid, _ := theirs.Header["kid"].(string)
		issuer, _ := claims["iss"].(string)
		want, got := []string{theirs.Method.Alg(), kid, issuer}, []string{token.algorithm, token.keyID, token.issuer}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-golang-jwt +ours):\n%s", diff)
		}
	})
}

func FuzzBearer(f *testing.F) {
	for _, seed := range []string{"Bearer a.b.c", "bearer  x", "Basic x", "Bearer", "Bearer\t", "", "BearerX y", "Bearer a, Bearer b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token, err := bearerLocations.read(&policy.Request{Headers: policy.Headers{{Name: "authorization", Value: value}}})
		if err != nil {
			if _, _, ok := refusal(err); !ok || token != "" {
				t.Errorf("%q beside %v", token, err)
			}
			return
		}
		if token == "" || len(token) > maxToken || token[0] == ' ' || !strings.HasSuffix(value, " "+token) {
			t.Errorf("%q is read as %q", value, token)
		}
	})
}
