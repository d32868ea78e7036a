package demo_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/proto/config"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// A route that demands more of the authentication than others says what, and lets those pass who have it.
func TestStepUp(t *testing.T) {
	key, id, err := keys.NewAPIKey("test", "")
	if err != nil {
		t.Fatal(err)
	}
	text, err := config.FormatKeys(&configv1.ApiKeyFile{Keys: []*configv1.ApiKeyEntry{{Id: id, Owner: "acme", Secrets: []*configv1.ApiKeySecret{{Sha256: keys.HashAPIKey(key)}}}}})
	if err != nil {
		t.Fatal(err)
	}
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": apiKeysConfig, "api-keys.yaml": string(text)})
	token := func(acr string, age time.Duration) string {
		return bearer(g.issuer.Token(keystest.Claims{Subject: "alice", Roles: []string{"reader"}, Extra: map[string]any{"acr": acr, "auth_time": float64(time.Now().Add(-age).Unix())}}))
	}
	e := g.edge(t, "hardened", rawUpstream(t))
	payments := attack{target: "/payments/1"}
	for name, c := range map[string]struct {
		line   string
		status int
	}{
		"met": {token("gold", 0), 200}, "a weak one": {token("silver", 0), 401}, "an old one": {token("gold", time.Hour), 401},
		"a key": {"X-Api-Key: " + key, 401},
	} {
		o := e.try(t, payments.with(c.line))
		mustBe(t, e, attack{target: name}, o, c.status)
		want := []string{`Bearer realm="kasbah", error="insufficient_user_authentication", acr_values="gold", max_age="300"`}
		if got := o.header.Values("www-authenticate"); c.status == 401 && !slices.Equal(got, want) {
			t.Errorf("%s: challenges %q", name, got)
		}
	}
	mustBe(t, e, attack{target: "/orders/7"}, e.try(t, attack{target: "/orders/7"}.with(token("silver", time.Hour))), 200)
	e.noErrors(t)
}
