package table_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
	"github.com/kasbah-authz/kasbah/policy/table"
)

// hourly is a poll that no test waits for.
const hourly = time.Hour

// database is one PostgreSQL with a connection of the test's own.
type database struct {
	t    testing.TB
	dsn  string
	conn *pgx.Conn
}

func startDatabase(t testing.TB) *database {
	t.Helper()
	return connect(t, envoytest.RunPostgres(t).DSN())
}

func connect(t testing.TB, dsn string) *database {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return &database{t: t, dsn: dsn, conn: conn}
}

func (d *database) exec(sql string, args ...any) {
	d.t.Helper()
	if _, err := d.conn.Exec(d.t.Context(), sql, args...); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
}

// triggers installs what operators install, for that table.
func (d *database) triggers(name string) {
	d.t.Helper()
	sql := strings.ReplaceAll(table.NotifySQL, "ON casbin_rule", "ON "+name)
	d.exec(sql)
	d.exec(sql) // running it again changes nothing
}

func (d *database) config(poll time.Duration) table.Config {
	return table.Config{Postgres: table.Secret(d.dsn), Poll: poll}
}

// The tables as the adapters create them.
const (
	gormTable = `CREATE TABLE "casbin_rule" ("id" bigserial,"ptype" varchar(100),"v0" varchar(100),"v1" varchar(100),"v2" varchar(100),"v3" varchar(100),"v4" varchar(100),"v5" varchar(100),PRIMARY KEY ("id"));
		CREATE UNIQUE INDEX idx_casbin_rule ON casbin_rule (ptype,v0,v1,v2,v3,v4,v5)`
	pgxTable  = `CREATE TABLE casbin_rule (id text PRIMARY KEY, p_type text, v0 text, v1 text, v2 text, v3 text, v4 text, v5 text)`
	pgx3Table = `CREATE TABLE "casbin_rule" (id SERIAL PRIMARY KEY, ptype VARCHAR(100) NOT NULL, v0 VARCHAR(100), v1 VARCHAR(100), v2 VARCHAR(100), v3 VARCHAR(100), v4 VARCHAR(100), v5 VARCHAR(100))`
	sqlxTable = `CREATE TABLE casbin_rule (p_type varchar(32) DEFAULT '' NOT NULL, v0 varchar(255) DEFAULT '' NOT NULL, v1 varchar(255) DEFAULT '' NOT NULL, v2 varchar(255) DEFAULT '' NOT NULL, v3 varchar(255) DEFAULT '' NOT NULL, v4 varchar(255) DEFAULT '' NOT NULL, v5 varchar(255) DEFAULT '' NOT NULL);
		CREATE INDEX idx_casbin_rule ON casbin_rule (p_type, v0, v1)`
	rustTable = `CREATE TABLE casbin_rule (id SERIAL PRIMARY KEY, ptype VARCHAR NOT NULL, v0 VARCHAR NOT NULL, v1 VARCHAR NOT NULL, v2 VARCHAR NOT NULL, v3 VARCHAR NOT NULL, v4 VARCHAR NOT NULL, v5 VARCHAR NOT NULL, CONSTRAINT unique_key_sqlx_adapter UNIQUE(ptype, v0, v1, v2, v3, v4, v5))`
)

