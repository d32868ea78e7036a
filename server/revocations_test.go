package server_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystore"
	"github.com/kasbah-authz/kasbah/policy/table/tabletest"
	"github.com/kasbah-authz/kasbah/server"
)

// A file of revocations is followed apart from the configuration: neither holds up the other, whatever is wrong with it.
func TestRevocationFileAlone(t *testing.T) {
	f := start(t, map[string]string{"kasbah.yaml": "revocations: {file: revoked.yaml, poll: 20ms}\n" + configText, "revoked.yaml": "{}\n"})
	conn := f.dial()
	alice := get("/orders/7", f.token("alice"))
	verdict := func(want int) func() bool { return func() bool { return status(ask(t, conn, alice)) == want } }
	if !verdict(200)() {
		t.Fatal("nothing is withdrawn, and alice is refused")
	}
	series := `{source="file:` + filepath.Join(f.folder, "revoked.yaml") + `"}`
	generation := f.server.Generation()

	f.replace("kasbah.yaml", "nonsense")
	await(t, "the configuration to be refused", func() bool { return f.server.Refused() > 0 })
	f.replace("revoked.yaml", "revoked: [{sub: alice}]\n")
	await(t, "alice to be withdrawn beside a broken configuration", verdict(401))

	f.replace("revoked.yaml", "revoked: [{sub:\n")
	await(t, "the broken file to be seen", func() bool {
		_, body := f.admin("/readyz")
		return f.metric("kasbah_revocation_store_up"+series) == "0" && strings.Contains(body, `"current":false,"expired":false,"names":1`)
	})
	if !verdict(401)() {
		t.Error("a broken file lets alice in")
	}
	f.replace("kasbah.yaml", "revocations: {file: revoked.yaml, poll: 20ms}\n"+configText+"- {name: more, match: [{path: /more}], public: true}\n")
	await(t, "a good configuration beside the broken file", func() bool { return f.server.Generation() > generation })
	if !verdict(401)() {
		t.Error("a reload lets alice in")
	}
	f.write("revoked.yaml", "revoked: [{sub: bob}]\n") // in place
	await(t, "the file to be good again", verdict(200))
	if up, names := f.metric("kasbah_revocation_store_up"+series), f.metric("kasbah_revocation_store_names"+series); up != "1" || names != "1" {
		t.Errorf("up is %s, with %s names", up, names)
	}
	if err := os.Remove(filepath.Join(f.folder, "revoked.yaml")); err != nil {
		t.Fatal(err)
	}
	await(t, "the missing file to be seen", func() bool { return f.metric("kasbah_revocation_store_up"+series) == "0" })
	f.replace("revoked.yaml", "revoked: [{sub: alice}]\n")
	await(t, "a file again", verdict(401))
}

// At a start the file must be there, and good.
func TestRevocationFileAtStart(t *testing.T) {
	for name, text := range map[string]string{"none": "", "broken": "revokd: []\n", "two names": "revoked: [{sub: a, jti: b}]\n"} {
		f := newFixture(t)
		for file, text := range f.files(map[string]string{"kasbah.yaml": "revocations: {file: revoked.yaml}\n" + configText}) {
			f.write(file, text)
		}
		if name != "none" {
			f.write("revoked.yaml", text)
		}
		if _, err := server.New(f.config()); err == nil || !strings.Contains(err.Error(), "revoked.yaml") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file that cannot be read any more is good for max_age, and then everyone is refused.
func TestRevocationFileTooOld(t *testing.T) {
	f := start(t, map[string]string{"kasbah.yaml": "revocations: {file: revoked.yaml, poll: 20ms, max_age: 1s}\n" + configText, "revoked.yaml": "{}\n"})
	conn := f.dial()
	alice := get("/orders/7", f.token("alice"))
	f.replace("revoked.yaml", "nonsense")
	await(t, "an old file to be refused", func() bool { return status(ask(t, conn, alice)) == 503 })
	if got := status(ask(t, conn, get("/healthz", ""))); got != 200 {
		t.Errorf("a public route answers %d", got)
	}
	if _, body := f.admin("/readyz"); !strings.Contains(body, `"expired":true`) {
		t.Errorf("/readyz says %s", body)
	}
	f.replace("revoked.yaml", "{}\n")
	await(t, "a good file", func() bool { return status(ask(t, conn, alice)) == 200 })
}

// TestRevocationStoreIsSeen: operators see how up to date a store is, nobody sees the password, a change is no reload, and what Redis
// loses stays withdrawn.
func TestRevocationStoreIsSeen(t *testing.T) {
	redis := envoytest.RunRedis(t)
	at := keystore.RevocationsAt{Redis: keystore.Redis{URL: redis.URL(), Prefix: keystore.DefaultPrefix}}
	if err := keystore.InitRevocations(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	gate := tabletest.NewGate(t, redis.URL())
	f := startWith(t, gate.DSN(redis.URL()), map[string]string{"kasbah.yaml": "revocations: {redis: {url: {env: DATABASE_URL}}, poll: 20ms, max_age: 1h}\n" + configText})
	conn := f.dial()
	alice := get("/orders/7", f.token("alice"))
	verdict := func(want int) func() bool { return func() bool { return status(ask(t, conn, alice)) == want } }
	if !verdict(200)() {
		t.Error("the revocations are not there before Kasbah serves")
	}
	generation := f.server.Generation()
	withdraw(t, at, keys.RevocationName{Claim: "sub", Value: "alice"})
	await(t, "alice to be withdrawn", verdict(401))
	if f.server.Generation() != generation {
		t.Error("a revocation is a reload")
	}
	series := fmt.Sprintf(`{source="redis://%s/0 kasbah:"}`, strings.Split(strings.SplitN(gate.DSN(redis.URL()), "@", 2)[1], "/")[0])
	gate.Shut()
	await(t, "the outage to be seen", func() bool {
		_, body := f.admin("/readyz")
		return f.metric("kasbah_revocation_store_up"+series) == "0" && strings.Contains(body, `"current":false,"expired":false,"names":1`)
	})
	if !verdict(401)() {
		t.Error("an outage lets alice in")
	}
	gate.Open(redis.URL())
	await(t, "the store to be back", func() bool { return f.metric("kasbah_revocation_store_up"+series) == "1" })
	empty(t, redis.URL())
	await(t, "a Redis that lost everything to be seen", func() bool { return f.metric("kasbah_revocation_store_up"+series) == "0" })
	if err := keystore.InitRevocations(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	await(t, "the new store to be read", func() bool { return f.metric("kasbah_revocation_store_up"+series) == "1" })
	if lost := f.metric("kasbah_revocation_store_lost_total" + series); lost != "1" || !verdict(401)() {
		t.Errorf("what Redis lost is let in, or lost is %s", lost)
	}
	f.checkNoSecret(redis.URL())
}

// empty removes everything from a Redis.
func empty(t *testing.T, at string) {
	t.Helper()
	parsed, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", parsed.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	password, _ := parsed.User.Password()
	if _, err := fmt.Fprintf(conn, "AUTH %s\r\nFLUSHALL\r\nQUIT\r\n", password); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || strings.Count(string(answer), "+OK") != 3 {
		t.Fatalf("%q, %v", answer, err)
	}
}

func withdraw(t *testing.T, at keystore.RevocationsAt, name keys.RevocationName) {
	t.Helper()
	store, err := keystore.OpenRevocations(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Add(context.Background(), name, keys.RevocationWindow{}, time.Now()); err != nil {
		t.Fatal(err)
	}
}
