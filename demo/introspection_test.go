package demo_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

const introspectionConfig = `server: {drain: 0s, log: {decisions: none}}
providers:
- name: corp
  jwt: {issuer: http://issuer:9193, audiences: [api], algorithms: [RS256], jwks: {file: jwks.json}}
- name: opaque
  introspection:
    url: SERVER/introspect
    client_id: kasbah
    client_secret: {file: secret.txt}
    audiences: [api]
    max_age: 1ns
    inactive_max_age: 0s
  client: {private_addresses: true}
- name: patient
  introspection: {url: SERVER/introspect, client_id: kasbah, client_secret: {file: secret.txt}, audiences: [api], max_age: 1h}
  client: {private_addresses: true}
routes:
- name: remembered
  match: [{path: /remembered/}]
  authenticate: [patient]
  any_principal: true
- name: orders
  match: [{path: /orders/}]
  authenticate: [corp, opaque]
  any_principal: true
  headers: {x-user: principal.id, x-roles: principal.roles}
`

// Opaque tokens are good as long as their server says so; while it is away their callers get 503, and nobody else does.
func TestIntrospection(t *testing.T) {
	var issuer atomic.Pointer[keystest.Issuer]
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		issuer.Load().ServeHTTP(w, r)
	}))
	defer server.Close()
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{
		"kasbah.yaml": strings.ReplaceAll(introspectionConfig, "SERVER", server.URL), "secret.txt": "s3cret",
	})
	issuer.Store(g.issuer)
	token, gone := g.issuer.Opaque(keystest.Claims{Subject: "bob", Roles: []string{"reader"}}), g.issuer.Opaque(keystest.Claims{})
	elsewhere := g.issuer.Opaque(keystest.Claims{Audience: []string{"other"}})
	g.issuer.Revoke(gone)
	e := g.edge(t, "hardened", rawUpstream(t))
	try := func(name, target, token string, status int) *outcome {
		t.Helper()
		o := e.try(t, attack{target: target}.with(bearer(token)))
		mustBe(t, e, attack{target: name}, o, status)
		return o
	}
	if o := try("a token", "/orders/7", token, 200); !slices.Equal(slices.Concat(o.values("x-user"), o.values("x-roles")), []string{"bob", "reader"}) || len(o.values("authorization")) != 0 {
		t.Errorf("the upstream sees %q", o.lines)
	}
	try("remembered", "/remembered/", token, 200)
	try("withdrawn", "/orders/7", gone, 401)
	try("of another audience", "/orders/7", elsewhere, 401)
	try("nobody's", "/orders/7", "nobodys", 401)
	try("a JWT", "/orders/7", g.issuer.Token(keystest.Claims{}), 200)
	down.Store(true)
	try("a token, and the server is away", "/orders/7", token, 503)
	try("remembered, and the server is away", "/remembered/", token, 200)
	try("nobody's, and the server is away", "/orders/7", "nobodys", 503)
	try("a JWT, and the server is away", "/orders/7", g.issuer.Token(keystest.Claims{}), 200)
	down.Store(false)
	try("the server is back", "/orders/7", token, 200)
	g.issuer.Revoke(token)
	try("withdrawn now", "/orders/7", token, 401)
	e.noErrors(t)
}
