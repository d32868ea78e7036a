package policy_test

import (
	"fmt"
	"testing"

	"github.com/kasbah-authz/kasbah/policy"
)

func BenchmarkDecide(b *testing.B) {
	for _, count := range []int{20, 1000} {
		for _, headers := range []int{0, 2} {
			b.Run(fmt.Sprintf("routes=%d/headers=%d", count, headers), func(b *testing.B) {
				p, err := policy.NewPipeline(benchmarkRoutes(count, headers))
				if err != nil {
					b.Fatal(err)
				}
				req := &policy.Request{Host: "api.example.com", Method: "GET", Path: fmt.Sprintf("/service%d/orders/12345", count/2)}
				for i := range 20 {
					req.Headers = append(req.Headers, policy.Header{Name: fmt.Sprintf("x-header-%d", i), Value: "v"})
				}
				b.ReportAllocs()
				for b.Loop() {
					if d := p.Decide(b.Context(), req); d.Effect != policy.Allow {
						b.Fatalf("%+v", d)
					}
				}
			})
		}
	}
}

func benchmarkRoutes(count, headers int) []policy.Route {
	routes := make([]policy.Route, count)
	for i := range routes {
		routes[i] = policy.Route{
			Name:    fmt.Sprint(i),
			Matches: []policy.Match{{Host: "api.example.com", Path: fmt.Sprintf("/service%d/orders/{id}", i), Methods: []string{"GET", "POST"}}},
			Stages:  []policy.Stage{passing, permitting, passing},
		}
		for j := range headers {
			routes[i].Headers = append(routes[i].Headers, inject(fmt.Sprintf("x-user-%d", j), "alice"))
		}
	}
	return routes
}

func BenchmarkNewPipeline(b *testing.B) {
	routes := benchmarkRoutes(1000, 2)
	for b.Loop() {
		if _, err := policy.NewPipeline(routes); err != nil {
			b.Fatal(err)
		}
	}
}
