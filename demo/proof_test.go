package demo_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys/keystest"
)

const proofsConfig = `server: {drain: 0s, decision_timeout: 30s, log: {decisions: none}}
replay: {redis: {url: {file: redis.url}}, timeout: 10s}
providers:
- name: clients
  jwt:
    issuer: http://issuer:9193
    audiences: [api]
    algorithms: [RS256]
    jwks: {file: jwks.json}
    proof: {required: true, dpop: {algorithms: [ES256]}, certificate: {}}
- name: nonces
  jwt:
    issuer: http://issuer:9193
    audiences: [api]
    algorithms: [RS256]
    jwks: {file: jwks.json}
    proof: {required: true, dpop: {algorithms: [ES256], nonce: {secret: {file: nonce.txt}}}}
- name: plain
  jwt: {issuer: http://issuer:9193, audiences: [plain], algorithms: [RS256], jwks: {file: jwks.json}}
routes:
- name: proven
  match: [{path: /proven/}]
  authenticate: [clients, plain]
  any_principal: true
  headers: {x-user: principal.id}
- name: nonces
  match: [{path: /nonces/}]
  authenticate: [nonces]
  any_principal: true
`

// proofWorld is two replicas that share a Redis, and a client whose tokens are bound to its key.
type proofWorld struct {
	redis  *envoytest.Redis
	gates  [2]*gate
	client *keystest.Client
}

func newProofWorld(t *testing.T) *proofWorld {
	t.Helper()
	w := &proofWorld{redis: envoytest.RunRedis(t)}
	files := map[string]string{"kasbah.yaml": proofsConfig, "redis.url": w.redis.URL(), "nonce.txt": strings.Repeat("secret", 6)}
	for i := range w.gates {
		w.gates[i] = newGateOf(t, os.DirFS("testdata/threats"), files)
		files["jwks.json"] = string(w.gates[0].issuer.JWKS())
	}
	var err error
	if w.client, err = keystest.NewClient("ES256"); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *proofWorld) token(cnf any) string {
	return w.gates[0].issuer.Token(keystest.Claims{Subject: "bob", Extra: map[string]any{"cnf": cnf}})
}

// proven is a request with a token and a proof for it; what change leaves is a good one.
func (w *proofWorld) proven(target, token string, change ...func(*keystest.Proof)) attack {
	path, _, _ := strings.Cut(target, "?")
	proof := keystest.Proof{Method: "GET", URL: "http://api.example.com" + path, Token: token}
	for _, change := range change {
		change(&proof)
	}
	return attack{target: target}.with("Authorization: DPoP "+token, "DPoP: "+w.client.Proof(proof))
}

