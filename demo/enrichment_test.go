package demo_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

const enrichmentConfig = `server: {drain: 0s, log: {decisions: none}}
providers:
- name: corp
  jwt: {issuer: http://issuer:9193, audiences: [api], algorithms: [RS256], jwks: {file: jwks.json}}
  enrich: {userinfo: {url: SERVER/userinfo}, max_age: 1ns}
  client: {private_addresses: true}
- name: remembered
  jwt: {issuer: http://issuer:9193, audiences: [api], algorithms: [RS256], jwks: {file: jwks.json}}
  enrich: {http: {url: SERVER/directory, secret: {file: secret.txt}}, max_age: 1h}
  client: {private_addresses: true}
- name: lenient
  jwt: {issuer: http://issuer:9193, audiences: [api], algorithms: [RS256], jwks: {file: jwks.json}}
  enrich: {http: {url: SERVER/directory, secret: {file: secret.txt}}, on_failure: go_on}
  client: {private_addresses: true}
routes:
- name: orders
  match: [{path: /orders/}]
  authenticate: [corp]
  any_principal: true
  headers: {x-user: principal.id, x-roles: principal.roles}
- name: remembered
  match: [{path: /remembered/}]
  authenticate: [remembered]
  any_principal: true
  headers: {x-user: principal.id, x-roles: principal.roles}
- name: lenient
  match: [{path: /lenient/}]
  authenticate: [lenient]
  any_principal: true
  headers: {x-user: principal.id, x-roles: principal.roles}
`

// directory knows the roles of everyone, by their token or by their id, unless it is out of order.
func directory(state *atomic.Value) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch state.Load() {
		case "502":
			w.WriteHeader(http.StatusBadGateway)
		case "HTML":
			_, _ = io.WriteString(w, "<html>")
		case "hang":
			<-r.Context().Done()
		case "endless":
			for err := error(nil); err == nil; {
				_, err = io.WriteString(w, strings.Repeat(" ", 64<<10))
			}
		case "another":
			_, _ = io.WriteString(w, `{"sub":"mallory","roles":["admin"]}`)
		case "disowned":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			var asked struct{ ID string }
			if r.URL.Path == "/directory" && (json.NewDecoder(r.Body).Decode(&asked) != nil || asked.ID != "alice" || r.Header.Get("Authorization") != "Bearer s3cret") {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			_, _ = io.WriteString(w, `{"sub":"alice","roles":["editor"]}`)
		}
	})
}

// Roles that no token has come from a server; while it does anything but answer, its callers get 503 and nobody gets a role.
func TestEnrichment(t *testing.T) {
	t.Parallel()
	state := &atomic.Value{}
	server := httptest.NewServer(directory(state))
	defer server.Close()
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{
		"kasbah.yaml": strings.ReplaceAll(enrichmentConfig, "SERVER", server.URL), "secret.txt": "s3cret",
	})
	e := g.edge(t, "hardened", rawUpstream(t))
	alice := g.issuer.Token(keystest.Claims{})
	try := func(name, target, token string, status int, want ...string) {
		t.Helper()
		o := e.try(t, attack{target: target}.with(bearer(token)))
		mustBe(t, e, attack{target: name}, o, status)
		if got := slices.Concat(o.values("x-user"), o.values("x-roles")); !slices.Equal(got, want) {
			t.Errorf("%s: the upstream sees %q, want %q", name, got, want)
		}
	}
	try("by its token", "/orders/7", alice, 200, "alice", "editor")
	try("by its id", "/remembered/7", alice, 200, "alice", "editor")
	try("no good token", "/orders/7", g.issuer.Token(keystest.Claims{Audience: []string{"other"}}), 401)
	fresh := func(name string) string { // of which nothing is remembered
		return g.issuer.Token(keystest.Claims{Extra: map[string]any{"jti": name}})
	}
	for _, out := range []string{"502", "HTML", "hang", "endless", "another"} {
		state.Store(out)
		try(out, "/orders/7", fresh(out), 503)
		try(out+", remembered", "/remembered/7", alice, 200, "alice", "editor")
	}
	state.Store("502")
	try("lenient", "/lenient/7", alice, 200, "alice")
	state.Store("disowned")
	try("disowned", "/orders/7", fresh("disowned"), 401)
	state.Store("")
	await(t, "the server's word to count again", func() bool { return e.try(t, attack{target: "/orders/7"}.with(bearer(alice))).status == 200 })
	e.noErrors(t)
}
