package table_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
	"github.com/kasbah-authz/kasbah/policy/table"
	"github.com/kasbah-authz/kasbah/policy/table/tabletest"
)

// TestOutage: a database that is lost leaves the last rows; what changed meanwhile is there when it is back. Then
// PostgreSQL itself stops, and another one takes its place.
func TestOutage(t *testing.T) {
	t.Parallel()
	for mode, poll := range map[string]time.Duration{"notified": hourly, "polled": 20 * time.Millisecond} {
		server := envoytest.RunPostgres(t)
		d := connect(t, server.DSN())
		d.exec(gormTable)
		if mode == "notified" {
			d.triggers("casbin_rule")
		}
		d.exec(`INSERT INTO casbin_rule (ptype, v0) VALUES ('p', 'a')`)
		gate := tabletest.NewGate(t, d.dsn)
		f := follow(t, table.Config{Postgres: table.Secret(gate.DSN(d.dsn)), Poll: poll})
		for i := range 3 {
			gate.Shut()
			lost := f.awaitStatus("the loss to be seen", func(s table.Status) bool { return !s.Connected && s.Err != nil })
			before, version := f.Current()
			d.exec(`UPDATE casbin_rule SET v0 = $1`, fmt.Sprint(i))
			if now, v := f.Current(); now != before || v != version {
				t.Errorf("%s: the table of a lost database has changed", mode)
			}
			gate.Open(d.dsn)
			f.awaitRows(row(1, "p", fmt.Sprint(i)))
			back := f.awaitStatus("the database to be back", func(s table.Status) bool { return s.Connected && s.Err == nil })
			if !back.Read.After(lost.Read) || back.Notified != (mode == "notified") {
				t.Errorf("%s: %+v after %+v", mode, back, lost)
			}
			d.exec(`UPDATE casbin_rule SET v0 = 'again'`) // notifications are heard on the new connection
			f.awaitRows(row(1, "p", "again"))
		}
		d.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kasbah'`)
		d.exec(`UPDATE casbin_rule SET v0 = 'terminated'`)
		f.awaitRows(row(1, "p", "terminated"))

		server.Stop()
		f.awaitStatus("the stop to be seen", func(s table.Status) bool { return !s.Connected })
		checkRows(t, f.Follower, row(1, "p", "terminated"))
		checkSecrets(t, d.dsn, f.log.String(), f.Status())
	}
}

// TestAnotherDatabase takes the place of one that has stopped, as after a restore: with the table made anew.
func TestAnotherDatabase(t *testing.T) {
	t.Parallel()
	first, second := startDatabase(t), startDatabase(t)
	for i, d := range []*database{first, second} {
		password, _ := url.Parse(first.dsn)
		secret, _ := password.User.Password()
		d.exec(fmt.Sprintf(`CREATE ROLE reader LOGIN PASSWORD '%s'`, secret))
		d.exec(gormTable + `; GRANT SELECT ON casbin_rule TO reader`)
		d.triggers("casbin_rule")
		d.exec(`INSERT INTO casbin_rule (ptype, v0) SELECT 'p', i::text FROM generate_series(1, $1) i`, 3+i)
	}
	at, err := url.Parse(first.dsn)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := at.User.Password()
	at.User = url.UserPassword("reader", secret) // who may read the table and nothing else
	gate := tabletest.NewGate(t, first.dsn)
	f := follow(t, table.Config{Postgres: table.Secret(gate.DSN(at.String())), Poll: hourly})
	checkRows(t, f.Follower, row(1, "p", "1"), row(2, "p", "2"), row(3, "p", "3"))
	gate.Shut()
	gate.Open(second.dsn)
	f.awaitTable("the other database", func(now *enforcer.Table) bool { return len(now.Rows) == 4 })
	second.exec(`DELETE FROM casbin_rule WHERE id < 4`)
	f.awaitRows(row(4, "p", "4"))
}