// A bound token passes with its client's proof, once at all replicas together, and with nothing else.
func TestProofs(t *testing.T) {
	w := newProofWorld(t)
	upstream := rawUpstream(t)
	edges := [2]*edge{w.gates[0].edge(t, "hardened", upstream), w.gates[1].edge(t, "lax", upstream, lax)}
	e, token := edges[0], w.token(w.client.Confirmation())
	try := func(name string, e *edge, a attack, status int, challenge string) *outcome {
		t.Helper()
		o := e.try(t, a)
		mustBe(t, e, attack{target: name}, o, status)
		if got := strings.Join(o.header.Values("WWW-Authenticate"), ", "); status == 401 && !strings.Contains(got, challenge) {
			t.Errorf("%s: the challenges are %q, want %s", name, got, challenge)
		}
		return o
	}
	const badProof = `DPoP realm="kasbah", algs="ES256", error="invalid_dpop_proof"`
	good := w.proven("/proven/7?full=1", token)
	o := try("a proof", e, good, 200, "")
	if len(o.values("authorization")) != 0 || len(o.values("dpop")) != 0 || !slices.Equal(o.values("x-user"), []string{"bob"}) {
		t.Errorf("the upstream sees %q", o.lines)
	}
	try("again", e, good, 401, badProof)
	try("again at another replica", edges[1], good, 401, badProof)
	try("a proof of capitals and a port", e, w.proven("/proven/a%62c", token, func(p *keystest.Proof) { p.URL = "HTTP://API.example.com:80/proven/abc" }), 200, "")
	try("for another path", e, w.proven("/proven/8", token, func(p *keystest.Proof) { p.URL += "x" }), 401, badProof)
	try("for another method", e, w.proven("/proven/8", token, func(p *keystest.Proof) { p.Method = "POST" }), 401, badProof)
	try("for another token", e, w.proven("/proven/8", token, func(p *keystest.Proof) { p.Token = w.token(w.client.Confirmation()) }), 401, badProof)
	try("without a proof", e, attack{target: "/proven/8"}.with("Authorization: DPoP "+token), 401, badProof)
	try("two proofs", e, w.proven("/proven/8", token).with(w.proven("/proven/8", token).headers[1]), 401, badProof)
	try("as a bearer token", e, attack{target: "/proven/8"}.with(bearer(token)), 401, `error="invalid_token"`)
	try("bound to nothing", e, attack{target: "/proven/8"}.with(bearer(w.token(nil))), 401, `error="invalid_token"`)
	try("bound to something", e, attack{target: "/proven/8"}.with(bearer(w.token(map[string]any{"kid": "k"}))), 401, `error="invalid_token"`)
	try("a plain token of the other provider", e, attack{target: "/proven/8"}.with(bearer(w.gates[0].issuer.Token(keystest.Claims{Audience: []string{"plain"}}))), 200, "")
	missing := try("nothing", e, attack{target: "/proven/8"}, 401, "")
	if got := missing.header.Values("WWW-Authenticate"); !slices.Equal(got, []string{`Bearer realm="kasbah"`, `DPoP realm="kasbah", algs="ES256"`}) {
		t.Errorf("the challenges for nobody are %q", got)
	}

	o = try("without a nonce", e, w.proven("/nonces/1", token), 401, `error="use_dpop_nonce"`)
	nonce := o.header.Get("DPoP-Nonce")
	with := func(p *keystest.Proof) { p.Nonce = nonce }
	try("with the nonce, at another replica", edges[1], w.proven("/nonces/1", token, with), 200, "")
	try("with another nonce", e, w.proven("/nonces/1", token, func(p *keystest.Proof) { p.Nonce = strings.Repeat("A", len(nonce)) }), 401, `error="use_dpop_nonce"`)

	var passed atomic.Int32
	var group sync.WaitGroup
	once := w.proven("/proven/once", token)
	for i := range 100 {
		group.Go(func() {
			if o, err := send(edges[i%2].address, once.bytes()); err != nil || o.status != 200 && o.status != 401 {
				t.Errorf("%+v, %v", o, err)
			} else if o.status == 200 {
				passed.Add(1)
			}
		})
	}
	if group.Wait(); passed.Load() != 1 {
		t.Errorf("of 100 uses of one proof %d passed", passed.Load())
	}
	w.redis.Stop()
	try("without Redis", e, w.proven("/proven/9", token), 503, "")
	try("a plain token without Redis", e, attack{target: "/proven/9"}.with(bearer(w.gates[0].issuer.Token(keystest.Claims{Audience: []string{"plain"}}))), 200, "")
	for _, e := range edges {
		e.noErrors(t)
	}
}

// A token that is bound to a certificate passes from its holder alone.
func TestCertificateBoundTokens(t *testing.T) {
	w := newProofWorld(t)
	authority := keystest.NewAuthority("root", time.Now())
	holder, thief := workload(authority, "spiffe://cluster.local/ns/shop/sa/orders"), workload(authority, "spiffe://cluster.local/ns/shop/sa/other")
	own := authority.Issue(func(c *x509.Certificate) {
		c.IPAddresses, c.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	e := w.gates[0].edge(t, "mtls", rawUpstream(t), mutualTLS(own, authority, "SANITIZE"))
	sum := sha256.Sum256(holder.Certificate.Raw)
	thumbprint := base64.RawURLEncoding.EncodeToString(sum[:])
	token, both := w.token(map[string]any{"x5t#S256": thumbprint}), w.token(map[string]any{"x5t#S256": thumbprint, "jkt": w.client.Thumbprint()})
	https := func(p *keystest.Proof) { p.URL = "https" + strings.TrimPrefix(p.URL, "http") }
	for _, c := range []struct {
		name   string
		attack attack
		shown  *keystest.Certificate
		status int
	}{
		{"its holder", attack{target: "/proven/1"}.with(bearer(token)), holder, 200},
		{"a thief with a certificate", attack{target: "/proven/1"}.with(bearer(token)), thief, 401},
		{"a thief without one", attack{target: "/proven/1"}.with(bearer(token)), nil, 401},
		{"a thief with a header", attack{target: "/proven/1"}.with(bearer(token), `X-Forwarded-Client-Cert: Cert="`+holder.Encoded()+`"`), thief, 401},
		{"both, and a proof over TLS", w.proven("/proven/2", both, https), holder, 200},
		{"both, and a proof for plain HTTP", w.proven("/proven/2", both), holder, 401},
		{"both, and no proof", attack{target: "/proven/1"}.with(bearer(both)), holder, 401},
		{"both, a proof and another certificate", w.proven("/proven/2", both, https), thief, 401},
	} {
		mustBe(t, e, attack{target: c.name}, e.tryTLS(t, c.attack, authority, c.shown), c.status)
	}
	e.noErrors(t)
}
