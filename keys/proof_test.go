package keys_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// possession is a world with a client that proves, and one provider that takes its proofs.
type possession struct {
	*fixture
	client *keystest.Client
	token  string // bound to the client's key
}

func newClient(t testing.TB, algorithm string, now func() time.Time) *keystest.Client {
	t.Helper()
	client, err := keystest.NewClient(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	client.Now = now
	return client
}

func withProofs(change ...func(*configv1.Proof)) func(*configv1.Jwt) {
	proof := &configv1.Proof{Dpop: &configv1.Dpop{Algorithms: []string{"ES256", "EdDSA", "RS256"}}}
	for _, change := range change {
		change(proof)
	}
	return func(jwt *configv1.Jwt) { jwt.Proof = proof }
}

func newPossession(t testing.TB, change ...func(*configv1.Proof)) *possession {
	t.Helper()
	p := &possession{fixture: newFixture(t, withProofs(change...))}
	p.client = newClient(t, "ES256", p.Now)
	p.token = p.issuer.Token(keystest.Claims{Extra: map[string]any{"cnf": p.client.Confirmation()}})
	return p
}

const ordersURL = "https://api.example.com/orders/7"

// good is what a proof for the request of request says.
func (p *possession) good() keystest.Proof {
	return keystest.Proof{Method: "POST", URL: ordersURL, Token: p.token}
}

// request is one with these authorization and DPoP headers.
func request(authorization string, proofs ...string) *policy.Request {
	req := &policy.Request{
		Method: "POST", Scheme: "https", Host: "api.example.com", Path: "/orders/7", Headers: policy.Headers{{Name: "authorization", Value: authorization}},
	}
	for _, proof := range proofs {
		req.Headers = append(req.Headers, policy.Header{Name: "dpop", Value: proof})
	}
	return req
}

func (p *possession) evaluate(t testing.TB, req *policy.Request) policy.Outcome {
	t.Helper()
	outcome, err := p.auth.Evaluate(t.Context(), req, &policy.Principal{})
	if err != nil {
		t.Fatalf("the stage failed: %v", err)
	}
	return outcome
}

// try is the reason why a request with the bound token and these proofs is denied.
func (p *possession) try(t testing.TB, proofs ...string) policy.Reason {
	t.Helper()
	outcome := p.evaluate(t, request("DPoP "+p.token, proofs...))
	if outcome.Verdict == policy.Passed {
		return policy.NoReason
	}
	return outcome.Reason
}

// The proof of RFC 9449, figure 13, its access token and the key that it is bound to.
const (
	rfcProof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
	rfcToken = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
	rfcKey   = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	// tokenProof is that of figure 2: by the same key, for the authorization server.
	tokenProof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
)

// TestDPoPExample: the example of RFC 9449, section 7.1, whose token a server is asked about, is good at its time, once, and for its
// request alone.
func TestDPoPExample(t *testing.T) {
	introspected(t, func(t *testing.T, i *inspected) {
		i.answer = func(w http.ResponseWriter, _ string, _ *http.Request) {
			answer := goodAnswer("alice")
			answer["cnf"], answer["token_type"] = map[string]any{"jkt": rfcKey}, "DPoP"
			writeAnswer(w, answer)
		}
		get := func(proof string) *policy.Request {
			req := request("DPoP "+rfcToken, proof)
			req.Method, req.Host, req.Path = "GET", "resource.example.org", "/protectedresource"
			return req
		}
		try := func(want policy.Reason, req *policy.Request) {
			t.Helper()
			outcome, err := i.auth.Evaluate(t.Context(), req, &policy.Principal{})
			if err != nil {
				t.Fatal(err)
			}
			if got := outcome.Reason; outcome.Verdict != policy.Passed && got != want || outcome.Verdict == policy.Passed && want != policy.NoReason {
				t.Errorf("%v (%s), want %v", got, outcome.Detail, want)
			}
		}
		other := get(rfcProof)
		other.Path = "/other"
		try(policy.InvalidProof, other)
		try(policy.InvalidProof, get(tokenProof))
		try(policy.NoReason, get(rfcProof))
		try(policy.Replayed, get(rfcProof))
		time.Sleep(95 * time.Second) // of the bubble
		try(policy.InvalidProof, get(rfcProof))
	}, func(message *configv1.Introspection) {
		time.Sleep(time.Until(time.Unix(1562262620, 0))) // in the bubble, and before anything runs
		message.Proof = &configv1.Proof{Required: true, Dpop: &configv1.Dpop{Algorithms: []string{"ES256"}}}
	})
}

// TestDPoPRefusals: each thing that can be wrong with a proof, by its name. None of them uses the proof up, nor lets the next one pass.
func TestDPoPRefusals(t *testing.T) {
	t.Parallel()
	p := newPossession(t)
	other := newClient(t, "ES256", p.Now)
	with := func(change func(*keystest.Proof)) string {
		proof := p.good()
		change(&proof)
		return p.client.Proof(proof)
	}
	claim := func(name string, value any) string {
		return with(func(proof *keystest.Proof) { proof.Claims = map[string]any{name: value} })
	}
	header := func(name string, value any) string {
		return with(func(proof *keystest.Proof) { proof.Header = map[string]any{name: value} })
	}
	jwk := func(name string, value any) string {
		key := p.client.JWK()
		key[name] = value
		return header("jwk", key)
	}
	good := p.client.Proof(p.good())
	parts := strings.Split(good, ".")
	unsigned := func(algorithm string) string {
		return strings.Split(header("alg", algorithm), ".")[0] + "." + parts[1] + "."
	}
	before := func(age time.Duration) any { return p.Now().Add(-age).Unix() }
	for name, proofs := range map[string][]string{
		"no proof": nil, "two proofs": {good, good}, "two proofs in one header": {good + "," + good}, "an empty proof": {""}, "no token": {"proof"},
		"four parts": {good + ".e30"}, "two parts": {parts[0] + "." + parts[1]}, "padding": {good + "="}, "a space": {" " + good}, "a line break": {good[:9] + "\r\n" + good[9:]},
		"too long": {claim("x", strings.Repeat("x", 8<<10))}, "no JSON": {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte("{")) + "." + parts[2]},
		"no typ": {header("typ", nil)}, "typ JWT": {header("typ", "JWT")}, "typ at+jwt": {header("typ", "at+jwt")}, "typ is a number": {header("typ", 7)},
		"no alg": {header("alg", nil)}, "alg none": {unsigned("none")}, "alg NONE": {unsigned("NONE")}, "alg HS256": {header("alg", "HS256")}, "alg of the list, not of the key": {header("alg", "RS256")},
		"alg not of the list": {header("alg", "ES384")}, "crit": {header("crit", []string{"jwk"})}, "b64": {header("b64", false)},
		"no jwk": {header("jwk", nil)}, "jwk is a text": {header("jwk", "key")}, "jwk is empty": {header("jwk", map[string]any{})}, "jwk is symmetric": {header("jwk", map[string]any{"kty": "oct", "k": "AAAA"})},
		"jwk is private": {jwk("d", "AAAA")}, "jwk has a secret": {jwk("k", "AAAA")}, "jwk has a prime": {jwk("p", "AAAA")}, "jwk is for encryption": {jwk("use", "enc")},
		"jwk is for another algorithm": {jwk("alg", "ES384")}, "jwk of another curve": {jwk("crv", "P-384")}, "jwk off the curve": {jwk("y", p.client.JWK()["x"])},
		"another key": {other.Proof(p.good())}, "another key, this jwk": {other.Proof(keystest.Proof{Method: "POST", URL: ordersURL, Token: p.token, Header: map[string]any{"jwk": p.client.JWK()}})},
		"no signature": {parts[0] + "." + parts[1] + "."}, "a signature of zeros": {parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2]))},
		"another's claims": {parts[0] + "." + strings.Split(claim("x", 1), ".")[1] + "." + parts[2]},
		"no htm":           {claim("htm", nil)}, "htm of another method": {claim("htm", "GET")}, "htm in lower case": {claim("htm", "post")}, "htm is a list": {claim("htm", []string{"POST"})},
		"no htu": {claim("htu", nil)}, "htu is empty": {claim("htu", "")}, "htu is a list": {claim("htu", []string{ordersURL})}, "htu is a path": {claim("htu", "/orders/7")}, "htu too long": {claim("htu", ordersURL+"?"+strings.Repeat("x", 8<<10))},
		"htu of another scheme": {claim("htu", "http://api.example.com/orders/7")}, "htu of another host": {claim("htu", "https://api.example.org/orders/7")}, "htu of another port": {claim("htu", "https://api.example.com:8443/orders/7")},
		"htu of another path": {claim("htu", "https://api.example.com/orders/8")}, "htu with a slash more": {claim("htu", ordersURL+"/")}, "htu in capitals": {claim("htu", "https://api.example.com/ORDERS/7")}, "htu with an encoded slash": {claim("htu", "https://api.example.com/orders%2f7")},
		"htu with a user": {claim("htu", "https://user@api.example.com/orders/7")}, "htu behind a user": {claim("htu", "https://api.example.com@evil.example/orders/7")}, "htu with a backslash": {claim("htu", `https://api.example.com\orders\7`)},
		"no iat": {claim("iat", nil)}, "iat too long ago": {claim("iat", before(91*time.Second))}, "iat in the future": {claim("iat", before(-31*time.Second))}, "iat is a text": {claim("iat", "1800000000")},
		"iat 0": {claim("iat", 0)}, "iat in milliseconds": {claim("iat", p.Now().UnixMilli())}, "iat is huge": {claim("iat", int64(1)<<62)},
		"no jti": {claim("jti", nil)}, "jti is empty": {claim("jti", "")}, "jti is a number": {claim("jti", 7)}, "jti too long": {claim("jti", strings.Repeat("x", 257))},
		"no ath": {claim("ath", nil)}, "ath of another token": {with(func(proof *keystest.Proof) { proof.Token = "other" })}, "ath is the token": {claim("ath", p.token)},
	} {
		if got := p.try(t, proofs...); got != policy.InvalidProof {
			t.Errorf("%s: %v", name, got)
		}
	}
	for name, proof := range map[string]string{
		"as it is": good, "typ application/dpop+jwt": header("typ", "application/DPoP+JWT"), "the oldest": claim("iat", before(90*time.Second)), "of a client that is ahead": claim("iat", before(-30*time.Second)),
		"iat with a fraction": claim("iat", float64(p.Now().Unix())-0.5), "a nonce that nobody asked for": claim("nonce", "x"), "a key id": header("kid", "mine"), "jwk with its purpose": jwk("use", "sig"), "the longest jti": claim("jti", strings.Repeat("x", 256)),
		"htu with query and fragment": claim("htu", ordersURL+"?full=1#top"), "htu with the default port": claim("htu", "HTTPS://API.example.com.:443/orders/7"), "htu with dots": claim("htu", "https://api.example.com/x/../orders/./%37"),
	} {
		if got := p.try(t, proof); got != policy.NoReason {
			t.Errorf("%s: %v", name, got)
		}
	}
	if stats := p.store.ReplayStats(); stats.Remembered != 12 || stats.Replayed != 0 {
		t.Errorf("%+v", stats)
	}
}

