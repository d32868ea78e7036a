package servertest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

// Write writes a file in place, as an editor or a shell's redirection does, and makes its folder.
func Write(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
}

// Replace writes a file beside path and renames it, so that no reader sees a part of it.
func Replace(tb testing.TB, path, text string) {
	tb.Helper()
	Write(tb, path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		tb.Fatal(err)
	}
}

// Orders returns the files of a small system: tokens of the issuer for the audience "api", Casbin roles and path patterns, and
// a route of each kind. Alice, a reader, may GET /orders/{id}; a role "admin" in a token may do anything there.
func Orders(issuer *keystest.Issuer) map[string]string {
	return map[string]string{ConfigFile: ordersConfig, "model.conf": OrdersModel, "policy.csv": OrdersPolicy, "jwks.json": string(issuer.JWKS())}
}

const ordersConfig = `server:
  drain: 0s
  shutdown_timeout: 5s
  log: {level: debug, decisions: all}
providers:
- name: corp
  jwt: {issuer: 'http://issuer.test', audiences: [api], algorithms: [RS256], jwks: {file: jwks.json}}
enforcers:
- name: orders
  model: {file: model.conf}
  policy: {file: policy.csv}
  roles: principal.roles
routes:
- name: health
  match: [{path: /healthz}]
  public: true
- name: orders
  match: [{path: /orders/}]
  authenticate: [corp]
  authorize: orders
  headers: {x-user: principal.id, x-roles: principal.roles}
  response_headers: {x-served-to: principal.id}
- name: reports
  match: [{path: '/reports/{year}'}]
  authenticate: [corp]
  any_principal: true
  query: {tenant: principal.claims.tenant, year: request.params.year}
`

// OrdersModel is an ordinary Casbin model with roles and path patterns.
const OrdersModel = `[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && (r.act == p.act || p.act == "*")
`

// OrdersPolicy is a policy for it.
const OrdersPolicy = `p, reader, /orders/:id, GET
p, admin, /orders/:id, *
g, alice, reader
`
