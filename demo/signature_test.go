package demo_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

const signatureConfig = `server: {drain: 0s, log: {decisions: none}}
providers:
- name: partners
  http_signature:
    keys: [{id: partner-1, algorithm: ed25519, public_key: {file: partner.pub}, principal: acme, roles: [partner]}]
    components: [content-type]
routes:
- name: orders
  match: [{path: /orders/}]
  authenticate: [partners]
  any_principal: true
  headers: {x-user: principal.id, x-roles: principal.roles}
`

// sign signs a request to the target as its sender means it.
func sign(t *testing.T, signer *keystest.Signer, method, host, target, body string) attack {
	t.Helper()
	const kind = "application/json"
	path, query, _ := strings.Cut(target, "?")
	digest := keystest.ContentDigest(body)
	input, value, err := signer.Sign(fmt.Sprintf(`;created=%d;keyid="partner-1"`, time.Now().Unix()),
		keystest.Component{ID: `"@method"`, Value: method}, keystest.Component{ID: `"@authority"`, Value: host},
		keystest.Component{ID: `"@path"`, Value: path}, keystest.Component{ID: `"@query"`, Value: "?" + query},
		keystest.Component{ID: `"content-type"`, Value: kind}, keystest.Component{ID: `"content-digest"`, Value: digest})
	if err != nil {
		t.Fatal(err)
	}
	return attack{method: method, target: target, host: host, body: body}.with(
		"content-type: "+kind, "content-digest: "+digest, "signature-input: "+input, "signature: "+value)
}

// A request that a partner has signed is let in once, as it was signed, over HTTP/1.1 and HTTP/2.
func TestSignature(t *testing.T) {
	signer, err := keystest.NewSigner("partner-1", "ed25519")
	if err != nil {
		t.Fatal(err)
	}
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": signatureConfig, "partner.pub": signer.PEM()})
	e := g.edge(t, "hardened", rawUpstream(t))
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	upstream := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	upstream.Config.Protocols = &h2c
	upstream.Start()
	defer upstream.Close()
	newer := g.edge(t, "HTTP/2", upstream.Listener.Addr().String())
	client := &http.Client{Transport: &http.Transport{Protocols: &h2c}}
	defer client.CloseIdleConnections()
	overHTTP2 := func(a attack, unsized bool) int {
		t.Helper()
		var body io.Reader = strings.NewReader(a.body)
		if unsized {
			body = io.MultiReader(body) // whose length the client does not know
		}
		req, err := http.NewRequestWithContext(t.Context(), a.method, "http://"+newer.address+a.target, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = a.host
		for _, line := range a.headers {
			name, value, _ := strings.Cut(line, ": ")
			req.Header.Set(name, value)
		}
		answer, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode
	}
	const host = "api.example.com"
	long := strings.Repeat("a", 1<<20+1)
	n := 0
	fresh := func(body string) attack { // no two are equal
		n++
		return sign(t, signer, "POST", host, fmt.Sprintf("/orders/a%%20b?n=%d&full", n), body)
	}

	a := fresh(`{"amount": 7}`)
	o := e.try(t, a)
	mustBe(t, e, a, o, 200)
	if !slices.Equal(slices.Concat(o.values("x-user"), o.values("x-roles")), []string{"acme", "partner"}) || len(o.values("signature"))+len(o.values("signature-input")) != 0 {
		t.Errorf("the upstream sees %q", o.lines)
	}
	mustBe(t, e, attack{target: "again"}, e.try(t, a), 401)
	for name, port := range map[string]string{"another port": ":8443", "the scheme's own port": ":80"} {
		a := sign(t, signer, "POST", strings.TrimSuffix(host+port, ":80"), "/orders/"+port[1:], "{}")
		a.host = host + port
		mustBe(t, e, attack{target: name}, e.try(t, a), 200)
	}
	for name, change := range map[string]func(a *attack){
		"another body":    func(a *attack) { a.body = `{"amount": 8}` },
		"another query":   func(a *attack) { a.target += "&more" },
		"another path":    func(a *attack) { a.target = strings.Replace(a.target, "a%20b", "a", 1) },
		"another host":    func(a *attack) { a.host = "public.example.com" },
		"another method":  func(a *attack) { a.method = "PUT" },
		"a second header": func(a *attack) { *a = a.with("content-type: text/plain") },
		"no signature":    func(a *attack) { a.headers = a.headers[:2] },
	} {
		a := fresh(`{"amount": 7}`)
		change(&a)
		mustBe(t, e, attack{target: name}, e.try(t, a), 401)
	}
	mustBe(t, e, attack{target: "a body that Envoy cuts"}, e.try(t, fresh(long)), 413)

	for name, test := range map[string]struct {
		a       attack
		unsized bool
		want    int
	}{
		"signed":                        {fresh(`{"amount": 7}`), false, 200},
		"signed, of unknown length":     {fresh(`{"amount": 7}`), true, 200},
		"cut":                           {fresh(long), false, 413},
		"cut, of unknown length":        {fresh(long), true, 413},
		"another port":                  {sign(t, signer, "POST", host+":8443", "/orders/h2", "{}"), false, 200},
		"an empty body":                 {fresh(""), false, 200},
		"an empty, of unknown length":   {fresh(""), true, 200},
		"a body behind an empty digest": {func() attack { a := fresh(""); a.body = "{}"; return a }(), true, 401},
	} {
		if got := overHTTP2(test.a, test.unsized); got != test.want {
			t.Errorf("HTTP/2, %s: %d, want %d", name, got, test.want)
		}
	}
}