// The bindings of tokens in TestBindings.
func boundTo(certificate *keystest.Certificate) map[string]func(key string) any {
	sum := sha256.Sum256(certificate.Certificate.Raw)
	thumbprint := base64.RawURLEncoding.EncodeToString(sum[:])
	return map[string]func(key string) any{
		"nothing": func(string) any { return nil }, "key": func(key string) any { return map[string]any{"jkt": key} },
		"certificate":                    func(string) any { return map[string]any{"x5t#S256": thumbprint} },
		"key and certificate":            func(key string) any { return map[string]any{"jkt": key, "x5t#S256": thumbprint} },
		"null":                           func(string) any { return json.RawMessage("null") },
		"a text":                         func(key string) any { return key },
		"an empty object":                func(string) any { return map[string]any{} },
		"jwk":                            func(string) any { return map[string]any{"jwk": map[string]any{"kty": "EC"}} },
		"kid":                            func(string) any { return map[string]any{"kid": "key-1"} },
		"x5t":                            func(string) any { return map[string]any{"x5t": thumbprint} },
		"key and something":              func(key string) any { return map[string]any{"jkt": key, "osc": 1} },
		"a number":                       func(string) any { return map[string]any{"jkt": 7} },
		"an empty key":                   func(string) any { return map[string]any{"jkt": ""} },
		"key with padding":               func(key string) any { return map[string]any{"jkt": key + "="} },
		"key with bits that nobody uses": func(key string) any { return map[string]any{"jkt": key[:42] + "B"} },
		"a list of keys":                 func(key string) any { return map[string]any{"jkt": []string{key}} },
	}
}

