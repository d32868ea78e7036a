package table_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/policy/enforcer"
	"github.com/kasbah-authz/kasbah/policy/table"
)

// file is one SQLite database with a connection of the test's own.
type file struct {
	t    testing.TB
	path string
	db   *sql.DB
}

func newFile(t testing.TB, name string) *file {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	return openFile(t, path)
}

func openFile(t testing.TB, path string) *file {
	t.Helper()
	escaped := strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
	db, err := sql.Open("sqlite", "file:"+escaped+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return &file{t: t, path: path, db: db}
}

func (f *file) exec(sql string, args ...any) {
	f.t.Helper()
	if _, err := f.db.ExecContext(f.t.Context(), sql, args...); err != nil {
		f.t.Fatalf("%s: %v", sql, err)
	}
}

func (f *file) config() table.Config {
	return table.Config{SQLite: f.path, Poll: 10 * time.Millisecond}
}

const gormSQLite = "CREATE TABLE `casbin_rule` (`id` integer PRIMARY KEY AUTOINCREMENT,`ptype` text,`v0` text,`v1` text,`v2` text,`v3` text,`v4` text,`v5` text); CREATE UNIQUE INDEX idx_casbin_rule ON casbin_rule (ptype,v0,v1,v2,v3,v4,v5)"

func TestSQLiteTablesOfAdapters(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		create, insert, change string
		first, second          []enforcer.Row
	}{
		"gorm-adapter": {
			gormSQLite, `INSERT INTO casbin_rule (ptype,v0,v1,v2,v3,v4,v5) VALUES ('p','admin','/a','GET','','',''), ('g','alice','admin','','','',''), ('p','x','','y','','','')`,
			`UPDATE casbin_rule SET v1 = '/b' WHERE id = 1`,
			[]enforcer.Row{row(1, "p", "admin", "/a", "GET"), row(2, "g", "alice", "admin"), row(3, "p", "x", "", "y")},
			[]enforcer.Row{row(1, "p", "admin", "/b", "GET"), row(2, "g", "alice", "admin"), row(3, "p", "x", "", "y")},
		},
		"sqlx-adapter": {
			`CREATE TABLE casbin_rule (p_type varchar(32) DEFAULT '' NOT NULL, v0 varchar(255) DEFAULT '' NOT NULL, v1 varchar(255) DEFAULT '' NOT NULL, v2 varchar(255) DEFAULT '' NOT NULL, v3 varchar(255) DEFAULT '' NOT NULL, v4 varchar(255) DEFAULT '' NOT NULL, v5 varchar(255) DEFAULT '' NOT NULL)`,
			`INSERT INTO casbin_rule (p_type,v0,v1) VALUES ('p','admin','/a'), ('p','5',7)`, `DELETE FROM casbin_rule WHERE v0 = 'admin'`,
			[]enforcer.Row{row(1, "p", "admin", "/a"), row(2, "p", "5", "7")},
			[]enforcer.Row{row(2, "p", "5", "7")},
		},
		"sqlx-adapter of casbin-rs": {
			`CREATE TABLE casbin_rule (id INTEGER PRIMARY KEY, ptype VARCHAR(12) NOT NULL, v0 VARCHAR(128) NOT NULL, v1 VARCHAR(128) NOT NULL, v2 VARCHAR(128) NOT NULL, v3 VARCHAR(128) NOT NULL, v4 VARCHAR(128) NOT NULL, v5 VARCHAR(128) NOT NULL)`,
			`INSERT INTO casbin_rule VALUES (-3,'p','a','','','','',''), (9,'p','b','','','','','')`, `DELETE FROM casbin_rule`,
			[]enforcer.Row{row(-3, "p", "a"), row(9, "p", "b")},
			[]enforcer.Row{},
		},
		"another id": {
			`CREATE TABLE casbin_rule (id text PRIMARY KEY, ptype text, v0 text, v1 text)`, `INSERT INTO casbin_rule VALUES ('x','p','a',NULL), ('a','p',NULL,'b')`,
			`INSERT INTO casbin_rule VALUES ('b','g','c','d')`,
			[]enforcer.Row{row(1, "p", "a"), row(2, "p", "", "b")},
			[]enforcer.Row{row(1, "p", "a"), row(2, "p", "", "b"), row(3, "g", "c", "d")},
		},
	}
	for name, test := range tests {
		for _, journal := range []string{"DELETE", "WAL"} {
			t.Run(name+"/"+journal, func(t *testing.T) {
				t.Parallel()
				d := newFile(t, "policy ?#%41.db")
				d.exec(`PRAGMA journal_mode = ` + journal)
				d.exec(test.create)
				d.exec(test.insert)
				f := follow(t, d.config())
				checkRows(t, f.Follower, test.first...)
				d.exec(test.change)
				f.awaitRows(test.second...)
				if status := f.Status(); status.Notified || !status.Connected || status.Source != "sqlite:"+d.path+"/casbin_rule" {
					t.Errorf("%+v", status)
				}
			})
		}
	}
}

