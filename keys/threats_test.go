package keys_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/proto"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// publishedKey is the id of the issuer's key for the algorithm.
func publishedKey(t testing.TB, issuer *keystest.Issuer, algorithm string) string {
	t.Helper()
	var document struct{ Keys []struct{ Kid, Alg string } }
	if err := json.Unmarshal(issuer.JWKS(), &document); err != nil {
		t.Fatal(err)
	}
	for _, key := range document.Keys {
		if key.Alg == algorithm {
			return key.Kid
		}
	}
	t.Fatalf("no key for %s", algorithm)
	return ""
}

// A token brings no key of its own (RFC 8725, section 3.10): not as jwk, x5c or x5t, not by the address of one, not by a key id that
// is a path, an address or SQL. Nothing is opened and nobody is asked but the issuer (THREATS a.3).
func TestKeysThatATokenBrings(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.run()
		if got := w.reason(w.issuer.Token(keystest.Claims{Algorithm: "ES256"})); got != policy.NoReason {
			t.Fatalf("a good token: %v", got)
		}
		fetched := w.fetches()
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: issuerName}, NotAfter: time.Now().Add(time.Hour)}
		certificate, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
		if err != nil {
			t.Fatal(err)
		}
		published := publishedKey(t, w.issuer, "ES256")
		own := ecJWK(t, published, private)
		claims := map[string]any{"iss": issuerName, "sub": "root", "aud": "api", "exp": time.Now().Unix() + 60}
		for name, header := range map[string]map[string]any{
			"jwk":                  {"jwk": own},
			"jwk, of another id":   {"jwk": ecJWK(t, "mine", private), "kid": "mine"},
			"x5c":                  {"x5c": []any{base64.StdEncoding.EncodeToString(certificate)}},
			"x5t":                  {"x5t": "AAAA", "x5t#S256": "AAAA"},
			"jku":                  {"jku": "https://evil.test/jwks.json"},
			"jku of the issuer":    {"jku": issuerName + "/evil.json"},
			"x5u":                  {"x5u": "https://evil.test/cert.pem"},
			"kid is an address":    {"kid": "https://evil.test/jwks.json"},
			"kid is a path":        {"kid": "../../../../dev/null"},
			"kid is a file":        {"kid": "file:///dev/null"},
			"kid is SQL":           {"kid": "x' UNION SELECT 'key' --"},
			"kid is a command":     {"kid": "/dev/null; sleep 10 |"},
			"kid has a NUL":        {"kid": published + "\x00"},
			"kid in another case":  {"kid": strings.ToUpper(published) + "X"},
			"kid with a space":     {"kid": " " + published},
			"all, and a known kid": {"jwk": own, "jku": "https://evil.test/a", "x5u": "https://evil.test/b", "x5c": []any{base64.StdEncoding.EncodeToString(certificate)}, "kid": published},
		} {
			for _, withKid := range []bool{false, true} {
				header := maps.Clone(header)
				if _, has := header["kid"]; !has && withKid {
					header["kid"] = published
				}
				want := []policy.Reason{policy.InvalidSignature, policy.UnknownKey}
				if got := w.reason(sign(t, jwt.SigningMethodES256, private, header, claims)); !slices.Contains(want, got) {
					t.Errorf("%s, with a published kid %t: %v", name, withKid, got)
				}
			}
		}
		if got := w.fetches(); got > fetched+1 { // which also fails where somebody else was asked
			t.Errorf("%d fetches more, and one in an interval is meant", got-fetched)
		}
	})
}

// An answer about a token is read up to its limit and no further, whatever the server sends (THREATS a.6, Traefik CVE-2026-26998).
func TestEndlessIntrospectionIsCut(t *testing.T) {
	introspected(t, func(t *testing.T, i *inspected) {
		read := 0
		i.network.mu.Lock()
		i.network.body = func(context.Context) io.ReadCloser {
			return io.NopCloser(readerFunc(func(p []byte) (int, error) {
				if read += len(p); read > 16<<20 {
					return 0, io.ErrUnexpectedEOF
				}
				return copy(p, strings.Repeat(" ", len(p))), nil
			}))
		}
		i.network.mu.Unlock()
		if got := i.result("alice"); got != policy.Unavailable {
			t.Errorf("%v", got)
		}
		synctest.Wait()
		if read == 0 || read > 256<<10 {
			t.Errorf("%d bytes were read", read)
		}
	})
}

// What one provider remembers of a token is not what another would have said of it, in whichever order they are asked (THREATS a.6,
// Oathkeeper CVE-2021-32701); nor is a token of another client good (authentik CVE-2024-47077).
func TestRememberedAnswersAreHeldToEachRule(t *testing.T) {
	for _, first := range []string{"reads", "writes"} {
		introspected(t, func(t *testing.T, i *inspected) {
			auths := map[string]*keys.Authenticator{}
			for name, claim := range map[string]*configv1.RequiredClaim{
				"reads": {Path: "scope", Values: []string{"read"}}, "writes": {Path: "scope", Values: []string{"write"}}, "app": {Path: "client_id", Values: []string{"app"}},
			} {
				cfg := proto.CloneOf(i.cfg)
				cfg.GetIntrospection().Claims = []*configv1.RequiredClaim{claim}
				cfg.GetIntrospection().Audiences, cfg.GetIntrospection().AnyAudience = nil, true
				provider, err := i.store.Provider(cfg, i.files)
				if err != nil {
					t.Fatal(err)
				}
				auths[name] = keys.NewAuthenticator([]*keys.Provider{provider})
			}
			i.answer = func(w http.ResponseWriter, token string, _ *http.Request) {
				answer := goodAnswer(token)
				answer["scope"], answer["client_id"] = "read", token
				writeAnswer(w, answer)
			}
			order := []string{first, "writes", "reads", "app", "writes", "reads", "app"}
			for token, good := range map[string][]string{"app": {"reads", "app"}, "other": {"reads"}} {
				for _, name := range order {
					i.auth = auths[name]
					want := policy.InvalidClaims
					if slices.Contains(good, name) {
						want = policy.NoReason
					}
					if got := i.result(token); got != want {
						t.Errorf("%s first, token of %s at %s: %v, want %v", first, token, name, got, want)
					}
				}
			}
		})
	}
}
