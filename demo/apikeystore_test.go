package demo_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy/table/tabletest"
)

// apiKeyStoreConfig is a configuration whose keys are in that store.
func apiKeyStoreConfig(store string) string {
	return fmt.Sprintf(`server: {drain: 0s, log: {decisions: none}}
providers:
- name: partners
  api_key: {store: {%s}, record_use: true}
routes:
- name: orders
  match: [{path: /orders/}]
  authenticate: [partners]
  any_principal: true
  headers: {x-user: principal.id, x-key: principal.claims.key_id}
`, store)
}

// keysCommand returns what runs `kasbah keys` with a configuration, and returns its output.
func keysCommand(t *testing.T, config string) func(args ...string) string {
	t.Helper()
	program := buildKasbah(t)
	return func(args ...string) string {
		t.Helper()
		var out, talk bytes.Buffer
		command := exec.CommandContext(context.WithoutCancel(t.Context()), program, append([]string{"keys", args[0], "--config", config}, args[1:]...)...)
		command.Stdout, command.Stderr = &out, &talk
		if err := command.Run(); err != nil {
			t.Fatalf("kasbah keys %v: %v\n%s", args, err, &talk)
		}
		return strings.TrimSpace(out.String())
	}
}

// keyStoreReplicas are replicas of Kasbah that read one store of keys, each with an Envoy before it.
type keyStoreReplicas struct {
	gates []*gate
	edges []*edge
}

func newKeyStoreReplicas(t *testing.T, files map[string]string, configs ...string) *keyStoreReplicas {
	t.Helper()
	r, upstream := &keyStoreReplicas{}, rawUpstream(t)
	for i, config := range configs {
		all := map[string]string{"kasbah.yaml": config}
		for name, text := range files {
			all[name] = text
		}
		g := newGateOf(t, os.DirFS("testdata/threats"), all)
		r.gates, r.edges = append(r.gates, g), append(r.edges, g.edge(t, fmt.Sprint("replica ", i), upstream))
	}
	return r
}

// await waits until every replica answers who comes with that key with that status.
func (r *keyStoreReplicas) await(t *testing.T, what, key string, status int) {
	t.Helper()
	for i, e := range r.edges {
		await(t, fmt.Sprintf("replica %d to answer %d to %s", i, status, what), func() bool {
			return e.try(t, attack{target: "/orders/7"}.with("X-Api-Key: "+key)).status == status
		})
	}
}

// live walks a key from its making to its end.
func (r *keyStoreReplicas) live(t *testing.T, run func(args ...string) string) (id, key string) {
	t.Helper()
	key = run("create", "--owner", "acme", "--role", "reader")
	id = strings.Split(key, "_")[2]
	r.await(t, "a new key", key, http.StatusOK)
	for _, e := range r.edges {
		var o *outcome
		await(t, "an answer", func() bool { // one of the replicas has no keys whenever the machine stalls for a second
			o = e.try(t, attack{target: "/orders/7"}.with("X-Api-Key: "+key, "x-user: root"))
			return o.status == http.StatusOK
		})
		if got := o.values("x-user"); len(got) != 1 || got[0] != "acme" || len(o.values("x-api-key")) > 0 {
			t.Errorf("%s: the upstream got %q", e.name, o.header)
		}
	}
	graceful := run("rotate", id)
	r.await(t, "the new secret", graceful, http.StatusOK)
	r.await(t, "the old secret in its grace", key, http.StatusOK)
	last := run("rotate", "--grace", "0s", id)
	r.await(t, "the last secret", last, http.StatusOK)
	r.await(t, "the first secret", key, http.StatusUnauthorized)
	r.await(t, "the second secret", graceful, http.StatusUnauthorized)
	run("revoke", id)
	r.await(t, "the revoked key", last, http.StatusUnauthorized)
	if list := run("list"); !strings.Contains(list, id) || !strings.Contains(list, "revoked 20") || strings.Contains(list, strings.Split(last, "_")[3]) {
		t.Errorf("the list is\n%s", list)
	}
	return id, last
}