// TestTablesOfAdapters: what each adapter writes is read as it would load it, and a change of it is seen.
func TestTablesOfAdapters(t *testing.T) {
	t.Parallel()
	d := startDatabase(t)
	empty := `INSERT INTO casbin_rule (ptype, v0, v1, v2, v3, v4, v5) VALUES `
	tests := map[string]struct {
		create, insert, change string
		first, second          []enforcer.Row
	}{
		"gorm-adapter": {
			gormTable, empty + `('p','admin','/a','GET','','',''), ('g','alice','admin','','','',''), ('p','x','','y','','','')`,
			`UPDATE casbin_rule SET v1 = '/b' WHERE id = 1`,
			[]enforcer.Row{row(1, "p", "admin", "/a", "GET"), row(2, "g", "alice", "admin"), row(3, "p", "x", "", "y")},
			[]enforcer.Row{row(1, "p", "admin", "/b", "GET"), row(2, "g", "alice", "admin"), row(3, "p", "x", "", "y")},
		},
		"pgx-adapter": { // its id is a digest of the rule; an update deletes and inserts
			pgxTable, `INSERT INTO casbin_rule VALUES ('ff00','p','admin','/a','GET',NULL,NULL,NULL), ('0a','g','alice','admin',NULL,NULL,NULL,NULL)`,
			`WITH gone AS (DELETE FROM casbin_rule WHERE id = 'ff00') INSERT INTO casbin_rule VALUES ('77','p','admin','/b','GET',NULL,NULL,NULL)`,
			[]enforcer.Row{row(1, "p", "admin", "/a", "GET"), row(2, "g", "alice", "admin")},
			[]enforcer.Row{row(2, "g", "alice", "admin"), row(3, "p", "admin", "/b", "GET")},
		},
		"casbin-pgx-adapter": {
			pgx3Table, empty + `('p','admin','/a','GET',NULL,NULL,NULL), ('p','x',NULL,'y',NULL,'',NULL)`,
			`DELETE FROM casbin_rule WHERE v0 = 'admin'`,
			[]enforcer.Row{row(1, "p", "admin", "/a", "GET"), row(2, "p", "x", "", "y")},
			[]enforcer.Row{row(2, "p", "x", "", "y")},
		},
		"sqlx-adapter": { // it has no id
			sqlxTable, `INSERT INTO casbin_rule (p_type,v0,v1,v2,v3,v4,v5) VALUES ('p','admin','/a','GET','','',''), ('g','alice','admin','','','','')`,
			`DELETE FROM casbin_rule WHERE p_type = 'g'`,
			[]enforcer.Row{row(1, "p", "admin", "/a", "GET"), row(2, "g", "alice", "admin")},
			[]enforcer.Row{row(1, "p", "admin", "/a", "GET")},
		},
		"sqlx-adapter of casbin-rs": {
			rustTable, empty + `('p','a,"b','/é',E'G\\T','','','')`, `TRUNCATE casbin_rule`,
			[]enforcer.Row{row(1, "p", `a,"b`, "/é", `G\T`)},
			[]enforcer.Row{},
		},
	}
	for name, test := range tests {
		for mode, poll := range map[string]time.Duration{"notified": hourly, "polled": 20 * time.Millisecond} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				d := &database{t: t, dsn: d.dsn, conn: d.conn}
				d.exec(`DROP TABLE IF EXISTS casbin_rule`)
				d.exec(test.create)
				if mode == "notified" {
					d.triggers("casbin_rule")
				}
				d.exec(test.insert)
				f := follow(t, d.config(poll))
				checkRows(t, f.Follower, test.first...)
				if status := f.Status(); status.Notified != (mode == "notified") || !status.Connected || status.Rows != len(test.first) {
					t.Errorf("%+v", status)
				}
				before, version := f.Current()
				d.exec(test.change)
				f.awaitRows(test.second...)
				if _, now := f.Current(); now <= version {
					t.Errorf("the version went from %d to %d", version, now)
				}
				if len(before.Rows) != len(test.first) {
					t.Error("a Table that was handed out has changed")
				}
			})
		}
	}
}

// TestSharing: a row that did not change is the same row in the next Table, whichever way that was read.
func TestSharing(t *testing.T) {
	t.Parallel()
	for mode, poll := range map[string]time.Duration{"notified": hourly, "polled": 20 * time.Millisecond} {
		d := startDatabase(t)
		d.exec(gormTable)
		if mode == "notified" {
			d.triggers("casbin_rule")
		}
		d.exec(`INSERT INTO casbin_rule (ptype, v0) SELECT 'p', i::text FROM generate_series(1, 100) i`)
		f := follow(t, d.config(poll))
		for step, change := range []string{
			`UPDATE casbin_rule SET v0 = 'new' WHERE id = 50`, `DELETE FROM casbin_rule WHERE id = 1`,
			`INSERT INTO casbin_rule (ptype, v0) VALUES ('g', 'last')`, `INSERT INTO casbin_rule (id, ptype, v0) VALUES (1, 'p', 'again')`,
			`UPDATE casbin_rule SET id = 1000 WHERE id = 2`,
		} {
			before, _ := f.Current()
			kept := fmt.Sprint(before.Rows)
			d.exec(change)
			after := f.awaitTable(change, func(now *enforcer.Table) bool { return now != before })
			if fmt.Sprint(before.Rows) != kept {
				t.Errorf("%s: %s: the Table before has changed", mode, change)
			}
			old := map[int64][]string{}
			for _, row := range before.Rows {
				old[row.ID] = row.Fields
			}
			other := 0
			for _, row := range after.Rows {
				if was, ok := old[row.ID]; !ok || &was[0] != &row.Fields[0] {
					other++
				}
			}
			if want := []int{1, 0, 1, 1, 1}[step]; other != want {
				t.Errorf("%s: %s: %d rows are not shared, want %d", mode, change, other, want)
			}
		}
	}
}

