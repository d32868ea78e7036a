package demo_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/server/servertest"
)

const certificatesConfig = `server: {drain: 0s, log: {decisions: none}}
providers:
- name: mesh
  client_certificate: {trust_domains: [cluster.local], ca_file: ca.pem}
- name: forwarded
  client_certificate:
    trust_domains: [cluster.local]
    ca_file: ca.pem
    forwarded: {hops: [127.0.0.1], element: ELEMENT}
routes:
- name: forwarded
  match: [{path: /forwarded/}]
  authenticate: [forwarded]
  any_principal: true
  headers: {x-user: principal.id}
- name: orders
  match: [{path: /orders/}]
  authenticate: [mesh]
  any_principal: true
  headers: {x-user: principal.id}
`

// mutual makes Envoy ask its clients for certificates, of that authority or, where it does not look, of anyone.
func mutual(authority *servertest.Authority, look bool) func(*bootstrap) {
	certificate, key := authority.Issue("kasbah")
	return func(b *bootstrap) {
		validation := map[string]any{"trusted_ca": map[string]any{"inline_string": authority.PEM()}}
		if !look {
			validation["trust_chain_verification"] = "ACCEPT_UNTRUSTED"
		}
		b.mapping(b.root, "static_resources", "listeners", 0, "filter_chains", 0)["transport_socket"] = map[string]any{
			"name": "envoy.transport_sockets.tls",
			"typed_config": map[string]any{
				"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
				"common_tls_context": map[string]any{
					"tls_certificates":   []any{map[string]any{"certificate_chain": map[string]any{"inline_string": certificate}, "private_key": map[string]any{"inline_string": key}}},
					"validation_context": validation,
				},
			},
		}
	}
}

// forwards makes Envoy believe the header and add an element of its own, as an inner hop does.
func forwards(b *bootstrap) {
	manager := b.manager()
	b.replace(manager, "forward_client_cert_details", "APPEND_FORWARD")
	manager["set_current_client_cert_details"] = map[string]any{"uri": true, "cert": true}
}

// A workload is who its certificate says, as an authority of ours has signed it; a header says nothing but where a hop is
// believed.
func TestClientCertificates(t *testing.T) {
	const workload = "spiffe://cluster.local/ns/shop/sa/orders"
	ours, theirs := servertest.NewAuthority(t), servertest.NewAuthority(t)
	text := strings.ReplaceAll(certificatesConfig, "ELEMENT", "2")
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": text, "ca.pem": ours.PEM()})
	upstream := rawUpstream(t)
	shown, _ := ours.Issue(workload)
	told := `By=x;Cert="` + url.PathEscape(shown) + `"`
	edges := map[string]*edge{
		"strict": g.edge(t, "strict", upstream, mutual(ours, true)), "blind": g.edge(t, "blind", upstream, mutual(ours, false)),
		"inner": g.edge(t, "inner", upstream, mutual(ours, true), forwards),
	}
	for name, c := range map[string]struct {
		edge, target string
		client       *tls.Config
		header       string
		status       int
		user         string // that the upstream sees
	}{
		"a workload":                            {"strict", "/orders/7", ours.Client(ours, workload), "", 200, workload},
		"a workload that tells of another":      {"strict", "/orders/7", ours.Client(ours, workload), told, 200, workload},
		"nobody":                                {"strict", "/orders/7", ours.Client(nil), "", 401, ""},
		"nobody who tells of a workload":        {"strict", "/orders/7", ours.Client(nil), told, 401, ""},
		"another trust domain":                  {"strict", "/orders/7", ours.Client(ours, "spiffe://other.local/a"), "", 401, ""},
		"two identities":                        {"strict", "/orders/7", ours.Client(ours, workload, "spiffe://cluster.local/b"), "", 401, ""},
		"a certificate that Envoy did not look": {"blind", "/orders/7", ours.Client(theirs, workload), "", 401, ""},
		"ours, and Envoy did not look":          {"blind", "/orders/7", ours.Client(ours, workload), "", 200, workload},
		"told by a hop":                         {"inner", "/forwarded/", ours.Client(ours, "spiffe://cluster.local/hop"), told, 200, workload},
		"told of by nobody":                     {"inner", "/forwarded/", ours.Client(ours, "spiffe://cluster.local/hop"), "", 401, ""},
		"told where no header is believed":      {"inner", "/orders/7", ours.Client(ours, "spiffe://cluster.local/hop"), told, 200, "spiffe://cluster.local/hop"},
		"told, and the header was dropped":      {"strict", "/forwarded/", ours.Client(ours, workload), told, 401, ""},
	} {
		status, lines := overTLS(t, edges[c.edge].address, c.target, c.client, c.header)
		if status != c.status || c.user != "" && !strings.Contains(lines, "\r\nx-user: "+c.user+"\r\n") {
			t.Errorf("%s: %d, want %d\n%s", name, status, c.status, lines)
		}
		if c.target == "/forwarded/" && strings.Contains(lines, "x-forwarded-client-cert") {
			t.Errorf("%s: the upstream sees the header\n%s", name, lines)
		}
	}
	for _, e := range edges {
		e.noErrors(t)
	}
}

// overTLS sends one request, and returns the status and, where the upstream was reached, what it got.
func overTLS(t *testing.T, address, target string, client *tls.Config, header string) (status int, lines string) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: client, DisableKeepAlives: true}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "api.example.com"
	if header != "" {
		request.Header.Set("X-Forwarded-Client-Cert", header)
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.Header.Get(fromUpstream) == "" {
		return response.StatusCode, ""
	}
	return response.StatusCode, "\r\n" + string(body)
}
