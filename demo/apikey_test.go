package demo_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/proto/config"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const apiKeysConfig = `server: {drain: 0s, log: {decisions: none}}
providers:
- name: corp
  jwt: {issuer: http://issuer:9193, audiences: [api], algorithms: [RS256], jwks: {file: jwks.json}}
- name: partners
  api_key: {store: {file: api-keys.yaml}}
enforcers:
- name: orders
  roles: principal.roles
  model: {file: model.conf}
  policy: {inline: "p, reader, /orders/*, GET, allow"}
routes:
- name: payments
  match: [{path: /payments/}]
  authenticate: [corp, partners]
  step_up: {acr: [gold], max_age: 5m}
  any_principal: true
- name: orders
  match: [{path: /orders/}]
  authenticate: [corp, partners]
  authorize: orders
  headers: {x-user: principal.id, x-key: principal.claims.key_id}
`

// writeAPIKeys replaces the gate's file of keys.
func writeAPIKeys(t *testing.T, folder string, entries ...*configv1.ApiKeyEntry) {
	t.Helper()
	text, err := config.FormatKeys(&configv1.ApiKeyFile{Keys: entries})
	if err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(folder, "next")
	if err := os.WriteFile(next, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(folder, "api-keys.yaml")); err != nil {
		t.Fatal(err)
	}
}

// An API key is good from the moment that it stands in the file until the moment that it is withdrawn, beside tokens, and
// no upstream sees it.
func TestAPIKeys(t *testing.T) {
	first, firstID, err := keys.NewAPIKey("live", "")
	if err != nil {
		t.Fatal(err)
	}
	later, laterID, err := keys.NewAPIKey("live", "")
	if err != nil {
		t.Fatal(err)
	}
	entry := func(id, owner, key string) *configv1.ApiKeyEntry {
		return &configv1.ApiKeyEntry{Id: id, Owner: owner, Roles: []string{"reader"}, Secrets: []*configv1.ApiKeySecret{{Sha256: keys.HashAPIKey(key)}}}
	}
	text, err := config.FormatKeys(&configv1.ApiKeyFile{Keys: []*configv1.ApiKeyEntry{entry(firstID, "acme", first)}})
	if err != nil {
		t.Fatal(err)
	}
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": apiKeysConfig, "api-keys.yaml": string(text)})
	upstream := rawUpstream(t)
	orders := attack{target: "/orders/7"}
	for name, changes := range map[string][]func(*bootstrap){"hardened": nil, "lax": {lax}, "lax, joined headers": {lax, joinedHeaders}} {
		e := g.edge(t, name, upstream, changes...)
		o := e.try(t, orders.with("X-Api-Key: "+first, "x-user: root", "Authorization: Bearer nonsense"))
		mustBe(t, e, orders, o, 200)
		if got := o.values("x-user"); !slices.Equal(got, []string{"acme"}) || !slices.Equal(o.values("x-key"), []string{firstID}) {
			t.Errorf("%s: the upstream got %q, %q", name, got, o.values("x-key"))
		}
		if len(o.values("x-api-key"))+len(o.values("authorization")) > 0 {
			t.Errorf("%s: the upstream got a credential", name)
		}
		for what, a := range map[string]attack{
			"none": orders, "another": orders.with("X-Api-Key: " + later), "twice": orders.with("X-Api-Key: "+first, "X-Api-Key: "+first),
			"in the query": {target: "/orders/7?x-api-key=" + first}, "a bad character": orders.with("X-Api-Key: " + first[:20] + "." + first[21:]),
			"as a cookie": orders.with("Cookie: x-api-key=" + first),
		} {
			o := e.try(t, a)
			mustBe(t, e, attack{target: what}, o, 401)
			if challenges := o.header.Values("www-authenticate"); len(challenges) == 0 || o.served {
				t.Errorf("%s, %s: challenges %q, served %t", name, what, challenges, o.served)
			}
		}
		mustBe(t, e, orders, e.try(t, attack{method: "DELETE", target: "/orders/7"}.with("X-Api-Key: "+first)), 403)
		mustBe(t, e, orders, e.try(t, orders.with(bearer(g.issuer.Token(keystest.Claims{Subject: "alice", Roles: []string{"reader"}})))), 200)
		e.noErrors(t)
	}

	e := g.edge(t, "hardened", upstream)
	revoked := entry(firstID, "acme", first)
	revoked.Revoked = "2026-01-01T00:00:00Z"
	writeAPIKeys(t, g.folder, revoked, entry(laterID, "later", later))
	await(t, "the later key to be good", func() bool { return e.try(t, orders.with("X-Api-Key: "+later)).status == 200 })
	mustBe(t, e, orders, e.try(t, orders.with("X-Api-Key: "+first)), 401)

	if err := os.WriteFile(filepath.Join(g.folder, "api-keys.yaml"), []byte("keys:\n- id: half"), 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, "the broken file to be seen", func() bool { return g.logged("api-keys.yaml") })
	mustBe(t, e, orders, e.try(t, orders.with("X-Api-Key: "+later)), 200)
	mustBe(t, e, orders, e.try(t, orders.with("X-Api-Key: "+first)), 401)
}