// TestNeverHalf: transactions that move two rows at once, in several statements, from many writers; every Table that
// is ever seen has both or neither.
func TestNeverHalf(t *testing.T) {
	t.Parallel()
	for mode, poll := range map[string]time.Duration{"notified": hourly, "polled": 10 * time.Millisecond} {
		d := startDatabase(t)
		d.exec(gormTable)
		if mode == "notified" {
			d.triggers("casbin_rule")
		}
		const writers, rounds = 4, 60
		for w := range writers {
			d.exec(`INSERT INTO casbin_rule (ptype, v0, v1) VALUES ('p', $1, '0'), ('g', $1, '0')`, fmt.Sprint(w))
		}
		f := follow(t, d.config(poll))
		var writing sync.WaitGroup
		for w := range writers {
			own := connect(t, d.dsn)
			writing.Go(func() { move(t, own, fmt.Sprint(w), rounds) })
		}
		t.Cleanup(writing.Wait)
		ended := make(chan struct{})
		go func() { writing.Wait(); close(ended) }()
		seen := 0
		for done := false; !done; {
			select {
			case <-f.changes:
			case <-ended:
				done = true
			}
			now, _ := f.Current()
			checkWhole(t, mode, now, writers)
			seen++
		}
		f.awaitTable("the last state", func(now *enforcer.Table) bool {
			checkWhole(t, mode, now, writers)
			for _, row := range now.Rows {
				if row.Fields[2] != fmt.Sprint(rounds) {
					return false
				}
			}
			return true
		})
		t.Logf("%s: looked at %d Tables", mode, seen)
	}
}

// move changes a writer's two rows in transactions of several statements, some of which replace a row.
func move(t *testing.T, d *database, name string, rounds int) {
	for i := 1; i <= rounds; i++ {
		err := pgx.BeginFunc(t.Context(), d.conn, func(tx pgx.Tx) error {
			next := fmt.Sprint(i)
			_, err := tx.Exec(t.Context(), `UPDATE casbin_rule SET v1 = $2 WHERE ptype = 'p' AND v0 = $1`, name, next)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(t.Context(), `DELETE FROM casbin_rule WHERE ptype = 'g' AND v0 = $1`, name); err != nil {
				return err
			}
			_, err = tx.Exec(t.Context(), `INSERT INTO casbin_rule (ptype, v0, v1) VALUES ('g', $1, $2)`, name, next)
			return err
		})
		if err != nil {
			t.Errorf("writing: %v", err)
			return
		}
	}
}

func checkWhole(t *testing.T, mode string, now *enforcer.Table, writers int) {
	t.Helper()
	values, count := map[string]string{}, 0
	for _, row := range now.Rows {
		name, value := row.Fields[1], row.Fields[2]
		if was, ok := values[name]; ok && was != value {
			t.Fatalf("%s: half of a transaction: %v", mode, now.Rows)
		}
		values[name] = value
		count++
	}
	if count != 2*writers || len(values) != writers {
		t.Fatalf("%s: half of a transaction: %v", mode, now.Rows)
	}
}

