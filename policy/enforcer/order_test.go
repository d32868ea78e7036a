package enforcer_test

import (
	"strings"
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

// TestTheFirstEffectOrders: Casbin orders rules by subject where its first effect, e, says so, whichever effect decides.
func TestTheFirstEffectOrders(t *testing.T) {
	const effects = "[policy_effect]\ne = subjectPriority(p.eft) || deny\ne2 = priority(p.eft) || deny\n"
	const model = "[request_definition]\nr = sub, obj\nr2 = sub, obj\n[policy_definition]\np = sub, obj, eft\n[role_definition]\ng = _, _\n" +
		effects + "[matchers]\nm = g(r.sub, p.sub) && r.obj == p.obj\n"
	second := enforcer.Context{Request: "r", Policy: "p", Effect: "e2", Matcher: "m"}
	c, err := newComparison(model, "p, admin, data, deny\np, alice, data, allow\ng, alice, admin\n", second)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.compare(t.Context(), "alice", "data"); err != nil {
		t.Error(err)
	}
	const circle = "p, a, data, allow\ng, a, b\ng, b, a\ng, a, root\n"
	for name, text := range map[string]string{
		"compiled":            model,
		"evaluated by Casbin": strings.Replace(model, "r.obj == p.obj", "(r.obj == p.obj ? true : false)", 1),
		"no role definition":  strings.Replace(strings.Replace(model, "[role_definition]\ng = _, _\n", "", 1), "g(r.sub, p.sub) && ", "", 1),
	} {
		if c, err := newComparison(text, circle, second); err == nil {
			t.Errorf("%s: %v is taken", name, c)
		}
	}
}

// TestCirclesAcrossDomains: Casbin joins domain and name by two colons to order rules by subject, so that links of two
// domains can make a circle, which it would walk for ever.
func TestCirclesAcrossDomains(t *testing.T) {
	const model = "[request_definition]\nr = sub, dom, obj\n[policy_definition]\np = sub, dom, obj, eft\n[role_definition]\ng = _, _, _\n" +
		"[policy_effect]\ne = subjectPriority(p.eft) || deny\n[matchers]\nm = g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj\n"
	_, err := newComparison(model, "p, c, d, data, allow\ng, a::b, c, d\ng, z, b, d::a\ng, c, a::z, d\ng, c, root, d\n", enforcer.Context{})
	if err == nil || !strings.Contains(err.Error(), "would never finish ordering") {
		t.Error(err)
	}
	if _, err := newComparison(model, "p, c, d, data, allow\ng, c, a::b, d\ng, b, x, d::a\ng, x, c, d::a\n", enforcer.Context{}); err != nil {
		t.Error(err)
	}
}
