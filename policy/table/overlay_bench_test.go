package table

import (
	"testing"

	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// BenchmarkOverlay lays one changed row over 1,000,000.
func BenchmarkOverlay(b *testing.B) {
	rows := make([]enforcer.Row, 1_000_000)
	for i := range rows {
		rows[i] = enforcer.Row{ID: int64(i), Fields: []string{"p", "a", "b"}}
	}
	known := content{&enforcer.Table{Rows: rows}, 3 * len(rows)}
	names := [2][]string{{"p", "x"}, {"p", "y"}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		next, err := overlay(known, []int64{500_000}, []enforcer.Row{{ID: 500_000, Fields: names[i%2]}})
		if err != nil || next.table == known.table {
			b.Fatal("nothing was laid over")
		}
		known = next
	}
}
