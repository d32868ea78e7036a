package table_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

const million = 1_000_000

func millionRows(b *testing.B) *database {
	b.Helper()
	d := startDatabase(b)
	d.exec(gormTable)
	d.exec(`INSERT INTO casbin_rule (ptype, v0, v1, v2, v3, v4, v5) SELECT 'p', 'role' || i % 1000, '/tenants/' || i || '/orders/:id', 'GET', '', '', '' FROM generate_series(1, $1) i`, million)
	d.triggers("casbin_rule")
	d.exec(`ANALYZE casbin_rule`)
	return d
}

// BenchmarkRead reads a table of 1,000,000 rows whole.
func BenchmarkRead(b *testing.B) {
	d := millionRows(b)
	for b.Loop() {
		f := open(b, d.config(hourly))
		if now, _ := f.Current(); len(now.Rows) != million {
			b.Fatal(len(now.Rows))
		}
		f.Close()
	}
}

// BenchmarkChange is the time from the commit of one change, in a table of 1,000,000 rows, to the next Table.
func BenchmarkChange(b *testing.B) {
	for name, change := range map[string]string{
		"update": `UPDATE casbin_rule SET v2 = $1 WHERE id = 500000`,
		"insert": `INSERT INTO casbin_rule (ptype, v0) VALUES ('p', $1)`,
	} {
		b.Run(name, func(b *testing.B) {
			d := millionRows(b)
			f := follow(b, d.config(hourly))
			var took time.Duration
			i := 0
			for b.Loop() {
				i++
				before, _ := f.Current()
				d.exec(change, fmt.Sprint(i))
				committed := time.Now()
				f.awaitTable("the change", func(now *enforcer.Table) bool { return now != before })
				took += time.Since(committed)
			}
			b.ReportMetric(float64(took.Microseconds())/1000/float64(i), "ms/visible")
		})
	}
}

// BenchmarkPoll is the time of the digest that a poll without triggers needs where others write to the database.
func BenchmarkPoll(b *testing.B) {
	d := millionRows(b)
	d.exec(`DROP TRIGGER kasbah_insert ON casbin_rule; CREATE TABLE elsewhere (n int)`)
	f := follow(b, d.config(10*time.Millisecond))
	for b.Loop() {
		d.exec(`INSERT INTO elsewhere VALUES (1)`)
		read := f.Status().Read
		for range 2 { // the first may have begun before the write
			for !f.Status().Read.After(read) {
				<-time.After(time.Millisecond)
			}
			read = f.Status().Read
		}
	}
}