// TestLongTransaction: nothing of a transaction is seen before it is committed, and then all of it.
func TestLongTransaction(t *testing.T) {
	t.Parallel()
	d := startDatabase(t)
	d.exec(gormTable)
	d.triggers("casbin_rule")
	d.exec(`INSERT INTO casbin_rule (ptype, v0) VALUES ('p', 'a'), ('p', 'b')`)
	f := follow(t, d.config(20*time.Millisecond))
	other := connect(t, d.dsn)
	tx, err := other.conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{`DELETE FROM casbin_rule`, `INSERT INTO casbin_rule (ptype, v0) VALUES ('p', 'c'), ('p', 'd'), ('p', 'e')`} {
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	d.exec(`INSERT INTO casbin_rule (ptype, v0) VALUES ('p', 'meanwhile')`)
	f.awaitRows(row(1, "p", "a"), row(2, "p", "b"), row(6, "p", "meanwhile"))
	read := f.Status().Read
	f.awaitStatus("some polls", func(s table.Status) bool { return s.Read.Sub(read) > 100*time.Millisecond })
	checkRows(t, f.Follower, row(1, "p", "a"), row(2, "p", "b"), row(6, "p", "meanwhile"))
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.awaitRows(row(3, "p", "c"), row(4, "p", "d"), row(5, "p", "e"), row(6, "p", "meanwhile"))
}

// TestPollingIsCheap: as long as nothing changed the table is not read again, however much is written elsewhere.
func TestPollingIsCheap(t *testing.T) {
	t.Parallel()
	d := startDatabase(t)
	d.exec(gormTable + `; CREATE TABLE elsewhere (n int)`)
	d.exec(`INSERT INTO casbin_rule (ptype, v0) SELECT 'p', i::text FROM generate_series(1, 1000) i`)
	f := follow(t, d.config(10*time.Millisecond))
	first, version := f.Current()
	scans := func() (n int) {
		d.exec(`SELECT pg_stat_force_next_flush()`)
		if err := d.conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kasbah'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := scans(); n != 1 {
		t.Errorf("the follower has %d connections", n)
	}
	for range 20 {
		d.exec(`INSERT INTO elsewhere VALUES (1)`)
		read := f.Status().Read
		f.awaitStatus("a poll", func(s table.Status) bool { return s.Read.After(read) })
	}
	if now, v := f.Current(); now != first || v != version {
		t.Error("a table that did not change is another one")
	}
	d.exec(`UPDATE casbin_rule SET v0 = 'changed' WHERE id = 500`)
	f.awaitTable("the change", func(now *enforcer.Table) bool { return now.Rows[499].Fields[1] == "changed" })
}

// TestTriggersComeAndGo: a table that gets its triggers later is followed by them, and one that loses them is polled.
func TestTriggersComeAndGo(t *testing.T) {
	t.Parallel()
	d := startDatabase(t)
	d.exec(gormTable)
	f := follow(t, d.config(20*time.Millisecond))
	if f.Status().Notified {
		t.Fatal("there is no trigger yet")
	}
	d.exec(`INSERT INTO casbin_rule (ptype, v0) VALUES ('p', 'a')`)
	f.awaitRows(row(1, "p", "a"))
	d.triggers("casbin_rule")
	f.awaitStatus("the triggers to be seen", func(s table.Status) bool { return s.Notified })
	d.exec(`INSERT INTO casbin_rule (ptype, v0) VALUES ('p', 'b')`)
	f.awaitRows(row(1, "p", "a"), row(2, "p", "b"))
	d.exec(`ALTER TABLE casbin_rule DISABLE TRIGGER kasbah_update`)
	f.awaitStatus("one trigger less to be seen", func(s table.Status) bool { return !s.Notified })
	d.exec(`UPDATE casbin_rule SET v0 = 'c' WHERE id = 2`)
	f.awaitRows(row(1, "p", "a"), row(2, "p", "c"))
	d.exec(`ALTER TABLE casbin_rule ENABLE TRIGGER kasbah_update`)
	f.awaitStatus("the trigger to be seen", func(s table.Status) bool { return s.Notified })
	d.exec(`DROP TRIGGER kasbah_update ON casbin_rule; CREATE TRIGGER kasbah_update AFTER UPDATE OF v1 ON casbin_rule FOR EACH STATEMENT EXECUTE FUNCTION kasbah_notify()`)
	f.awaitStatus("a trigger that does not tell all to be seen", func(s table.Status) bool { return !s.Notified })
	d.triggers("casbin_rule")
	f.awaitStatus("the trigger to be seen", func(s table.Status) bool { return s.Notified })
	d.exec(`SET session_replication_role = replica`) // as who applies a replicated change: no trigger fires
	d.exec(`UPDATE casbin_rule SET v0 = 'd' WHERE id = 2`)
	f.awaitRows(row(1, "p", "a"), row(2, "p", "d"))
}

// TestManyChanges: statements that change more rows than a notification names, and none.
func TestManyChanges(t *testing.T) {
	t.Parallel()
	d := startDatabase(t)
	d.exec(gormTable)
	d.triggers("casbin_rule")
	f := follow(t, d.config(hourly))
	for _, change := range []struct {
		sql  string
		rows int
	}{
		{`INSERT INTO casbin_rule (ptype, v0) SELECT 'p', i::text FROM generate_series(1, 5000) i`, 5000},
		{`UPDATE casbin_rule SET v1 = 'x' WHERE id <= 300`, 5000},
		{`DELETE FROM casbin_rule WHERE id > 4700`, 4700},
		{`DELETE FROM casbin_rule WHERE id > 4399`, 4399},
		{`UPDATE casbin_rule SET id = id + 9000000000000000000 WHERE id <= 300`, 4399},
		{`DELETE FROM casbin_rule WHERE false`, 4399},
		{`TRUNCATE casbin_rule; INSERT INTO casbin_rule (ptype, v0) VALUES ('p', 'only')`, 1},
	} {
		before, _ := f.Current()
		d.exec(change.sql)
		if strings.HasSuffix(change.sql, "false") {
			continue
		}
		f.awaitTable(change.sql, func(now *enforcer.Table) bool { return now != before && len(now.Rows) == change.rows })
	}
	checkRows(t, f.Follower, row(5001, "p", "only"))
}

// TestForeignNotifications: whoever may connect may notify. It has what is there read, and nothing else.
func TestForeignNotifications(t *testing.T) {
	t.Parallel()
	d := startDatabase(t)
	d.exec(gormTable)
	d.triggers("casbin_rule")
	d.exec(`INSERT INTO casbin_rule (ptype, v0) VALUES ('p', 'a')`)
	f := follow(t, d.config(hourly))
	first, _ := f.Current()
	var relation int64
	if err := d.conn.QueryRow(t.Context(), `SELECT 'casbin_rule'::regclass::oid::bigint`).Scan(&relation); err != nil {
		t.Fatal(err)
	}
	for _, payload := range []string{
		"", "x", "{", "null", "[]", `{"relation": 1, "ids": [1]}`, fmt.Sprintf(`{"relation": %d}`, relation),
		fmt.Sprintf(`{"relation": %d, "ids": [-1, 0, 9223372036854775807]}`, relation), fmt.Sprintf(`{"relation": %d, "ids": [9223372036854775808]}`, relation),
		fmt.Sprintf(`{"relation": %d, "ids": ["1; DROP TABLE casbin_rule"]}`, relation), strings.Repeat("[", 7000),
	} {
		d.exec(`SELECT pg_notify('kasbah_policy', $1)`, payload)
	}
	read := f.Status().Read
	f.awaitStatus("the notifications to be heard", func(s table.Status) bool { return s.Read.After(read) })
	if now, _ := f.Current(); now != first || !f.Status().Connected {
		t.Errorf("%+v %v", now, f.Status())
	}
	d.exec(`INSERT INTO casbin_rule (ptype, v0) VALUES ('p', 'b')`)
	f.awaitRows(row(1, "p", "a"), row(2, "p", "b"))
}

// TestBusyChannel: what is said about one table does not keep another one, which nobody speaks of, from being polled.
func TestBusyChannel(t *testing.T) {
	t.Parallel()
	d := startDatabase(t)
	d.exec(gormTable + `; CREATE TABLE quiet (id int PRIMARY KEY, ptype text, v0 text); INSERT INTO quiet VALUES (1, 'p', 'a')`)
	d.triggers("casbin_rule")
	cfg := d.config(100 * time.Millisecond)
	cfg.Table = "quiet"
	f := follow(t, cfg)
	other := connect(t, d.dsn)
	ctx, stop := context.WithCancel(t.Context())
	var talking sync.WaitGroup
	talking.Go(func() {
		for ctx.Err() == nil {
			_, _ = other.conn.Exec(ctx, `INSERT INTO casbin_rule (ptype, v0) VALUES ('p', 'busy' || random()::text)`)
		}
	})
	t.Cleanup(talking.Wait)
	t.Cleanup(stop)
	d.exec(`INSERT INTO quiet VALUES (2, 'p', 'b')`)
	f.awaitRows(row(1, "p", "a"), row(2, "p", "b"))
}

// TestRefusedTables: what cannot be read is an error that says so, and never a part of the table.
func TestRefusedTables(t *testing.T) {
	t.Parallel()
	d := startDatabase(t)
	long := strings.Repeat("x", 32<<10+1)
	for name, test := range map[string]struct{ create, want string }{
		"no table":    {`SELECT 1`, `there is no table "casbin_rule"`},
		"no ptype":    {`CREATE TABLE casbin_rule (id int, v0 text)`, "ptype"},
		"two ptypes":  {`CREATE TABLE casbin_rule (id int, ptype text, p_type text, v0 text)`, "ptype"},
		"no v0":       {`CREATE TABLE casbin_rule (id int, ptype text, v1 text)`, "v0"},
		"a gap":       {`CREATE TABLE casbin_rule (id int, ptype text, v0 text, v2 text)`, "v2"},
		"a v6":        {`CREATE TABLE casbin_rule (id int, ptype text, v0 text, v1 text, v2 text, v3 text, v4 text, v5 text, v6 text)`, "v6"},
		"a view":      {`CREATE VIEW casbin_rule AS SELECT 'p'::text AS ptype, 'a'::text AS v0`, "a view needs one"},
		"no key":      {`CREATE TABLE casbin_rule (id int, ptype text, v0 text); INSERT INTO casbin_rule VALUES (7, 'p', 'a'), (7, 'p', 'b')`, "casbin_rule:7: error: two rows have this id"},
		"a NULL id":   {`CREATE TABLE casbin_rule (id int, ptype text, v0 text); INSERT INTO casbin_rule VALUES (NULL, 'p', 'a')`, "NULL"},
		"a long text": {`CREATE TABLE casbin_rule (id int, ptype text, v0 text); INSERT INTO casbin_rule VALUES (9, 'p', '` + long + `')`, "casbin_rule:9: error: v0 has 32769 bytes"},
		"a huge text": {`CREATE TABLE casbin_rule (id int, ptype text, v0 text); INSERT INTO casbin_rule VALUES (9, 'p', repeat('x', 100000000))`, "a row has more than 4194304 bytes"},
	} {
		d.exec(`DROP VIEW IF EXISTS casbin_rule`)
		d.exec(test.create)
		f, err := table.Open(t.Context(), d.config(hourly), options(&logBuffer{}))
		if err == nil {
			f.Close()
			t.Errorf("%s: no error", name)
			continue
		}
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want %q", name, err, test.want)
		}
		var finding *policy.Finding
		if strings.Contains(test.want, ":") && !errors.As(err, &finding) {
			t.Errorf("%s: %v is no finding", name, err)
		}
		if strings.HasPrefix(test.create, "CREATE TABLE") {
			d.exec(`DROP TABLE casbin_rule`)
		}
	}
}

