package enforcer_test

import (
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// FuzzMatcher draws matchers and rules as texts: whatever both readers take must mean the same to both, in verdict,
// error and deciding rule.
func FuzzMatcher(f *testing.F) {
	for _, condition := range conditions {
		f.Add(condition, "p, alice, d1, /a/:id, GET\np, admin, d/*, /a/*, ^GET$\ng, alice, admin", "alice", "/a/1", "GET")
	}
	for _, matcher := range []string{
		"!(r.sub == p.sub) && -1 < 2", "1 + 2 * 3 == 7 && r.sub == p.sub", "r.sub in ('a','b') || p.sub == '*'", "r.sub == p.sub # comment",
		"r.obj =~ '^/a' && r.act !~ p.act", "(((r.sub == p.sub)))", "r.sub == p.sub ? true : false", "r.sub == '2020-01-01'", `r.sub == "é" || r.obj == '\'`,
	} {
		f.Add(matcher, "p, alice, d1, /a, GET\np, *, d1, /b, POST", "alice", "/a", "GET")
	}
	f.Fuzz(func(t *testing.T, matcher, rules, sub, obj, act string) {
		if strings.ContainsAny(matcher, "\r\n") || len(rules) > 4096 || len(matcher) > 512 || sub == "" {
			return
		}
		text := generatedRequest + "[policy_definition]\np = sub, dom, obj, act\n" + generatedRoles +
			"[policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\nm = " + matcher + "\n"
		c, err := newComparison(text, rules, enforcer.Context{})
		if err != nil || hasControl(sub+obj+act) {
			return
		}
		for _, values := range [][]any{{sub, "d1", obj, act}, {sub, "d/2", obj, act}, {obj, sub, act, sub}, {"alice", "d1", "/a/1", "GET"}, {1.0, "d1", obj, true}} {
			if values[0] == "" {
				continue
			}
			if err := c.compare(t.Context(), values...); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}
