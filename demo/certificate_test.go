package demo_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

const certificatesConfig = `server: {drain: 0s, log: {decisions: denied}}
providers:
- name: mesh
  client_certificate: {ca_file: ca.pem, crl_files: [ca.crl], id: spiffe_id, trust_domains: [cluster.local], names: ["spiffe://cluster.local/ns/*/sa/*"]}
- name: behind-gateway
  client_certificate:
    ca_file: ca.pem
    id: spiffe_id
    trust_domains: [cluster.local]
    roles: [outside]
    forwarded: {principals: [spiffe://cluster.local/ns/edge/sa/gateway]}
- name: behind-gateway-and-envoy
  client_certificate:
    ca_file: ca.pem
    id: spiffe_id
    trust_domains: [cluster.local]
    forwarded: {principals: [spiffe://cluster.local/ns/edge/sa/gateway], element: 2}
  forward: true
routes:
- name: direct
  match: [{path: /direct/}]
  authenticate: [mesh]
  any_principal: true
  headers: {x-user: principal.id, x-serial: principal.claims.serial}
- name: forwarded
  match: [{path: /forwarded/}]
  authenticate: [behind-gateway]
  any_principal: true
  headers: {x-user: principal.id, x-roles: "principal.roles.join(',')"}
- name: appended
  match: [{path: /appended/}]
  authenticate: [behind-gateway-and-envoy]
  any_principal: true
  headers: {x-user: principal.id}
`

func workload(authority *keystest.Authority, id string) *keystest.Certificate {
	return authority.Issue(func(c *x509.Certificate) {
		uri, err := url.Parse(id)
		if err != nil {
			panic(err)
		}
		c.URIs = []*url.URL{uri}
		c.Subject = pkix.Name{CommonName: `a "b"`, Organization: []string{"Acme, Inc."}} // which Envoy writes with backslashes
	})
}

// tlsSettings are a certificate to show, and the authority of the other end.
func tlsSettings(own *keystest.Certificate, authority *keystest.Authority) map[string]any {
	inline := func(text []byte) map[string]any { return map[string]any{"inline_string": string(text)} }
	return map[string]any{
		"tls_certificates":   []any{map[string]any{"certificate_chain": inline(own.PEM()), "private_key": inline(own.KeyPEM())}},
		"validation_context": map[string]any{"trusted_ca": inline(authority.PEM())},
	}
}

func socket(kind string, settings map[string]any) map[string]any {
	return map[string]any{"name": "envoy.transport_sockets.tls", "typed_config": map[string]any{
		"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3." + kind + "TlsContext", "common_tls_context": settings,
	}}
}

// mutualTLS makes Envoy ask its clients for a certificate of the authority, and pass on the header as mode says.
func mutualTLS(own *keystest.Certificate, authority *keystest.Authority, mode string, changes ...func(validation map[string]any)) func(*bootstrap) {
	return func(b *bootstrap) {
		settings := tlsSettings(own, authority)
		for _, change := range changes {
			change(b.mapping(settings, "validation_context"))
		}
		transport := socket("Downstream", settings)
		b.mapping(transport, "typed_config")["require_client_certificate"] = false // so that Kasbah sees who has none
		b.mapping(b.root, "static_resources", "listeners", 0, "filter_chains", 0)["transport_socket"] = transport
		b.replace(b.manager(), "forward_client_cert_details", mode)
		b.manager()["set_current_client_cert_details"] = map[string]any{"subject": true, "cert": true, "chain": true, "dns": true, "uri": true}
	}
}

// gatewayTo makes Envoy a proxy that asks nobody, and goes on with a certificate of its own.
func gatewayTo(own *keystest.Certificate, authority *keystest.Authority) func(*bootstrap) {
	return func(b *bootstrap) {
		b.mapping(b.manager(), "http_filters", 0)["disabled"] = true
		b.cluster("upstream")["transport_socket"] = socket("Upstream", tlsSettings(own, authority))
	}
}