// TestNames: a table of another name and schema, and one whose name is a keyword.
func TestNames(t *testing.T) {
	t.Parallel()
	d := startDatabase(t)
	d.exec(`CREATE SCHEMA "Auth"; CREATE TABLE "Auth"."select" (id int PRIMARY KEY, ptype text, v0 text); INSERT INTO "Auth"."select" VALUES (1, 'p', 'a')`)
	d.triggers(`"Auth"."select"`)
	cfg := d.config(hourly)
	cfg.Table = "Auth.select"
	f := follow(t, cfg)
	checkRows(t, f.Follower, row(1, "p", "a"))
	d.exec(`INSERT INTO "Auth"."select" VALUES (2, 'p', 'b')`)
	f.awaitRows(row(1, "p", "a"), row(2, "p", "b"))
	at, err := url.Parse(d.dsn)
	if err != nil {
		t.Fatal(err)
	}
	if want := "postgres://" + at.Host + "/postgres/Auth.select"; f.Status().Source != want {
		t.Errorf("the source is %q, want %q", f.Status().Source, want)
	}
	for _, name := range []string{`a"b`, "a b", "a.b.c", ".a", "a.", "a;b", "1a", "a'b", "é", strings.Repeat("a", 64), "a-b", "a\x00"} {
		cfg.Table = name
		if _, err := table.Open(t.Context(), cfg, options(&logBuffer{})); err == nil || !strings.Contains(err.Error(), "table name") {
			t.Errorf("the table name %q: %v", name, err)
		}
	}
}
