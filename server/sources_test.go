package server_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/table"
	"github.com/kasbah-authz/kasbah/policy/table/tabletest"
	"github.com/kasbah-authz/kasbah/server"
)

const ruleTable = `CREATE TABLE casbin_rule (id %s PRIMARY KEY, ptype varchar(100), v0 varchar(100), v1 varchar(100), v2 varchar(100), v3 varchar(100), v4 varchar(100), v5 varchar(100));
	INSERT INTO casbin_rule (ptype, v0, v1, v2, v3, v4, v5) VALUES ('p', 'reader', '/orders/:id', 'GET', '', '', ''), ('g', 'alice', 'reader', '', '', '', '')`

// withPolicy is the configuration with another source of the policy.
func withPolicy(t *testing.T, source string) string {
	t.Helper()
	return replaceOnce(t, configText, "{file: policy.csv}", source)
}

const postgresPolicy = "{postgres: {url: {env: DATABASE_URL}, poll: 1h}}"

type database struct {
	t    *testing.T
	dsn  string
	conn *pgx.Conn
}

func startDatabase(t *testing.T) *database {
	t.Helper()
	d := &database{t: t, dsn: envoytest.RunPostgres(t).DSN()}
	conn, err := pgx.Connect(t.Context(), d.dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	d.conn = conn
	d.exec(fmt.Sprintf(ruleTable, "serial"))
	d.exec(table.NotifySQL)
	return d
}

func (d *database) exec(text string) {
	d.t.Helper()
	if _, err := d.conn.Exec(d.t.Context(), text); err != nil {
		d.t.Fatalf("%s: %v", text, err)
	}
}

// connections counts those of Kasbah.
func (d *database) connections() (n int) {
	d.t.Helper()
	err := d.conn.QueryRow(d.t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kasbah'`).Scan(&n)
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

// environment is one in which DATABASE_URL is that.
func environment(dsn string) func(string) (string, bool) {
	return func(name string) (string, bool) { return dsn, name == "DATABASE_URL" }
}

// startWith runs a server on those files with DATABASE_URL in its environment.
func startWith(t *testing.T, dsn string, more map[string]string) *fixture {
	t.Helper()
	f := newFixture(t)
	for name, text := range f.files(more) {
		f.write(name, text)
	}
	cfg := f.config()
	cfg.LookupEnv = environment(dsn)
	f.run(cfg)
	return f
}

// readyz is the part of /readyz that these tests look at.
type readyz struct {
	Ready    bool `json:"ready"`
	Policies []struct {
		Source   string    `json:"source"`
		Current  bool      `json:"current"`
		Notified bool      `json:"notified"`
		Rows     int       `json:"rows"`
		Read     time.Time `json:"read"`
		Error    string    `json:"error"`
	} `json:"policy_sources"`
}

func (f *fixture) readyz() (code int, state readyz) {
	f.t.Helper()
	code, body := f.admin("/readyz")
	if err := json.Unmarshal([]byte(body), &state); err != nil {
		f.t.Fatalf("/readyz: %v: %s", err, body)
	}
	return code, state
}

// TestPostgresPolicy: a row changes and the verdict flips; a row that is no rule changes nothing; a database that is lost
// is said to be, and caught up with.
func TestPostgresPolicy(t *testing.T) {
	d := startDatabase(t)
	gate := tabletest.NewGate(t, d.dsn)
	f := startWith(t, gate.DSN(d.dsn), map[string]string{"kasbah.yaml": withPolicy(t, postgresPolicy)})
	conn, check := f.dial(), get("/orders/7", f.token("alice"))
	verdict := func(want int) func() bool {
		return func() bool { return status(ask(t, conn, check)) == want }
	}
	if !verdict(200)() {
		t.Fatal("alice is denied")
	}
	began := time.Now()
	d.exec(`UPDATE casbin_rule SET v0 = 'bob' WHERE ptype = 'g'`)
	await(t, "the change of a row", verdict(403))
	t.Logf("a changed row was in force after %s", time.Since(began).Round(time.Millisecond))
	d.exec(`INSERT INTO casbin_rule (ptype, v0, v1) VALUES ('g', 'alice', 'reader')`)
	await(t, "a new row", verdict(200))

	generation := f.server.Generation()
	d.exec(`INSERT INTO casbin_rule (id, ptype, v0, v1) VALUES (77, 'p', 'reader', '/short')`)
	await(t, "the refusal", func() bool { return f.server.Refused() == 1 })
	if f.server.Generation() != generation || !verdict(200)() || f.metric("kasbah_config_last_reload_ok") != "0" {
		t.Error("a row that is no rule has changed something")
	}
	if log := f.log.String(); !strings.Contains(log, "/postgres/casbin_rule:77") {
		t.Errorf("no finding names the table and the row:\n%s", log)
	}
	d.exec(`UPDATE casbin_rule SET v2 = 'GET' WHERE id = 77`)
	await(t, "the rule", func() bool {
		return f.server.Generation() > generation && f.metric("kasbah_config_last_reload_ok") == "1"
	})

	_, state := f.readyz()
	if len(state.Policies) != 1 || !strings.HasPrefix(state.Policies[0].Source, "postgres://127.0.0.1:") {
		t.Fatalf("%+v", state)
	}
	source := state.Policies[0].Source
	series := func(name string) string {
		return f.metric(fmt.Sprintf("kasbah_policy_source_%s{source=%q}", name, source))
	}
	if series("up") != "1" || series("rows") != "4" || series("last_read_timestamp_seconds") == "" {
		t.Errorf("metrics of %s: up %q, rows %q, read %q", source, series("up"), series("rows"), series("last_read_timestamp_seconds"))
	}
	gate.Shut()
	await(t, "the loss", func() bool { return series("up") == "0" })
	code, state := f.readyz()
	if code != http.StatusOK || len(state.Policies) != 1 || state.Policies[0].Current || state.Policies[0].Error == "" || state.Policies[0].Source != source || !verdict(200)() {
		t.Errorf("with the database lost: %d %+v", code, state)
	}
	d.exec(`DELETE FROM casbin_rule WHERE v0 = 'alice'`)
	gate.Open(d.dsn)
	await(t, "what changed meanwhile", verdict(403))
	await(t, "the database to be back", func() bool { return series("up") == "1" })
	if _, state := f.readyz(); !state.Policies[0].Current || !state.Policies[0].Notified || state.Policies[0].Rows != 3 {
		t.Errorf("with the database back: %+v", state)
	}
	f.checkNoSecret(d.dsn)
}

// checkNoSecret fails where the password of that connection string stands in the log, in metrics or in the state.
func (f *fixture) checkNoSecret(dsn string) {
	f.t.Helper()
	at, err := url.Parse(dsn)
	if err != nil {
		f.t.Fatal(err)
	}
	password, _ := at.User.Password()
	_, metrics := f.admin("/metrics")
	_, ready := f.admin("/readyz")
	if len(password) < 8 || strings.Contains(f.log.String()+metrics+ready, password) {
		f.t.Error("the password got out, or there is none")
	}
}

func TestSQLitePolicy(t *testing.T) {
	f := newFixture(t)
	f.write("policy.db", "")
	db, err := sql.Open("sqlite", filepath.Join(f.folder, "policy.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(text string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	exec(fmt.Sprintf(ruleTable, "integer"))
	for name, text := range f.files(map[string]string{"kasbah.yaml": withPolicy(t, "{sqlite: {path: policy.db, poll: 10ms}}")}) {
		f.write(name, text)
	}
	f.run(f.config())
	conn, check := f.dial(), get("/orders/7", f.token("alice"))
	if status(ask(t, conn, check)) != 200 {
		t.Fatal("alice is denied")
	}
	exec(`UPDATE casbin_rule SET v0 = 'bob' WHERE ptype = 'g'`)
	await(t, "the change of a row", func() bool { return status(ask(t, conn, check)) == 403 })
	code, state := f.readyz()
	if code != http.StatusOK || len(state.Policies) != 1 || state.Policies[0].Source != "sqlite:"+filepath.Join(f.folder, "policy.db")+"/casbin_rule" {
		t.Errorf("%d %+v", code, state)
	}
}

// TestSourcesAreKept: a table that the next configuration names too is not read anew, and one that it does not name is let
// go; two enforcers share what is one; a changed secret connects anew.
func TestSourcesAreKept(t *testing.T) {
	d := startDatabase(t)
	inFile := withPolicy(t, "{postgres: {url: {file: database.url}, poll: 1h}}")
	f := startWith(t, d.dsn, map[string]string{"kasbah.yaml": inFile, "database.url": "\n" + d.dsn + "\n"})
	opened := func() int { return strings.Count(f.log.String(), "policy source opened") }
	load := func(name, text string) {
		t.Helper()
		generation := f.server.Generation()
		f.write(name, text)
		await(t, "a reload", func() bool { return f.server.Generation() > generation })
	}
	load("kasbah.yaml", inFile+"# changed\n")
	shared := replaceOnce(t, inFile, "routes:", "- {name: again, model: {file: model.conf}, policy: {postgres: {url: {file: database.url}, poll: 1h}}}\nroutes:")
	load("kasbah.yaml", shared)
	if opened() != 1 || d.connections() != 1 {
		t.Errorf("one table was opened %d times and has %d connections", opened(), d.connections())
	}
	load("database.url", strings.Replace(d.dsn, "sslmode=disable", "sslmode=prefer", 1))
	await(t, "the former connection to end", func() bool { return opened() == 2 && d.connections() == 1 })
	load("kasbah.yaml", configText)
	await(t, "the connection to end", func() bool { return d.connections() == 0 })
	if _, state := f.readyz(); len(state.Policies) != 0 {
		t.Errorf("a table that nobody names: %+v", state)
	}
	f.write("kasbah.yaml", inFile+"nonsense: 1\n") // refused before it opens anything
	await(t, "the refusal", func() bool { return f.server.Refused() == 1 })
	d.exec(`INSERT INTO casbin_rule (id, ptype, v0) VALUES (76, 'x', 'y')`)
	f.write("kasbah.yaml", inFile)
	await(t, "the refusal", func() bool { return f.server.Refused() == 2 && d.connections() == 1 })
	f.write("kasbah.yaml", configText)
	await(t, "what only a refused configuration named to be let go", func() bool { return d.connections() == 0 })
	d.exec(`DELETE FROM casbin_rule WHERE id = 76`)
	// A configuration that is refused opens a table, and keeps it: that table may be what is to be mended.
	d.exec(`INSERT INTO casbin_rule (id, ptype, v0) VALUES (77, 'x', 'y')`)
	f.write("kasbah.yaml", inFile)
	await(t, "the refusal", func() bool { return f.server.Refused() == 3 })
	generation := f.server.Generation()
	d.exec(`DELETE FROM casbin_rule WHERE id = 77`)
	await(t, "the mended table", func() bool { return f.server.Generation() > generation })
	if err := f.end(); err != nil {
		t.Error(err)
	}
	await(t, "the last connection to end", func() bool { return d.connections() == 0 })
}

// TestSourcesThatCannotBeRead: a start and lint find the same, at the place in the configuration, and tell no secret; a
// reload leaves what there is in force, and tries again.
func TestSourcesThatCannotBeRead(t *testing.T) {
	d := startDatabase(t)
	at, err := url.Parse(d.dsn)
	if err != nil {
		t.Fatal(err)
	}
	at.User = url.UserPassword("kasbah", "hunter2-hunter2")
	wrong := at.String()
	d.exec(`CREATE TABLE short (id int PRIMARY KEY, ptype text, v0 text); INSERT INTO short VALUES (12, 'p', 'a')`)
	for name, test := range map[string]struct{ policy, dsn, place, want string }{
		"no database":     {postgresPolicy, "postgres://kasbah:hunter2-hunter2@127.0.0.1:1/x", "kasbah.yaml:9:", "connecting to PostgreSQL"},
		"wrong password":  {postgresPolicy, wrong, "kasbah.yaml:9:", "password authentication failed"},
		"no URL":          {postgresPolicy, "postgres://kasbah:hunter2-hunter2@%zz", "kasbah.yaml:9:", "cannot be read"},
		"no variable":     {strings.Replace(postgresPolicy, "DATABASE", "OTHER", 1), wrong, "kasbah.yaml:9:", "no variable OTHER_URL"},
		"empty":           {postgresPolicy, " \n", "kasbah.yaml:9:", "the secret is empty"},
		"no file":         {"{postgres: {url: {file: absent}}}", "", "kasbah.yaml:9:", "no such file"},
		"secret for file": {"{postgres: {url: {file: '" + wrong + "'}}}", "", "kasbah.yaml:9:", "looks like the secret itself"},
		"no table":        {"{postgres: {url: {env: DATABASE_URL}, table: absent}}", d.dsn, "kasbah.yaml:9:", `no table \"absent\"`},
		"no rule":         {"{postgres: {url: {env: DATABASE_URL}, table: short}}", d.dsn, "/postgres/short:12:", "field"},
		"no SQLite":       {"{sqlite: {path: absent.db}}", "", "kasbah.yaml:9:", "absent.db"},
	} {
		f := newFixture(t)
		for file, text := range f.files(map[string]string{"kasbah.yaml": withPolicy(t, test.policy)}) {
			f.write(file, text)
		}
		cfg := f.config()
		cfg.LookupEnv = environment(test.dsn)
		_, err := server.New(cfg)
		var findings policy.Findings
		if !errors.As(err, &findings) {
			t.Errorf("%s: New: %v", name, err)
			continue
		}
		linted := server.Lint(t.Context(), cfg)
		for what, text := range map[string]string{"New": findings.Error(), "Lint": linted.Error()} {
			if want := strings.ReplaceAll(test.want, `\"`, `"`); !strings.Contains(text, want) || !strings.Contains(text, test.place) {
				t.Errorf("%s: %s: %s; want %s at %s", name, what, text, want, test.place)
			}
			if strings.Contains(text+f.log.String(), "hunter2") {
				t.Errorf("%s: %s: the secret got out: %s", name, what, text)
			}
		}
	}
	await(t, "the connections of refused starts to end", func() bool { return d.connections() == 0 })
}

// TestSourceComesLater: a reload that names a database which is not there yet is refused, and taken once it is.
func TestSourceComesLater(t *testing.T) {
	d := startDatabase(t)
	gate := tabletest.NewGate(t, d.dsn)
	gate.Shut()
	f := startWith(t, gate.DSN(d.dsn), nil)
	f.write("kasbah.yaml", withPolicy(t, postgresPolicy))
	await(t, "the refusal", func() bool { return f.server.Refused() > 0 })
	gate.Open(d.dsn)
	f.reload <- struct{}{}
	await(t, "the table", func() bool { return f.server.Generation() == 2 })
}

// TestShrunkPolicies: what loses more than half of its rules is refused, be it a file or a table, unless it is meant.
func TestShrunkPolicies(t *testing.T) {
	rules := func(n int) string {
		var text strings.Builder
		text.WriteString(policyText)
		for i := range n - 2 {
			fmt.Fprintf(&text, "g, user%d, reader\n", i)
		}
		return text.String()
	}
	f := start(t, map[string]string{"policy.csv": rules(10)})
	for _, step := range []struct {
		rules   int
		refused bool
	}{{5, false}, {2, true}, {3, false}, {2, false}, {100, false}, {49, true}, {50, false}} {
		generation, refused := f.server.Generation(), f.server.Refused()
		f.replace("policy.csv", rules(step.rules))
		await(t, "a load", func() bool { return f.server.Generation()+f.server.Refused() > generation+refused })
		if (f.server.Refused() > refused) != step.refused {
			t.Errorf("%d rules are refused: %t", step.rules, !step.refused)
		}
	}
	if log := f.log.String(); !strings.Contains(log, "kasbah.yaml:9:11") || !strings.Contains(log, "the policy has 49 rules, and the one in force has 100") {
		t.Error("the finding does not say what is wrong and where")
	}
	generation := f.server.Generation()
	f.write("kasbah.yaml", replaceOnce(t, configText, "policy: {file: policy.csv}", "policy: {file: policy.csv}\n  allow_shrink: true"))
	await(t, "the configuration", func() bool { return f.server.Generation() > generation })
	f.write("policy.csv", rules(2))
	await(t, "what is meant", func() bool { return f.metric(`kasbah_enforcer_rules{enforcer="orders"}`) == "2" })
	if err := f.end(); err != nil {
		t.Fatal(err)
	}
	next := newFixture(t) // a start has nothing to compare with
	next.folder = f.folder
	next.run(next.config())

	d := startDatabase(t)
	g := startWith(t, d.dsn, map[string]string{"kasbah.yaml": withPolicy(t, postgresPolicy)})
	conn, check := g.dial(), get("/orders/7", g.token("alice"))
	d.exec(`DELETE FROM casbin_rule`)
	await(t, "the refusal", func() bool { return g.server.Refused() == 1 })
	if status(ask(t, conn, check)) != 200 {
		t.Error("an emptied table is in force")
	}
	d.exec(`INSERT INTO casbin_rule (ptype, v0, v1, v2) VALUES ('p', 'reader', '/orders/:id', 'GET')`)
	await(t, "half of the rules", func() bool { return g.server.Generation() == 2 })
	if status(ask(t, conn, check)) != 403 {
		t.Error("the former table is in force")
	}
}

// TestEmptiedDenyPolicy: under an effect that allows what no rule denies, a policy that was allowed to be empty at the
// start must not become so.
func TestEmptiedDenyPolicy(t *testing.T) {
	model := replaceOnce(t, replaceOnce(t, modelText, "p = sub, obj, act\n", "p = sub, obj, act, eft\n"), "some(where (p.eft == allow))", "!some(where (p.eft == deny))")
	config := replaceOnce(t, configText, "policy: {file: policy.csv}", "policy: {file: policy.csv}\n  allow_if_empty: true")
	f := start(t, map[string]string{"kasbah.yaml": config, "model.conf": model, "policy.csv": "p, reader, /orders/:id, GET, deny\ng, alice, reader\n"})
	conn, check := f.dial(), get("/orders/7", f.token("alice"))
	if status(ask(t, conn, check)) != 403 {
		t.Fatal("alice is allowed")
	}
	if err := os.Truncate(filepath.Join(f.folder, "policy.csv"), 0); err != nil {
		t.Fatal(err)
	}
	await(t, "the refusal", func() bool { return f.server.Refused() == 1 })
	if status(ask(t, conn, check)) != 403 {
		t.Error("a policy that was emptied allows")
	}
}