// tryTLS sends an attack over TLS, with a certificate if there is one. A handshake that fails has the zero status.
func (e *edge) tryTLS(t *testing.T, a attack, authority *keystest.Authority, own *keystest.Certificate) *outcome {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(authority.Certificate)
	cfg := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	if own != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { // also where it was not asked for
			shown := own.TLS()
			return &shown, nil
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", e.address)
	if err != nil {
		return &outcome{}
	}
	o, err := exchange(conn, a.bytes())
	if err != nil {
		t.Fatalf("%s: %v", e.name, err)
	}
	return o
}

// A caller is who its certificate says, to Envoy directly or to a proxy before it, and nobody by a header of its own.
func TestClientCertificates(t *testing.T) {
	authority, stranger := keystest.NewAuthority("root", time.Now()), keystest.NewAuthority("stranger", time.Now())
	const orders, gateway = "spiffe://cluster.local/ns/shop/sa/orders", "spiffe://cluster.local/ns/edge/sa/gateway"
	caller, proxy, other := workload(authority, orders), workload(authority, gateway), workload(authority, "spiffe://cluster.local/ns/shop/sa/other")
	own := authority.Issue(func(c *x509.Certificate) {
		c.IPAddresses, c.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{
		"kasbah.yaml": certificatesConfig, "ca.pem": string(authority.PEM()), "ca.crl": string(authority.Revoke(nil)),
	})
	upstream := rawUpstream(t)
	forged := `X-Forwarded-Client-Cert: Hash=` + other.Fingerprint() + `;Cert="` + other.Encoded() + `";URI=spiffe://cluster.local/ns/shop/sa/other`
	is := func(t *testing.T, o *outcome, e *edge, id string) {
		t.Helper()
		mustBe(t, e, attack{target: id}, o, 200)
		if got := o.values("x-user"); !slices.Equal(got, []string{id}) {
			t.Errorf("%s: the upstream is told %q, want %s", e.name, got, id)
		}
	}

	untrusting := func(validation map[string]any) { validation["trust_chain_verification"] = "ACCEPT_UNTRUSTED" }
	direct, forwarded, appended := attack{target: "/direct/1"}, attack{target: "/forwarded/1"}, attack{target: "/appended/1"}
	for name, e := range map[string]*edge{
		"hardened":  g.edge(t, "hardened", upstream, mutualTLS(own, authority, "SANITIZE")),
		"lax":       g.edge(t, "lax", upstream, lax, mutualTLS(own, authority, "FORWARD_ONLY", untrusting)),
		"appending": g.edge(t, "appending", upstream, mutualTLS(own, authority, "APPEND_FORWARD")),
	} {
		t.Run(name, func(t *testing.T) {
			o := e.tryTLS(t, direct.with("x-user: root"), authority, caller)
			is(t, o, e, orders)
			if got := o.values("x-serial"); !slices.Equal(got, []string{caller.SerialNumber.Text(16)}) {
				t.Errorf("the serial number is %q", got)
			}
			o = e.tryTLS(t, forwarded.with(forged), authority, caller) // by nobody who is trusted with it
			is(t, o, e, orders)
			if got := o.values("x-forwarded-client-cert"); len(got) > 0 {
				t.Errorf("the upstream got the header %.200q", got)
			}
			for what, c := range map[string]struct {
				attack
				shown *keystest.Certificate
			}{
				"no certificate":             {direct, nil},
				"no certificate, a header":   {forwarded.with(forged), nil},
				"another trust domain":       {direct, workload(authority, "spiffe://evil.example/ns/shop/sa/orders")},
				"a server's certificate":     {direct, own},
				"two URIs":                   {direct, authority.Issue(func(c *x509.Certificate) { c.URIs = slices.Concat(caller.URIs, other.URIs) })},
				"the authority's own":        {direct, authority.Issue(func(c *x509.Certificate) { c.URIs, c.IsCA = caller.URIs, true })},
				"of a stranger":              {direct, workload(stranger, orders)},
				"a name that is not allowed": {direct, workload(authority, "spiffe://cluster.local/orders")},
			} {
				o := e.tryTLS(t, c.attack, authority, c.shown)
				if o.served || o.status != 401 && (o.status != 0 || name == "lax") {
					t.Errorf("%s: %d, served %t", what, o.status, o.served)
				}
				if got := o.header.Values("www-authenticate"); o.status == 401 && !slices.Equal(got, []string{`ClientCertificate realm="kasbah"`}) {
					t.Errorf("%s: the challenges are %q", what, got)
				}
			}
		})
	}

	inner := g.edge(t, "inner", upstream, mutualTLS(own, authority, "FORWARD_ONLY"))
	innermost := g.edge(t, "innermost", upstream, mutualTLS(own, authority, "APPEND_FORWARD"))
	before := g.edge(t, "gateway", inner.address, mutualTLS(own, authority, "SANITIZE_SET"), gatewayTo(proxy, authority))
	appending := g.edge(t, "gateway that appends", innermost.address, mutualTLS(own, authority, "APPEND_FORWARD"), gatewayTo(proxy, authority))
	o := before.tryTLS(t, forwarded.with(forged), authority, caller)
	is(t, o, inner, orders)
	if got := o.values("x-forwarded-client-cert"); len(got) > 0 {
		t.Errorf("the upstream got the header %.200q", got)
	}
	o = appending.tryTLS(t, appended.with(forged), authority, caller)
	is(t, o, innermost, orders)
	if got := o.values("x-forwarded-client-cert"); len(got) != 1 || strings.Count(got[0], "Hash=") != 3 || !strings.Contains(got[0], `O=Acme\, Inc.`) { // the client's own, the client, the gateway
		t.Errorf("the upstream got the header %.200q", got)
	}
	mustBe(t, inner, attack{target: "no certificate"}, before.tryTLS(t, forwarded.with(forged), authority, nil), 401)
	mustBe(t, innermost, attack{target: "no certificate, appended"}, appending.tryTLS(t, appended.with(forged), authority, nil), 401)

	// What is withdrawn is refused on the connections that Envoy has, and a file that is broken changes nothing.
	e := inner
	replace := func(name string, data []byte) {
		next := filepath.Join(g.folder, "next")
		if err := os.WriteFile(next, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(g.folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	replace("ca.crl", authority.Revoke(nil, caller.Certificate))
	await(t, "the certificate to be withdrawn", func() bool { return e.tryTLS(t, direct, authority, caller).status == 401 })
	if !g.logged("reason=revoked") {
		t.Error("the log does not say that it was withdrawn")
	}
	is(t, e.tryTLS(t, direct, authority, other), e, "spiffe://cluster.local/ns/shop/sa/other")
	for _, name := range []string{"ca.crl", "ca.pem"} {
		broken := "garbage"
		if name == "ca.pem" {
			broken = ""
		}
		replace(name, []byte(broken))
		await(t, name+" to be seen", func() bool {
			return g.logged(map[string]string{"ca.crl": "no X509 CRL in PEM", "ca.pem": "no CERTIFICATE in PEM"}[name])
		})
		mustBe(t, e, attack{target: "withdrawn, with a broken " + name}, e.tryTLS(t, direct, authority, caller), 401)
		is(t, e.tryTLS(t, direct, authority, other), e, "spiffe://cluster.local/ns/shop/sa/other")
	}
	replace("ca.crl", authority.Revoke(nil))
	replace("ca.pem", stranger.PEM())
	replace("ca.crl", stranger.Revoke(nil))
	await(t, "the authority to be taken out", func() bool { return e.tryTLS(t, direct, authority, other).status == 401 })
	e.noErrors(t)
}
