package enforcer_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// BenchmarkLint looks at so many rules, every tenth of which has a pattern that is wider than those of others, but for
// another role, and at a link for each ten.
func BenchmarkLint(b *testing.B) {
	for _, size := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var text strings.Builder
			for i := range size {
				path := fmt.Sprintf("/shop%d/orders/%d/:id", i/10, i)
				if i%10 == 0 {
					path = fmt.Sprintf("/shop%d/*", i/10)
				}
				fmt.Fprintf(&text, "p, group%d, %s, GET\n", i%1000, path)
			}
			for i := range size / 10 {
				fmt.Fprintf(&text, "g, user%d, group%d\n", i, i%1000)
			}
			e, findings := enforcer.New(enforcer.Config{
				Name: "bench", Model: enforcer.Text{File: "model.conf", Data: []byte(benchPatterns)}, Policy: enforcer.Text{File: "policy.csv", Data: []byte(text.String())},
			})
			if e == nil {
				b.Fatal(findings)
			}
			b.ReportAllocs()
			for b.Loop() {
				if found := e.Lint(); len(found) > 0 {
					b.Fatal(found)
				}
			}
		})
	}
}
