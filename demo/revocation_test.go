package demo_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/proto/config"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const revocationConfig = `server: {drain: 0s, log: {decisions: none}}
revocations: {file: revoked.yaml}
providers:
- name: corp
  jwt: {issuer: http://issuer:9193, audiences: [api], algorithms: [RS256], jwks: {file: jwks.json}}
routes:
- name: orders
  match: [{path: /orders/}]
  authenticate: [corp]
  any_principal: true
`

// A session that is withdrawn while its token is in use ends with the change of the file, and comes back with it.
func TestRevocation(t *testing.T) {
	write := func(path string, entries ...*configv1.RevokedCredentials) {
		text, err := config.FormatRevocations(&configv1.RevocationFile{Revoked: entries})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+".next", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".next", path); err != nil {
			t.Fatal(err)
		}
	}
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": revocationConfig, "revoked.yaml": "{}\n"})
	e := g.edge(t, "hardened", rawUpstream(t))
	path := filepath.Join(g.folder, "revoked.yaml")
	one := bearer(g.issuer.Token(keystest.Claims{Extra: map[string]any{"sid": "one"}}))
	other := bearer(g.issuer.Token(keystest.Claims{Extra: map[string]any{"sid": "other"}}))
	status := func(line string) int { return e.try(t, attack{target: "/orders/7"}.with(line)).status }
	if got := [2]int{status(one), status(other)}; got != [2]int{200, 200} {
		t.Fatalf("before: %v", got)
	}
	write(path, &configv1.RevokedCredentials{Sid: "one"})
	await(t, "the session to be withdrawn", func() bool { return status(one) == 401 })
	if got := status(other); got != 200 {
		t.Errorf("another session: %d", got)
	}
	write(path)
	await(t, "the session to be good again", func() bool { return status(one) == 200 })
	write(path, &configv1.RevokedCredentials{Sub: "alice"})
	await(t, "the subject to be withdrawn", func() bool { return status(other) == 401 })
	e.noErrors(t)
}
