package server_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystore"
	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/table/tabletest"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
	"github.com/kasbah-authz/kasbah/server"
)

const keyStoreText = `
server: {drain: 200ms, shutdown_timeout: 2s, log: {level: debug, decisions: all}}
providers:
- name: partners
  api_key: {store: {postgres: {url: {env: DATABASE_URL}, poll: 20ms}, max_age: 1h}, record_use: true}
routes:
- name: orders
  match: [{path: /orders/}]
  authenticate: [partners]
  any_principal: true
`

// newKey keeps a new key, and returns it.
func newKey(t *testing.T, at keystore.Config) (key, id string) {
	t.Helper()
	key, id, err := keys.NewAPIKey("live", "")
	if err != nil {
		t.Fatal(err)
	}
	changeKey(t, at, id, &configv1.ApiKeyEntry{Id: id, Owner: "acme", Secrets: []*configv1.ApiKeySecret{{Sha256: keys.HashAPIKey(key)}}})
	return key, id
}

func changeKey(t *testing.T, at keystore.Config, id string, after *configv1.ApiKeyEntry) {
	t.Helper()
	table, err := keystore.Open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if err := table.Change(context.Background(), id, func(*configv1.ApiKeyEntry) (*configv1.ApiKeyEntry, error) { return after, nil }); err != nil {
		t.Fatal(err)
	}
}

// TestKeyStoreIsSeen: operators see how up to date the keys of a database are, nobody sees the password, a change of the keys is
// no reload, and a reload goes on with the same keys.
func TestKeyStoreIsSeen(t *testing.T) {
	dsn := envoytest.RunPostgres(t).DSN()
	at := keystore.Config{Postgres: dsn, Table: keystore.DefaultName}
	if err := keystore.Init(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	key, id := newKey(t, at)
	gate := tabletest.NewGate(t, dsn)
	f := startWith(t, gate.DSN(dsn), map[string]string{"kasbah.yaml": keyStoreText})
	conn := f.dial()
	check := get("/orders/7", "")
	headers := check.Attributes.Request.Http.HeaderMap
	headers.Headers = append(headers.Headers, &corev3.HeaderValue{Key: "x-api-key", RawValue: []byte(key)})
	verdict := func(want int) func() bool {
		return func() bool { return status(ask(t, conn, check)) == want }
	}
	if !verdict(200)() {
		t.Error("the keys are not there before Kasbah serves")
	}
	series := `{provider="partners",source="postgres://` + strings.SplitN(strings.SplitN(gate.DSN(dsn), "@", 2)[1], "/", 2)[0] + `/postgres/kasbah_api_keys"}`
	if up, count, broken := f.metric("kasbah_api_key_store_up"+series), f.metric("kasbah_api_key_store_keys"+series), f.metric("kasbah_api_key_store_broken"+series); up != "1" || count != "1" || broken != "0" {
		t.Errorf("up is %s, there are %s keys and %s broken rows", up, count, broken)
	}
	changeKey(t, at, "broken", &configv1.ApiKeyEntry{Id: "broken", Owner: "acme", Expires: "tomorrow", Secrets: []*configv1.ApiKeySecret{{Sha256: keys.HashAPIKey("x")}}})
	await(t, "a broken row to be counted", func() bool { return f.metric("kasbah_api_key_store_broken"+series) == "1" })
	gate.Shut()
	await(t, "the outage to be seen", func() bool {
		_, body := f.admin("/readyz")
		return strings.Contains(body, `"current":false,"expired":false,"keys":1,"broken":1`) && f.metric("kasbah_api_key_store_up"+series) == "0"
	})
	if code, _ := f.admin("/readyz"); code != 200 || !verdict(200)() {
		t.Errorf("without the database /readyz is %d, and the last keys are not in force", code)
	}
	gate.Open(dsn)
	await(t, "the database to be back", func() bool { return f.metric("kasbah_api_key_store_up"+series) == "1" })
	generation := f.server.Generation()
	changeKey(t, at, id, &configv1.ApiKeyEntry{Id: id, Owner: "acme", Revoked: "2026-01-01T00:00:00Z", Secrets: []*configv1.ApiKeySecret{{Sha256: keys.HashAPIKey(key)}}})
	await(t, "the key to be refused", verdict(401))
	if f.server.Generation() != generation {
		t.Error("a change of a key is a reload")
	}
	f.replace("kasbah.yaml", keyStoreText+"- {name: public, match: [{path: /public/}], public: true}\n")
	await(t, "a reload", func() bool { return f.server.Generation() > generation })
	if !verdict(401)() {
		t.Error("after a reload the revoked key is good")
	}
	f.checkNoSecret(dsn)
}

// TestFindKeyStore: the command works on the store that the server reads.
func TestFindKeyStore(t *testing.T) {
	f := newFixture(t)
	f.write("kasbah.yaml", keyStoreText)
	f.write("two.yaml", strings.Replace(keyStoreText, "routes:", "- name: devices\n  api_key: {header: x-device, store: {sqlite: {path: keys.db}}}\n- name: files\n  api_key: {header: x-file, store: {file: keys.yaml}}\nroutes:", 1))
	folder := filepath.Dir(f.config().Path)
	for _, c := range []struct {
		file, provider, dsn string
		want                server.KeyStore
		fault               string
	}{
		{"kasbah.yaml", "", "postgres://h/d", server.KeyStore{Table: keystore.Config{Postgres: "postgres://h/d", Table: "kasbah_api_keys"}}, ""},
		{"kasbah.yaml", "other", "", server.KeyStore{}, "no such provider"},
		{"kasbah.yaml", "", "postgres://u:marked-secret@h:port/", server.KeyStore{}, "kasbah.yaml:5:"},
		{"two.yaml", "", "postgres://h/d", server.KeyStore{}, "those of partners or devices or files"},
		{"two.yaml", "devices", "", server.KeyStore{Table: keystore.Config{SQLite: filepath.Join(folder, "keys.db"), Table: "kasbah_api_keys"}}, ""},
		{"two.yaml", "files", "", server.KeyStore{File: filepath.Join(folder, "keys.yaml")}, ""},
		{"none.yaml", "", "", server.KeyStore{}, "none.yaml"},
	} {
		got, err := server.FindKeyStore(server.Config{Path: filepath.Join(folder, c.file), LookupEnv: environment(c.dsn)}, c.provider)
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) || got != c.want {
			t.Errorf("%s, %q: %v, %v", c.file, c.provider, got, err)
		}
		var findings policy.Findings
		if err != nil && (strings.Contains(err.Error(), "marked-secret") || errors.As(err, &findings) && len(findings) == 0) {
			t.Errorf("%v", err)
		}
	}
}