// TestTableComesAndGoes: a table that is dropped is a database that is lost.
func TestTableComesAndGoes(t *testing.T) {
	t.Parallel()
	d := startDatabase(t)
	d.exec(gormTable)
	d.exec(`INSERT INTO casbin_rule (ptype, v0) VALUES ('p', 'a')`)
	f := follow(t, d.config(20*time.Millisecond))
	d.exec(`DROP TABLE casbin_rule`)
	status := f.awaitStatus("the loss to be seen", func(s table.Status) bool { return s.Err != nil })
	if !strings.Contains(status.Err.Error(), "there is no table") {
		t.Error(status.Err)
	}
	checkRows(t, f.Follower, row(1, "p", "a"))
	d.exec(pgxTable)
	d.exec(`INSERT INTO casbin_rule VALUES ('ff', 'p', 'b')`)
	f.awaitRows(row(1, "p", "b"))
	d.exec(`ALTER TABLE casbin_rule RENAME v0 TO w0`)
	f.awaitStatus("the column to be missed", func(s table.Status) bool { return s.Err != nil })
	d.exec(`ALTER TABLE casbin_rule RENAME w0 TO v0; INSERT INTO casbin_rule VALUES ('00', 'p', 'c')`)
	f.awaitRows(row(1, "p", "b"), row(2, "p", "c"))
}

// checkSecrets fails where the password of a connection string stands in a text or a status.
func checkSecrets(t *testing.T, dsn, log string, status table.Status) {
	t.Helper()
	at, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	password, ok := at.User.Password()
	if !ok || len(password) < 8 {
		t.Fatal("the test has no password to look for")
	}
	if !strings.Contains(log, "policy source") {
		t.Errorf("the log says nothing: %s", log)
	}
	if all := log + fmt.Sprintf("%+v %v", status, status.Err); strings.Contains(all, password) {
		t.Error("the password got out")
	}
}

// TestSecretsStayInside: connection strings that cannot be read, and databases that refuse them.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	d := startDatabase(t)
	at, err := url.Parse(d.dsn)
	if err != nil {
		t.Fatal(err)
	}
	const secret = "hunter2%2Fhunter2"
	for _, dsn := range []string{
		"postgres://kasbah:" + secret + "@" + at.Host + "/postgres?sslmode=disable",
		"postgres://kasbah:" + secret + "@" + at.Host + "/nowhere?sslmode=require",
		"postgres://kasbah:" + secret + "@127.0.0.1:1/postgres",
		"postgres://kasbah:" + secret + "%zz@" + at.Host + "/postgres",
		"postgres://kasbah:" + secret + "@" + at.Host + ":x/postgres",
		"postgres://kasbah@" + at.Host + "/postgres?password=" + secret + "&sslmode=sometimes",
		"host=127.0.0.1 port=x password=" + secret, "password='" + secret, secret, secret + "=",
		"postgres://kasbah:" + secret + "/@" + at.Host + "/postgres",
	} {
		log := &logBuffer{}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		f, err := table.Open(ctx, table.Config{Postgres: table.Secret(dsn), Poll: hourly}, options(log))
		cancel()
		if err == nil {
			f.Close()
			t.Fatal("a connection string that should not work does")
		}
		if said := err.Error() + log.String(); strings.Contains(said, "hunter2") {
			t.Errorf("the secret got out: %s", strings.ReplaceAll(said, "hunter2", "…"))
		}
	}
	hidden := table.Config{Postgres: secret}
	log := &logBuffer{}
	slog.New(slog.NewTextHandler(log, nil)).Info("x", "config", hidden, "secret", hidden.Postgres)
	slog.New(slog.NewJSONHandler(log, nil)).Info("x", "config", hidden, "secret", hidden.Postgres)
	if said := fmt.Sprintf("%v %+v %#v %s %q", hidden, hidden, hidden, hidden.Postgres, hidden.Postgres) + log.String(); strings.Contains(said, "hunter2") {
		t.Errorf("a Config prints its secret: %s", said)
	}
}
