package keystore_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystore"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const aMillion = 1_000_000

// fill writes a million keys, and returns one of them.
func fill(b *testing.B, at keystore.Config) string {
	b.Helper()
	driver, name := "pgx", at.Postgres
	if at.SQLite != "" {
		driver, name = "sqlite", at.SQLite
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	key, id, err := keys.NewAPIKey("live", "")
	if err != nil {
		b.Fatal(err)
	}
	tx, err := db.BeginTx(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	const atOnce = 5000
	for n := 0; n < aMillion; n += atOnce {
		var rows []string
		for i := n; i < n+atOnce; i++ {
			row := fmt.Sprintf(`('%012d', 'owner-%d', '["reader"]', '["orders:read"]', '[{"sha256":"%s"}]')`, i, i/10, keys.HashAPIKey(fmt.Sprint(i)))
			if i == aMillion/2 {
				row = fmt.Sprintf(`('%s', 'acme', '["reader"]', '["orders:read"]', '[{"sha256":"%s"}]')`, id, keys.HashAPIKey(key))
			}
			rows = append(rows, row)
		}
		if _, err := tx.ExecContext(b.Context(), "INSERT INTO kasbah_api_keys (id, owner, roles, scopes, secrets) VALUES "+strings.Join(rows, ",")); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	return key
}

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// BenchmarkMillionKeys measures what a replica takes to read a million keys, what they hold, and how long after its commit
// one revocation among them is in force.
func BenchmarkMillionKeys(b *testing.B) {
	for name, at := range map[string]keystore.Config{
		"postgres": {Postgres: envoytest.RunPostgres(b).DSN(), Table: keystore.DefaultName},
		"sqlite":   {SQLite: filepath.Join(b.TempDir(), "keys.db"), Table: keystore.DefaultName},
	} {
		b.Run(name, func(b *testing.B) {
			if err := keystore.Init(b.Context(), at); err != nil {
				b.Fatal(err)
			}
			key := fill(b, at)
			before := heap()
			begun := time.Now()
			store, auth, stop := follow(b, at, time.Now, nil)
			defer stop()
			if got := ask(b, auth, key); got != policy.NoReason {
				b.Fatal(got)
			}
			took := time.Since(begun)
			held := heap() - before
			if n := store.Tables()[0].Keys; n != aMillion {
				b.Fatalf("%d keys", n)
			}
			for b.Loop() {
				_ = ask(b, auth, key)
			}
			table, err := keystore.Open(b.Context(), at)
			if err != nil {
				b.Fatal(err)
			}
			defer table.Close()
			err = table.Change(b.Context(), strings.Split(key, "_")[2], func(e *configv1.ApiKeyEntry) (*configv1.ApiKeyEntry, error) {
				e.Revoked = "2026-01-01T00:00:00Z"
				return e, nil
			})
			if err != nil {
				b.Fatal(err)
			}
			committed := time.Now()
			for ask(b, auth, key) != policy.Revoked {
				if time.Since(committed) > 10*time.Second {
					b.Fatal("the key is not revoked")
				}
				time.Sleep(time.Millisecond)
			}
			b.ReportMetric(time.Since(committed).Seconds(), "s/revoke") // at a poll of 10 ms; the default is 250 ms
			b.ReportMetric(took.Seconds(), "s/load")
			b.ReportMetric(held, "MiB/keys")
		})
	}
}