// TestBindings: a token is held to what it is bound to, whatever its provider demands, and behind which scheme it stands.
func TestBindings(t *testing.T) {
	t.Parallel()
	authority := keystest.NewAuthority("root", instant)
	unchanged := func(*x509.Certificate) {}
	certificate, another := authority.Issue(unchanged), authority.Issue(unchanged)
	bindings := boundTo(certificate)
	const bearer, proofs = `Bearer realm="kasbah"`, `DPoP realm="kasbah", algs="ES256 EdDSA RS256"`
	const invalid, badProof = `, error="invalid_token"`, `, error="invalid_dpop_proof"`
	providers := map[string]func(*configv1.Proof){
		"nothing": func(p *configv1.Proof) { p.Dpop = nil }, "dpop": func(*configv1.Proof) {}, "dpop!": func(p *configv1.Proof) { p.Required = true },
		"certificate!": func(p *configv1.Proof) { p.Dpop, p.Required, p.Certificate = nil, true, &configv1.CertificateBinding{} },
		"either!":      func(p *configv1.Proof) { p.Required, p.Certificate = true, &configv1.CertificateBinding{} },
	}
	worlds := map[string]*possession{}
	for name, change := range providers {
		worlds[name] = newPossession(t, change)
	}
	for _, c := range []struct {
		provider, token, scheme string
		proof                   bool
		shown                   *keystest.Certificate
		want                    policy.Reason
		challenge               string
	}{
		{"nothing", "nothing", "Bearer", false, nil, policy.NoReason, ""},
		{"nothing", "key", "Bearer", true, nil, policy.InvalidProof, bearer + invalid}, // RFC 9449, section 7.2
		{"nothing", "key", "DPoP", true, nil, policy.MissingCredential, bearer},
		{"nothing", "nothing", "DPoP", true, nil, policy.MissingCredential, bearer},
		{"nothing", "certificate", "Bearer", false, certificate, policy.NoReason, ""}, // RFC 8705, section 3
		{"nothing", "certificate", "Bearer", false, another, policy.InvalidProof, bearer + invalid},
		{"nothing", "certificate", "Bearer", false, nil, policy.InvalidProof, bearer + invalid},
		{"nothing", "key and certificate", "Bearer", true, certificate, policy.InvalidProof, bearer + invalid},
		{"dpop", "nothing", "Bearer", false, nil, policy.NoReason, ""},
		{"dpop", "nothing", "DPoP", true, nil, policy.InvalidClaims, proofs + invalid},
		{"dpop", "key", "DPoP", true, nil, policy.NoReason, ""},
		{"dpop", "key", "dpop", true, nil, policy.NoReason, ""},
		{"dpop", "key", "DPoP", false, nil, policy.InvalidProof, proofs + badProof},
		{"dpop", "key", "Bearer", true, nil, policy.InvalidProof, proofs + invalid},
		{"dpop", "certificate", "Bearer", false, certificate, policy.NoReason, ""},
		{"dpop", "certificate", "Bearer", false, another, policy.InvalidProof, bearer + invalid},
		{"dpop", "key and certificate", "DPoP", true, certificate, policy.NoReason, ""},
		{"dpop", "key and certificate", "DPoP", true, another, policy.InvalidProof, proofs + invalid},
		{"dpop", "key and certificate", "DPoP", false, certificate, policy.InvalidProof, proofs + badProof},
		{"dpop!", "nothing", "Bearer", false, nil, policy.InvalidClaims, proofs + invalid},
		{"dpop!", "certificate", "Bearer", false, certificate, policy.InvalidClaims, proofs + invalid},
		{"dpop!", "key", "DPoP", true, nil, policy.NoReason, ""},
		{"certificate!", "nothing", "Bearer", false, certificate, policy.InvalidClaims, bearer + invalid},
		{"certificate!", "certificate", "Bearer", false, certificate, policy.NoReason, ""},
		{"certificate!", "certificate", "Bearer", false, another, policy.InvalidProof, bearer + invalid},
		{"certificate!", "key", "Bearer", true, certificate, policy.InvalidProof, bearer + invalid},
		{"either!", "nothing", "Bearer", false, certificate, policy.InvalidClaims, proofs + invalid},
		{"either!", "certificate", "Bearer", false, certificate, policy.NoReason, ""},
		{"either!", "key", "DPoP", true, nil, policy.NoReason, ""},
		{"dpop", "null", "Bearer", false, nil, policy.InvalidClaims, proofs + invalid},
		{"nothing", "null", "Bearer", false, nil, policy.InvalidClaims, bearer + invalid},
		{"nothing", "kid", "Bearer", false, certificate, policy.InvalidClaims, bearer + invalid},
		{"dpop", "a text", "DPoP", true, nil, policy.InvalidClaims, proofs + invalid},
		{"dpop", "an empty object", "Bearer", false, nil, policy.InvalidClaims, proofs + invalid},
		{"dpop", "jwk", "DPoP", true, nil, policy.InvalidClaims, proofs + invalid},
		{"dpop", "x5t", "Bearer", false, certificate, policy.InvalidClaims, proofs + invalid},
		{"dpop", "key and something", "DPoP", true, nil, policy.InvalidClaims, proofs + invalid},
		{"dpop", "a number", "DPoP", true, nil, policy.InvalidClaims, proofs + invalid},
		{"dpop", "an empty key", "DPoP", true, nil, policy.InvalidClaims, proofs + invalid},
		{"dpop", "key with padding", "DPoP", true, nil, policy.InvalidClaims, proofs + invalid},
		{"dpop", "key with bits that nobody uses", "DPoP", true, nil, policy.InvalidClaims, proofs + invalid},
		{"dpop", "a list of keys", "DPoP", true, nil, policy.InvalidClaims, proofs + invalid},
	} {
		p := worlds[c.provider]
		p.token = p.issuer.Token(keystest.Claims{Extra: map[string]any{"cnf": bindings[c.token](p.client.Thumbprint())}})
		for _, when := range []string{"verified now", "remembered"} {
			req := request(c.scheme + " " + p.token)
			if c.proof {
				req = request(c.scheme+" "+p.token, p.client.Proof(p.good()))
			}
			if c.shown != nil {
				req.Source.Certificate = c.shown.Encoded()
			}
			outcome := p.evaluate(t, req)
			got := outcome.Reason
			if outcome.Verdict == policy.Passed {
				got = policy.NoReason
			}
			if got != c.want || strings.Join(outcome.Challenges, "|") != c.challenge || strings.Contains(outcome.Detail, p.token) {
				t.Errorf("provider %s, bound to %s, %s, proof: %v, %s: %v, %q (%s)", c.provider, c.token, c.scheme, c.proof, when, got, outcome.Challenges, outcome.Detail)
			}
		}
	}
}

