package enforcer_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// TestOrders: rules are asked in the order in which Casbin sorts them: by subject, and then by priority, where a model has
// both; with roots in several domains, and rules of equal and of negative priority.
func TestOrders(t *testing.T) {
	const model = "[request_definition]\nr = sub, dom, obj\n[policy_definition]\np = sub, dom, obj, eft, priority\n[role_definition]\ng = _, _, _\n" +
		"[policy_effect]\ne = subjectPriority(p.eft) || deny\n[matchers]\nm = g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj\n"
	rapid.Check(t, func(t *rapid.T) {
		name, domain := rapid.SampledFrom([]string{"alice", "editor", "staff"}), rapid.SampledFrom([]string{"d1", "d2"})
		rules := "g, alice, editor, d1\ng, editor, staff, d1\ng, alice, staff, d2\n"
		for range rapid.IntRange(1, 8).Draw(t, "rules") {
			rules += "p, " + name.Draw(t, "sub") + ", " + domain.Draw(t, "dom") + ", " + rapid.SampledFrom([]string{"o1", "o2"}).Draw(t, "obj") + ", " +
				rapid.SampledFrom([]string{"allow", "deny"}).Draw(t, "eft") + ", " + rapid.SampledFrom([]string{"-1", "1", "2", "007"}).Draw(t, "priority") + "\n"
		}
		c, err := newComparison(model, rules, enforcer.Context{})
		if err != nil {
			t.Fatal(err)
		}
		for _, sub := range []string{"alice", "editor", "staff", "nobody"} {
			for _, dom := range []string{"d1", "d2", "d3"} {
				for _, obj := range []string{"o1", "o2"} {
					if err := c.compare(t.Context(), sub, dom, obj); err != nil {
						t.Fatalf("%v\n%s", err, rules)
					}
				}
			}
		}
	})
}