// TestSQLiteNeverHalf: nothing of a writer's transaction is seen before it is committed.
func TestSQLiteNeverHalf(t *testing.T) {
	t.Parallel()
	for _, journal := range []string{"DELETE", "WAL"} {
		d := newFile(t, "policy.db")
		d.exec(`PRAGMA journal_mode = ` + journal)
		d.exec(gormSQLite)
		d.exec(`INSERT INTO casbin_rule (ptype, v0) VALUES ('p', '0'), ('p', '0')`)
		f := follow(t, d.config())
		ctx := t.Context()
		for i := range 30 {
			tx, err := d.db.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			for id := 1; id <= 2; id++ {
				if _, err := tx.ExecContext(ctx, `UPDATE casbin_rule SET v0 = ? WHERE id = ?`, fmt.Sprint(i), id); err != nil {
					t.Fatal(err)
				}
				now, _ := f.Current()
				if now.Rows[0].Fields[1] != now.Rows[1].Fields[1] {
					t.Fatalf("%s: half of a transaction: %v", journal, now.Rows)
				}
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			if i%10 == 9 {
				f.awaitRows(row(1, "p", fmt.Sprint(i)), row(2, "p", fmt.Sprint(i)))
			}
		}
	}
}

// TestSQLiteFileIsReplaced: another file under the name, none, and again one.
func TestSQLiteFileIsReplaced(t *testing.T) {
	t.Parallel()
	d := newFile(t, "policy.db")
	d.exec(gormSQLite)
	d.exec(`INSERT INTO casbin_rule (ptype, v0) VALUES ('p', 'first')`)
	f := follow(t, d.config())
	next := openFile(t, d.path+".next")
	next.exec(gormSQLite)
	next.exec(`INSERT INTO casbin_rule (ptype, v0) VALUES ('p', 'second')`)
	if err := os.Rename(next.path, d.path); err != nil {
		t.Fatal(err)
	}
	f.awaitRows(row(1, "p", "second"))
	if err := os.Rename(d.path, next.path); err != nil {
		t.Fatal(err)
	}
	f.awaitStatus("the loss to be seen", func(s table.Status) bool { return !s.Connected && s.Err != nil })
	checkRows(t, f.Follower, row(1, "p", "second"))
	next.exec(`INSERT INTO casbin_rule (ptype, v0) VALUES ('p', 'third')`)
	if err := os.Rename(next.path, d.path); err != nil {
		t.Fatal(err)
	}
	f.awaitRows(row(1, "p", "second"), row(2, "p", "third"))
	f.awaitStatus("the file to be back", func(s table.Status) bool { return s.Connected && s.Err == nil })
}

// TestSQLiteRefused: what cannot be read is an error, nothing is created, and nothing is written.
func TestSQLiteRefused(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	absent := filepath.Join(folder, "absent.db")
	if _, err := table.Open(t.Context(), table.Config{SQLite: absent, Poll: time.Second}, options(&logBuffer{})); err == nil || !strings.Contains(err.Error(), absent) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := os.Stat(absent); err == nil {
		t.Error("a file was made")
	}
	for name, text := range map[string]string{"empty": "", "text": strings.Repeat("p, alice, /a\n", 100), "cut": "SQLite format 3\x00"} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if f, err := table.Open(t.Context(), table.Config{SQLite: path, Poll: time.Second}, options(&logBuffer{})); err == nil {
			f.Close()
			t.Errorf("%s: no error", name)
		}
	}
	for name, test := range map[string]struct{ create, want string }{
		"no ptype":      {`CREATE TABLE casbin_rule (id int, v0 text)`, "ptype"},
		"a view":        {`CREATE VIEW casbin_rule AS SELECT 'p' AS ptype, 'a' AS v0`, "rowid"},
		"no key":        {`CREATE TABLE casbin_rule (id int, ptype text, v0 text); INSERT INTO casbin_rule VALUES (7, 'p', 'a'), (7, 'p', 'b')`, "casbin_rule:7: error: two rows have this id"},
		"no integer id": {`CREATE TABLE casbin_rule (id int, ptype text, v0 text); INSERT INTO casbin_rule VALUES ('x', 'p', 'a')`, "no integer"},
		"a long text":   {`CREATE TABLE casbin_rule (id int, ptype text, v0 text); INSERT INTO casbin_rule VALUES (9, 'p', printf('%.*c', 32769, 'x'))`, "casbin_rule:9: error: v0 has 32769 bytes"},
		"a huge text":   {`CREATE TABLE casbin_rule (id int, ptype text, v0 text); INSERT INTO casbin_rule VALUES (9, 'p', printf('%.*c', 100000000, 'x'))`, "too big"},
		"a slow view":   {`CREATE VIEW casbin_rule AS WITH RECURSIVE r(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM r) SELECT CAST(id AS INTEGER) AS id, 'p' AS ptype, 'a' AS v0 FROM r WHERE id < 0`, "interrupted"},
	} {
		d := newFile(t, "policy.db")
		d.exec(test.create)
		limit := time.Minute
		if test.want == "interrupted" {
			limit = time.Second
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		f, err := table.Open(ctx, d.config(), options(&logBuffer{}))
		cancel()
		if err == nil {
			f.Close()
			t.Errorf("%s: no error", name)
			continue
		}
		if !strings.Contains(err.Error(), test.want) && !(test.want == "interrupted" && strings.Contains(err.Error(), context.DeadlineExceeded.Error())) {
			t.Errorf("%s: %v; want %q", name, err, test.want)
		}
	}
}