// TestDPoPOffers: who shows no credential is told every scheme of the route, and a DPoP provider beside one for plain tokens takes nothing
// away from it.
func TestDPoPOffers(t *testing.T) {
	t.Parallel()
	c := &clock{instant}
	store := newStore(t, keys.Options{Now: c.Now})
	proving, plain := newIssuer(t, "https://proving.test", c.Now), newIssuer(t, issuerName, c.Now)
	cfg := config("proving", proving.JWKS())
	cfg.GetJwt().Issuer = "https://proving.test"
	withProofs(func(p *configv1.Proof) { p.Required = true })(cfg.GetJwt())
	providers := []*keys.Provider{compile(t, store, cfg), compile(t, store, config("plain", plain.JWKS()))}
	client := newClient(t, "EdDSA", c.Now)
	bound := keystest.Claims{Extra: map[string]any{"cnf": client.Confirmation()}}
	slices.Reverse(providers)
	for range 2 {
		slices.Reverse(providers)
		auth := keys.NewAuthenticator(providers)
		try := func(req *policy.Request) policy.Outcome {
			t.Helper()
			outcome, err := auth.Evaluate(t.Context(), req, &policy.Principal{})
			if err != nil {
				t.Fatal(err)
			}
			return outcome
		}
		missing := try(&policy.Request{})
		if slices.Sort(missing.Challenges); !slices.Equal(missing.Challenges, []string{`Bearer realm="kasbah"`, `DPoP realm="kasbah", algs="ES256 EdDSA RS256"`}) {
			t.Errorf("%q", missing.Challenges)
		}
		token := proving.Token(bound)
		proof := client.Proof(keystest.Proof{Method: "POST", URL: ordersURL, Token: token})
		if got := try(request("DPoP "+token, proof)); got.Verdict != policy.Passed || got.Principal.Provider != "proving" || !slices.Contains(got.Remove, "dpop") || !slices.Contains(got.Remove, "authorization") {
			t.Errorf("a proven token: %+v", got)
		}
		if got := try(request("Bearer "+plain.Token(keystest.Claims{}), "anything")); got.Verdict != policy.Passed || got.Principal.Provider != "plain" || !slices.Contains(got.Remove, "dpop") {
			t.Errorf("a plain token: %+v", got)
		}
		if got := try(request("Bearer " + token)); got.Reason != policy.InvalidProof || !strings.HasPrefix(got.Challenges[0], "DPoP ") {
			t.Errorf("a bound token as a plain one: %+v", got)
		}
		if got := try(request("Bearer "+plain.Token(bound), proof)); got.Reason != policy.InvalidProof {
			t.Errorf("a bound token of the other issuer: %+v", got)
		}
		two := request("DPoP "+token, proof)
		two.Headers = append(two.Headers, policy.Header{Name: "authorization", Value: "Bearer " + token})
		if got := try(two); got.Reason != policy.MalformedCredential {
			t.Errorf("two schemes at once: %+v", got)
		}
	}
}