// TestAPIKeysInSQLite: what the command changes in a SQLite database, two replicas take.
func TestAPIKeysInSQLite(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	config := apiKeyStoreConfig("sqlite: {path: " + filepath.Join(folder, "keys.db") + "}")
	own := filepath.Join(folder, "kasbah.yaml")
	if err := os.WriteFile(own, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	run := keysCommand(t, own)
	run("init")
	r := newKeyStoreReplicas(t, nil, config, config)
	r.live(t, run)

	// A backup is put in its place.
	key := run("create", "--owner", "later")
	r.await(t, "a key before the backup", key, http.StatusOK)
	backup := filepath.Join(folder, "backup")
	data, err := os.ReadFile(filepath.Join(folder, "keys.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(backup, data, 0o600); err != nil {
		t.Fatal(err)
	}
	lost := run("create", "--owner", "lost")
	r.await(t, "a key after the backup", lost, http.StatusOK)
	if err := os.Rename(backup, filepath.Join(folder, "keys.db")); err != nil {
		t.Fatal(err)
	}
	r.await(t, "a key that the backup has not", lost, http.StatusUnauthorized)
	r.await(t, "a key that it has", key, http.StatusOK)
}

// TestAPIKeysInPostgres: what the command changes in PostgreSQL, two replicas take; while it is lost the keys stay as long
// as the configuration says, and no longer; and what was revoked meanwhile is refused as soon as it is back.
func TestAPIKeysInPostgres(t *testing.T) {
	t.Parallel()
	dsn := envoytest.RunPostgres(t).DSN()
	door := tabletest.NewGate(t, dsn)
	folder := t.TempDir()
	config := func(age string) string { return apiKeyStoreConfig("postgres: {url: {file: url}}, max_age: " + age) }
	own := filepath.Join(folder, "kasbah.yaml")
	for path, text := range map[string]string{own: config("1h"), filepath.Join(folder, "url"): dsn} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := keysCommand(t, own)

	// Replicas start before there is a table, and before the database is there.
	door.Shut()
	r := newKeyStoreReplicas(t, map[string]string{"url": door.DSN(dsn)}, config("1h"), config("1s"))
	stranger, _, err := keys.NewAPIKey("live", "")
	if err != nil {
		t.Fatal(err)
	}
	r.await(t, "a key that nothing is known of", stranger, http.StatusServiceUnavailable)
	run("init")
	door.Open(dsn)
	r.await(t, "a key that nobody made", stranger, http.StatusUnauthorized)
	r.live(t, run)

	key := run("create", "--owner", "acme")
	id := strings.Split(key, "_")[2]
	kept := run("create", "--owner", "kept")
	r.await(t, "a key before the database is lost", key, http.StatusOK)
	r.await(t, "another one", kept, http.StatusOK)
	door.Shut()
	await(t, "a replica to notice", func() bool { return r.gates[0].logged("API keys is out of reach") })
	short := &keyStoreReplicas{gates: r.gates[1:], edges: r.edges[1:]}
	short.await(t, "a key of a second ago", key, http.StatusServiceUnavailable)
	short.await(t, "a key that nobody made", stranger, http.StatusServiceUnavailable)
	mustBe(t, r.edges[0], attack{target: "the last keys"}, r.edges[0].try(t, attack{target: "/orders/7"}.with("X-Api-Key: "+key)), http.StatusOK)
	run("revoke", id)
	door.Open(dsn)
	r.await(t, "a key that was revoked meanwhile", key, http.StatusUnauthorized)
	r.await(t, "a key that was not", kept, http.StatusOK)
	await(t, "the last use to be recorded", func() bool {
		for line := range strings.Lines(run("list")) {
			if strings.Contains(line, "kept") && strings.Count(line, "Z") == 2 { // when it was made, and used
				return true
			}
		}
		return false
	})
	for i, g := range r.gates {
		if g.logged(strings.Split(strings.SplitN(dsn, "@", 2)[0], ":")[2]) {
			t.Errorf("replica %d logs the password", i)
		}
	}
}
