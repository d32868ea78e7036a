package keystore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystore"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// databases are a new table in each kind of database.
func databases(t *testing.T) map[string]keystore.Config {
	t.Helper()
	all := map[string]keystore.Config{
		"postgres": {Postgres: envoytest.RunPostgres(t).DSN(), Table: keystore.DefaultName},
		"sqlite":   {SQLite: filepath.Join(t.TempDir(), "a b?c#d%20.db"), Table: keystore.DefaultName},
	}
	for _, at := range all {
		if err := keystore.Init(t.Context(), at); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// raw connects as who changes keys by hand.
func raw(t fatal, at keystore.Config) *sql.DB {
	t.Helper()
	driver, name := "pgx", at.Postgres
	if at.SQLite != "" {
		driver, name = "sqlite", "file:"+strings.NewReplacer("?", "%3f", "#", "%23", "%", "%25").Replace(at.SQLite)+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return db
}

func opened(t *testing.T, open func(context.Context, keystore.Config) (*keystore.Table, error), at keystore.Config) *keystore.Table {
	t.Helper()
	table, err := open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Close)
	return table
}

// readInto reads what changed since that state into all keys.
func readInto(t fatal, table *keystore.Table, since keys.TableState, all map[string]*configv1.ApiKeyEntry) (now keys.TableState, whole bool) {
	t.Helper()
	read := map[string]*configv1.ApiKeyEntry{}
	now, whole, err := table.Read(context.Background(), since, func(entry *configv1.ApiKeyEntry, fault error) {
		if fault != nil {
			entry = &configv1.ApiKeyEntry{Id: entry.GetId(), Owner: fault.Error()}
		}
		read[entry.GetId()] = entry
	})
	if err != nil {
		t.Fatalf("reading: %v", err)
	}
	if whole {
		clear(all)
	}
	maps.Copy(all, read)
	return now, whole
}

func entryOf(id, owner string) *configv1.ApiKeyEntry {
	return &configv1.ApiKeyEntry{Id: id, Owner: owner, Secrets: []*configv1.ApiKeySecret{{Sha256: keys.HashAPIKey(id)}}}
}

// TestEveryFieldIsKept: what is written is read as the same, and listed.
func TestEveryFieldIsKept(t *testing.T) {
	for name, at := range databases(t) {
		t.Run(name, func(t *testing.T) {
			table := opened(t, keystore.Open, at)
			want := &configv1.ApiKeyEntry{
				Id: "é'\"; DROP", Owner: "acme $1 ?1 \\", Environment: "test", Roles: []string{"a", `b"]`}, Scopes: []string{"x:y", "ü"},
				Addresses: []string{"10.0.0.0/8"}, Expires: "2030-01-01T00:00:00Z", Created: "2026-01-01T00:00:00Z", Revoked: "2026-02-01T00:00:00Z", Imported: true,
				Secrets: []*configv1.ApiKeySecret{{Sha256: keys.HashAPIKey("a"), Expires: "2027-01-01T00:00:00Z"}, {Sha256: keys.HashAPIKey("b")}},
			}
			if err := table.Change(t.Context(), want.GetId(), func(before *configv1.ApiKeyEntry) (*configv1.ApiKeyEntry, error) {
				if before != nil {
					t.Errorf("there is one already: %v", before)
				}
				return want, nil
			}); err != nil {
				t.Fatal(err)
			}
			refused := errors.New("no")
			if err := table.Change(t.Context(), want.GetId(), func(before *configv1.ApiKeyEntry) (*configv1.ApiKeyEntry, error) {
				if diff := cmp.Diff(want, before, protocmp.Transform()); diff != "" {
					t.Error(diff)
				}
				before.Owner = "other"
				return before, refused
			}); !errors.Is(err, refused) {
				t.Errorf("a refused change is %v", err)
			}
			all := map[string]*configv1.ApiKeyEntry{}
			readInto(t, opened(t, keystore.Reader, at), keys.TableState{}, all)
			if diff := cmp.Diff(map[string]*configv1.ApiKeyEntry{want.GetId(): want}, all, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
			recorder := opened(t, keystore.Recorder, at)
			instant := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			for _, offset := range []time.Duration{0, time.Hour, -time.Hour} {
				if err := recorder.RecordUse(t.Context(), map[string]time.Time{want.GetId(): instant.Add(offset), "another": instant}); err != nil {
					t.Fatal(err)
				}
			}
			many := map[string]time.Time{}
			for i := range 1001 {
				many[fmt.Sprint("k", i)] = instant
			}
			if err := recorder.RecordUse(t.Context(), many); err != nil {
				t.Fatal(err)
			}
			listed := 0
			if err := table.List(t.Context(), func(entry *configv1.ApiKeyEntry, used string) error {
				listed++
				if diff := cmp.Diff(want, entry, protocmp.Transform()); diff != "" || used != "2026-03-01T13:00:00Z" {
					t.Errorf("used %q, %s", used, diff)
				}
				return nil
			}); err != nil || listed != 1 {
				t.Errorf("%d keys are listed, %v", listed, err)
			}
		})
	}
}

// TestChangesAreTheWhole: whoever reads only what changed, by the command or by hand, has what who reads everything has.
func TestChangesAreTheWhole(t *testing.T) {
	for name, at := range databases(t) {
		t.Run(name, func(t *testing.T) {
			db := raw(t, at)
			defer db.Close()
			follower, writer := opened(t, keystore.Reader, at), opened(t, keystore.Open, at)
			known, since := map[string]*configv1.ApiKeyEntry{}, keys.TableState{}
			wholes, changes := 0, 0
			rapid.Check(t, func(t *rapid.T) {
				for range rapid.IntRange(1, 6).Draw(t, "steps") {
					id := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "id")
					owner := rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "owner")
					var statement string
					switch rapid.SampledFrom([]string{"change", "update", "all", "delete", "clear", "rename", "nothing", "break", "rollback"}).Draw(t, "what") {
					case "change":
						if err := writer.Change(context.Background(), id, func(*configv1.ApiKeyEntry) (*configv1.ApiKeyEntry, error) { return entryOf(id, owner), nil }); err != nil {
							t.Fatal(err)
						}
					case "update":
						statement = fmt.Sprintf("UPDATE kasbah_api_keys SET owner = '%s' WHERE id = '%s'", owner, id)
					case "all":
						statement = fmt.Sprintf("UPDATE kasbah_api_keys SET owner = '%s'", owner)
					case "delete":
						statement = fmt.Sprintf("DELETE FROM kasbah_api_keys WHERE id = '%s'", id)
					case "clear":
						statement = "DELETE FROM kasbah_api_keys"
						if at.SQLite == "" {
							statement = "TRUNCATE kasbah_api_keys"
						}
					case "rename":
						statement = fmt.Sprintf("UPDATE kasbah_api_keys SET id = '%s%s' WHERE id = '%s'", id, owner, id)
					case "break":
						statement = fmt.Sprintf("UPDATE kasbah_api_keys SET secrets = 'no list' WHERE id = '%s%s'", id, owner)
					case "rollback":
						tx, err := db.BeginTx(context.Background(), nil)
						if err != nil {
							t.Fatal(err)
						}
						if _, err := tx.ExecContext(context.Background(), "UPDATE kasbah_api_keys SET owner = 'nobody'"); err != nil {
							t.Fatal(err)
						}
						if err := tx.Rollback(); err != nil {
							t.Fatal(err)
						}
					}
					if statement != "" {
						if _, err := db.ExecContext(context.Background(), statement); err != nil && !strings.Contains(strings.ToLower(err.Error()), "unique") {
							t.Fatalf("%s: %v", statement, err)
						}
					}
					if rapid.Bool().Draw(t, "read") {
						before, whole := since, false
						if since, whole = readInto(t, follower, since, known); whole {
							wholes++
						} else if since != before {
							changes++
						}
					}
				}
				since, _ = readInto(t, follower, since, known)
				all := map[string]*configv1.ApiKeyEntry{}
				readInto(t, follower, keys.TableState{}, all)
				if diff := cmp.Diff(all, known, protocmp.Transform()); diff != "" {
					t.Fatalf("the changes are another table than the whole: %s", diff)
				}
			})
			if wholes == 0 || changes == 0 {
				t.Errorf("it was read whole %d times, and what changed %d times", wholes, changes)
			}
		})
	}
}

// TestWritersDoNotLoseEachOther: every one of many changes of one key and of others, at the same time, is there afterwards; and a
// reader beside them ends with all.
func TestWritersDoNotLoseEachOther(t *testing.T) {
	for name, at := range databases(t) {
		t.Run(name, func(t *testing.T) {
			const writers, rounds = 4, 8
			follower, known, since := opened(t, keystore.Reader, at), map[string]*configv1.ApiKeyEntry{}, keys.TableState{}
			first := opened(t, keystore.Open, at)
			if err := first.Change(t.Context(), "shared", func(*configv1.ApiKeyEntry) (*configv1.ApiKeyEntry, error) { return entryOf("shared", "acme"), nil }); err != nil {
				t.Fatal(err)
			}
			var group sync.WaitGroup
			for w := range writers {
				table := opened(t, keystore.Open, at)
				group.Go(func() {
					for n := range rounds {
						role := fmt.Sprintf("%d-%d", w, n)
						err := errors.Join(
							table.Change(t.Context(), "shared", func(e *configv1.ApiKeyEntry) (*configv1.ApiKeyEntry, error) {
								e.Roles = append(e.Roles, role)
								return e, nil
							}),
							table.Change(t.Context(), role, func(*configv1.ApiKeyEntry) (*configv1.ApiKeyEntry, error) { return entryOf(role, "own"), nil }),
						)
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			done := make(chan struct{})
			go func() { group.Wait(); close(done) }()
			for running := true; running; {
				select {
				case <-done:
					running = false
				default:
				}
				since, _ = readInto(t, follower, since, known)
			}
			if len(known) != 1+writers*rounds || len(known["shared"].GetRoles()) != writers*rounds {
				t.Errorf("%d keys, and the shared one has the roles %q", len(known), known["shared"].GetRoles())
			}
		})
	}
}

// TestReaderFaults: what is not there is said, a reader writes nothing, and no error holds the password.
func TestReaderFaults(t *testing.T) {
	all := databases(t)
	for name, at := range all {
		t.Run(name, func(t *testing.T) {
			if err := keystore.Init(t.Context(), at); err == nil || !strings.Contains(err.Error(), "already exists") {
				t.Errorf("a second table: %v", err)
			}
			reader := opened(t, keystore.Reader, at)
			if err := reader.Change(t.Context(), "a", func(*configv1.ApiKeyEntry) (*configv1.ApiKeyEntry, error) { return entryOf("a", "b"), nil }); err == nil {
				t.Error("a reader writes")
			}
			other := at
			other.Table = "another"
			table := opened(t, keystore.Reader, other)
			if _, _, err := table.Read(t.Context(), keys.TableState{}, nil); err == nil || !strings.Contains(err.Error(), "another") {
				t.Errorf("a table that is not there: %v", err)
			}
			for _, bad := range []string{"", "a.b.c", "a b", `a"b`, ".a", "a.", strings.Repeat("a", 41)} {
				broken := at
				if broken.Table = bad; broken.Check() == nil {
					t.Errorf("the table %q is taken", bad)
				}
			}
		})
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", all["postgres"], all["postgres"], all["postgres"], all["postgres"])} {
		if strings.Contains(text, "postgres://kasbah:") || !strings.Contains(text, "/postgres/kasbah_api_keys") {
			t.Errorf("it prints as %s", text)
		}
	}
	wrong := keystore.Config{Postgres: strings.Replace(all["postgres"].Postgres, "kasbah:", "kasbah:marked-secret", 1), Table: keystore.DefaultName}
	if _, err := keystore.Reader(t.Context(), wrong); err == nil || strings.Contains(err.Error(), "marked-secret") {
		t.Errorf("a wrong password: %v", err)
	}
	for _, config := range []keystore.Config{{Table: "a"}, {Table: "a", SQLite: "a", Postgres: "b"}, {Table: "a", Postgres: "postgres://u:marked-secret@h:port/"}, {Table: "a.b", SQLite: "a"}} {
		if err := config.Check(); err == nil || strings.Contains(err.Error(), "marked-secret") {
			t.Errorf("%v", err)
		}
	}
	at := all["sqlite"]
	reader := opened(t, keystore.Reader, at)
	since, _ := readInto(t, reader, keys.TableState{}, map[string]*configv1.ApiKeyEntry{})
	data, err := os.ReadFile(at.SQLite)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(at.SQLite), os.WriteFile(at.SQLite, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := reader.Read(t.Context(), since, nil); err == nil || !strings.Contains(err.Error(), "taken the place") {
		t.Errorf("another file in its place: %v", err)
	}
	if _, err := keystore.Reader(t.Context(), keystore.Config{SQLite: filepath.Join(t.TempDir(), "none"), Table: "a"}); err == nil {
		t.Error("a file that is not there is opened")
	}
}

// TestGrants: the server needs no more of PostgreSQL than the documentation grants it, and that is enough.
func TestGrants(t *testing.T) {
	document, err := os.ReadFile("../../docs/authentication.md")
	if err != nil {
		t.Fatal(err)
	}
	var grants []string
	for line := range strings.Lines(string(document)) {
		if strings.HasPrefix(line, "GRANT ") {
			grants = append(grants, line)
		}
	}
	if len(grants) != 2 {
		t.Fatalf("the documentation has the grants %q", grants)
	}
	at := keystore.Config{Postgres: envoytest.RunPostgres(t).DSN(), Table: keystore.DefaultName}
	if err := keystore.Init(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	db := raw(t, at)
	defer db.Close()
	for _, statement := range slices.Concat([]string{"CREATE ROLE kasbah_server LOGIN PASSWORD 'marked-secret'"}, grants) {
		if _, err := db.ExecContext(t.Context(), strings.Replace(statement, "TO kasbah;", "TO kasbah_server;", 1)); err != nil {
			t.Fatal(err)
		}
	}
	at.Postgres = "postgres://kasbah_server:marked-secret@" + strings.SplitN(at.Postgres, "@", 2)[1]
	readInto(t, opened(t, keystore.Reader, at), keys.TableState{}, map[string]*configv1.ApiKeyEntry{})
	if err := opened(t, keystore.Recorder, at).RecordUse(t.Context(), map[string]time.Time{"a": time.Unix(0, 0)}); err != nil {
		t.Error(err)
	}
	err = opened(t, keystore.Open, at).Change(t.Context(), "a", func(*configv1.ApiKeyEntry) (*configv1.ApiKeyEntry, error) { return entryOf("a", "b"), nil })
	if err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("the server may make keys: %v", err)
	}
}