// nonceOf is the nonce that an answer gives out.
func nonceOf(outcome policy.Outcome) string {
	for _, m := range outcome.Response {
		if m.Name == "dpop-nonce" {
			return m.Value
		}
	}
	return ""
}

// TestDPoPNonces: a proof needs a nonce of ours that is not too old, and its caller always learns in time of the next one.
func TestDPoPNonces(t *testing.T) {
	t.Parallel()
	p := newPossession(t, func(proof *configv1.Proof) {
		proof.Dpop.Nonce = &configv1.DpopNonce{MaxAge: durationpb.New(time.Minute)}
	})
	p.now = p.now.Truncate(time.Minute)
	with := func(nonce string) policy.Outcome {
		t.Helper()
		p.token = p.issuer.Token(keystest.Claims{Extra: map[string]any{"cnf": p.client.Confirmation()}})
		proof := p.good()
		proof.Nonce = nonce
		return p.evaluate(t, request("DPoP "+p.token, p.client.Proof(proof)))
	}
	first := with("")
	nonce := nonceOf(first)
	if first.Reason != policy.InvalidProof || !slices.Equal(first.Challenges, []string{`DPoP realm="kasbah", algs="ES256 EdDSA RS256", error="use_dpop_nonce"`}) || nonce == "" {
		t.Fatalf("without a nonce: %+v", first)
	}
	if got := with(nonce); got.Verdict != policy.Passed || len(got.Response) != 0 {
		t.Errorf("with it: %+v", got)
	}
	p.now = p.now.Add(31 * time.Second)
	got := with(nonce)
	next := nonceOf(got)
	if got.Verdict != policy.Passed || next == "" || next == nonce || !slices.Contains(got.Response, policy.Mutation{Name: "cache-control", Value: "no-store"}) {
		t.Errorf("with one that is about to end: %+v", got)
	}
	if got := with(next); got.Verdict != policy.Passed || len(got.Response) != 0 {
		t.Errorf("with the next one: %+v", got)
	}
	p.now = p.now.Add(30 * time.Second)
	for name, text := range map[string]string{
		"old": nonce, "none": "", "short": next[:31], "long": next + "A", "altered": "B" + next[1:], "altered at its end": next[:31] + "-", "not base64": strings.Repeat("~", 32), "a zero": strings.Repeat("A", 32),
		"of another process": nonceOf(newPossession(t, func(proof *configv1.Proof) {
			proof.Dpop.Nonce = &configv1.DpopNonce{MaxAge: durationpb.New(time.Minute)}
		}).evaluate(t, request("DPoP "+p.token, p.client.Proof(p.good())))),
	} {
		if got := with(text); got.Reason != policy.InvalidProof || nonceOf(got) == "" || text != "" && nonceOf(got) == text {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestDPoPNonceSecret: replicas with one secret know each other's nonces, and a short secret is none.
func TestDPoPNonceSecret(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("s", 32)
	replica := func(f *fixture) (*keys.Authenticator, error) {
		cfg := config("corp", f.issuer.JWKS())
		withProofs(func(proof *configv1.Proof) { proof.Dpop.Nonce = &configv1.DpopNonce{Secret: environment("NONCE")} })(cfg.GetJwt())
		provider, err := newStore(t, keys.Options{Now: f.Now}).Provider(cfg, keys.Files{Secret: func(*configv1.Secret) (string, error) { return secret, nil }})
		if err != nil {
			return nil, err
		}
		return keys.NewAuthenticator([]*keys.Provider{provider}), nil
	}
	p := newPossession(t)
	var nonce string
	for range 2 {
		var err error
		if p.auth, err = replica(p.fixture); err != nil {
			t.Fatal(err)
		}
		proof := p.good()
		proof.Nonce = nonce
		got := p.evaluate(t, request("DPoP "+p.token, p.client.Proof(proof)))
		if (got.Verdict == policy.Passed) != (nonce != "") {
			t.Errorf("nonce %q: %+v", nonce, got)
		}
		nonce = nonceOf(got)
	}
	secret = secret[1:]
	_, err := replica(p.fixture)
	var fault *policy.FieldError
	if !errors.As(err, &fault) || fault.Field != "jwt.proof.dpop.nonce.secret" || strings.Contains(err.Error(), secret) {
		t.Errorf("a short secret: %v", err)
	}
}

// TestDPoPOrigin: where Envoy sees another scheme and host than clients, theirs is configured; the path is the request's.
func TestDPoPOrigin(t *testing.T) {
	t.Parallel()
	p := newPossession(t, func(proof *configv1.Proof) { proof.Dpop.Origin = "https://public.example:8443" })
	for url, want := range map[string]policy.Reason{
		"https://public.example:8443/orders/7": policy.NoReason, ordersURL: policy.InvalidProof, "https://public.example:8443/orders/8": policy.InvalidProof,
		"https://public.example/orders/7": policy.InvalidProof, "http://public.example:8443/orders/7": policy.InvalidProof,
	} {
		proof := p.good()
		proof.URL = url
		if got := p.try(t, p.client.Proof(proof)); got != want {
			t.Errorf("%s: %v, want %v", url, got, want)
		}
	}
}

// TestDPoPReplay: of 100 uses of a proof at the same time exactly one passes, and none afterwards, for as long as the proof would be good.
func TestDPoPReplay(t *testing.T) {
	t.Parallel()
	p := newPossession(t)
	proof := p.client.Proof(p.good())
	var passed, replayed atomic.Int32
	var group sync.WaitGroup
	begin := make(chan struct{})
	for range 100 {
		group.Go(func() {
			<-begin
			outcome, err := p.auth.Evaluate(t.Context(), request("DPoP "+p.token, proof), &policy.Principal{})
			switch {
			case err == nil && outcome.Verdict == policy.Passed:
				passed.Add(1)
			case err == nil && outcome.Reason == policy.Replayed && outcome.Challenges[0] == `DPoP realm="kasbah", algs="ES256 EdDSA RS256", error="invalid_dpop_proof"`:
				replayed.Add(1)
			default:
				t.Errorf("%+v, %v", outcome, err)
			}
		})
	}
	close(begin)
	group.Wait()
	if passed.Load() != 1 || replayed.Load() != 99 {
		t.Errorf("%d passed, %d replayed", passed.Load(), replayed.Load())
	}
	p.now = p.now.Add(90 * time.Second)
	if got := p.try(t, proof); got != policy.Replayed {
		t.Errorf("at its end: %v", got)
	}
	p.now = p.now.Add(time.Second)
	if got := p.try(t, proof); got != policy.InvalidProof {
		t.Errorf("past its end: %v", got)
	}
	if stats := p.store.ReplayStats(); stats.Replayed != 100 || stats.Remembered != 1 {
		t.Errorf("%+v", stats)
	}
	p.now = p.now.Add(time.Hour)
	if stats := p.store.ReplayStats(); stats.Remembered != 0 {
		t.Errorf("an hour later: %+v", stats)
	}
}

// TestDPoPSecondAttempt: a request that is asked about a second time, because something had to be waited for, is the same use of its
// proof; and so is one of which two providers must accept the token.
func TestDPoPSecondAttempt(t *testing.T) {
	t.Parallel()
	p := newPossession(t)
	cfg := config("also", p.issuer.JWKS())
	withProofs()(cfg.GetJwt())
	p.auth = keys.NewAuthenticator([]*keys.Provider{compile(t, p.store, cfg)}, keys.Demand{Also: []*keys.Provider{compile(t, p.store, cfg)}})
	try := func(req *policy.Request, serial uint64) policy.Reason {
		t.Helper()
		req.Serial = serial
		if outcome := p.evaluate(t, req); outcome.Verdict != policy.Passed {
			return outcome.Reason
		}
		return policy.NoReason
	}
	req := request("DPoP "+p.token, p.client.Proof(p.good()))
	for i, c := range []struct {
		serial uint64
		want   policy.Reason
	}{{7, policy.NoReason}, {7, policy.NoReason}, {8, policy.Replayed}, {0, policy.Replayed}} {
		if got := try(req, c.serial); got != c.want {
			t.Errorf("%d: %v", i, got)
		}
	}
	unknown := request("DPoP "+p.token, p.client.Proof(p.good()))
	if got := try(unknown, 0); got != policy.Replayed { // nobody is known to come again: the second provider is one too many
		t.Errorf("without a serial: %v", got)
	}
}

// TestDPoPFull: without room to remember a proof it is refused as unavailable, counted, and others are let in when there is room again.
func TestDPoPFull(t *testing.T) {
	t.Parallel()
	p := newPossession(t)
	cfg := config("corp", p.issuer.JWKS())
	withProofs()(cfg.GetJwt())
	small, err := p.store.Replay(&configv1.Replay{MaxEntries: 3}, nil)
	if err != nil {
		t.Fatal(err)
	}
	provider, err := p.store.Provider(cfg, keys.Files{Replay: small})
	if err != nil {
		t.Fatal(err)
	}
	p.auth = keys.NewAuthenticator([]*keys.Provider{provider})
	for range 3 {
		if got := p.try(t, p.client.Proof(p.good())); got != policy.NoReason {
			t.Fatal(got)
		}
	}
	outcome, err := p.auth.Evaluate(t.Context(), request("DPoP "+p.token, p.client.Proof(p.good())), &policy.Principal{})
	var fault *policy.StageError
	if !errors.As(err, &fault) || fault.Reason != policy.Unavailable || outcome.Principal != nil {
		t.Errorf("%+v, %v", outcome, err)
	}
	if stats := p.store.ReplayStats(); stats.Full != 1 || stats.Remembered != 3 {
		t.Errorf("%+v", stats)
	}
	p.now = p.now.Add(5 * time.Minute)
	if got := p.try(t, p.client.Proof(p.good())); got != policy.NoReason {
		t.Errorf("five minutes later: %v", got)
	}
}

// TestDPoPAlgorithms: keys of each type prove, and none that the provider does not name.
func TestDPoPAlgorithms(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"ES256", "EdDSA", "RS256"} {
		for _, accepted := range []string{"ES256", "EdDSA", "RS256", "PS256"} {
			p := newPossession(t, func(proof *configv1.Proof) { proof.Dpop.Algorithms = []string{accepted} })
			p.client = newClient(t, algorithm, p.Now)
			p.token = p.issuer.Token(keystest.Claims{Extra: map[string]any{"cnf": p.client.Confirmation()}})
			want := policy.InvalidProof
			if algorithm == accepted {
				want = policy.NoReason
			}
			if got := p.try(t, p.client.Proof(p.good())); got != want {
				t.Errorf("a key for %s, and %s is accepted: %v", algorithm, accepted, got)
			}
		}
	}
}

// TestDPoPConfiguration: what keeps callers out of nothing is not accepted.
func TestDPoPConfiguration(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for field, change := range map[string]func(*configv1.Provider, *configv1.Proof){
		"jwt.proof.required":           func(_ *configv1.Provider, p *configv1.Proof) { p.Required, p.Dpop = true, nil },
		"jwt.proof.dpop.algorithms[0]": func(_ *configv1.Provider, p *configv1.Proof) { p.Dpop.Algorithms = []string{"HS256"} },
		"jwt.proof.dpop.origin":        func(_ *configv1.Provider, p *configv1.Proof) { p.Dpop.Origin = "https://a.example/path" },
		"from": func(c *configv1.Provider, _ *configv1.Proof) {
			c.From = []*configv1.Location{{Place: &configv1.Location_Cookie{Cookie: "session"}}}
		},
	} {
		cfg := config("corp", f.issuer.JWKS())
		withProofs(func(p *configv1.Proof) { cfg.GetJwt().Proof = p })(&configv1.Jwt{})
		change(cfg, cfg.GetJwt().GetProof())
		_, err := f.store.Provider(cfg, keys.Files{Read: noFile})
		var fault *policy.FieldError
		if !errors.As(err, &fault) || fault.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestDPoPForRequest: a proof that was made for one request passes with another only if method, URL and token are the same.
func TestDPoPForRequest(t *testing.T) {
	t.Parallel()
	p := newPossession(t)
	tokens := []string{p.token, p.issuer.Token(keystest.Claims{Subject: "bob", Extra: map[string]any{"cnf": p.client.Confirmation()}})}
	type made struct {
		method, scheme, host, port, path string
		token                            int
	}
	draw := rapid.Custom(func(t *rapid.T) made {
		return made{
			rapid.SampledFrom([]string{"GET", "POST", "get"}).Draw(t, "method"), rapid.SampledFrom([]string{"http", "https"}).Draw(t, "scheme"),
			rapid.SampledFrom([]string{"a.example", "b.example", "[::1]"}).Draw(t, "host"), rapid.SampledFrom([]string{"", "80", "443", "8080"}).Draw(t, "port"),
			"/" + rapid.StringMatching(`([a-cé .]{1,2}/){0,2}[a-cé+ ]{0,2}`).Filter(func(s string) bool { return !strings.Contains("/"+s, "/.") }).Draw(t, "path"),
			rapid.IntRange(0, 1).Draw(t, "token"),
		}
	})
	port := func(m made) string {
		if m.port == "" {
			return map[string]string{"http": "80", "https": "443"}[m.scheme]
		}
		return m.port
	}
	passed, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		a := draw.Draw(t, "made for")
		b := a
		if rapid.Bool().Draw(t, "another") {
			b = draw.Draw(t, "used with")
		}
		host := a.host
		if a.port != "" {
			host += ":" + a.port
		}
		target := (&url.URL{Scheme: a.scheme, Host: host, Path: a.path, RawQuery: "q=1"}).String()
		proof := p.client.Proof(keystest.Proof{Method: a.method, URL: target, Token: tokens[a.token]})
		req := request("DPoP "+tokens[b.token], proof)
		req.Method, req.Scheme, req.Host, req.Port, req.Path = b.method, b.scheme, b.host, b.port, b.path
		outcome, err := p.auth.Evaluate(t.Context(), req, &policy.Principal{})
		if err != nil {
			t.Fatal(err)
		}
		same := a.method == b.method && a.scheme == b.scheme && a.host == b.host && port(a) == port(b) && a.path == b.path && a.token == b.token
		if same != (outcome.Verdict == policy.Passed) {
			t.Fatalf("%s %s: %+v", a.method, target, outcome)
		}
		if same {
			passed++
		} else {
			refused++
		}
	})
	if passed == 0 || refused == 0 {
		t.Errorf("%d passed and %d refused, which shows little", passed, refused)
	}
}

// FuzzDPoP: whatever a client sends as a proof, it passes only if it is the one that the client's key made, and never does anything but
// deny otherwise.
func FuzzDPoP(f *testing.F) {
	p := newPossession(f)
	good := p.client.Proof(p.good())
	header, _, _ := strings.Cut(good, ".")
	for _, seed := range []string{
		good, "", ".", "..", "...", header, header + ".e30.", "e30.e30.", rfcProof, tokenProof, good + ".", "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6Im5vbmUifQ.e30.",
		p.client.Proof(keystest.Proof{Method: "POST", URL: "https://api.example.com/..%2f", Token: p.token}),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, proof string) {
		req := request("DPoP "+p.token, proof)
		req.Serial = 1 // the good one may come again
		outcome, err := p.auth.Evaluate(t.Context(), req, &policy.Principal{})
		switch {
		case err != nil:
			t.Fatal(err)
		case outcome.Verdict == policy.Passed && proof != good:
			t.Fatalf("%q passed", proof)
		case outcome.Verdict != policy.Passed && (proof == good || outcome.Reason != policy.InvalidProof || len(proof) > 20 && strings.Contains(outcome.Detail, proof)):
			t.Fatalf("%+v", outcome)
		}
	})
}
