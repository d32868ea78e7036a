package expression_test

import (
	"testing"

	"github.com/kasbah-authz/kasbah/policy/expression"
)

var benchmarks = []string{
	`principal.id`, `request.path`, `principal.roles`, `request.headers["x-tenant"]`, `request.query.page`,
	`principal.claims.email`, `principal.claims.realm_access.roles`,
}

func BenchmarkText(b *testing.B) {
	for _, way := range []struct {
		name    string
		compile func(string) (*expression.Expression, error)
	}{{"direct", expression.Compile}, {"cel", expression.CompileIndirect}} {
		for _, source := range benchmarks {
			b.Run(way.name+"/"+source, func(b *testing.B) {
				e, err := way.compile(source)
				if err != nil {
					b.Fatal(err)
				}
				req, who := request(), principal()
				b.ReportAllocs()
				for b.Loop() {
					if _, ok, err := e.Text(req, who); !ok || err != nil {
						b.Fatal(ok, err)
					}
				}
			})
		}
	}
}

func BenchmarkValue(b *testing.B) {
	for _, source := range append([]string{`"admin" in principal.roles && request.path.matches("^/orders/[0-9]+$")`}, benchmarks...) {
		b.Run(source, func(b *testing.B) {
			e, err := expression.Compile(source)
			if err != nil {
				b.Fatal(err)
			}
			req, who := request(), principal()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Value(req, who); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
