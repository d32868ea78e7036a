package enforcer_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

const explained = `p, reader, /orders/:id, GET
p, writer, /orders/:id, PUT
p, admin, /orders/:id, DELETE
g, alice, editor
g, editor, reader
g, editor, writer
`

func explain(t *testing.T, rules string, caller *policy.Principal, method, path string) *enforcer.Explanation {
	t.Helper()
	e := ordinary(t, func(cfg *enforcer.Config) { cfg.Policy.Data, cfg.Roles = []byte(rules), principalRoles })
	return e.Explain(t.Context(), &policy.Request{Method: method, Path: path}, caller)
}

// TestExplainAllow: the rule that decided, and the role path that led to it.
func TestExplainAllow(t *testing.T) {
	x := explain(t, explained, &policy.Principal{ID: "alice"}, "GET", "/orders/7")
	at := func(line int, text string) policy.Rule {
		return policy.Rule{Text: text, Position: policy.Position{File: "policy.csv", Line: line, Column: 1}}
	}
	want := []enforcer.Match{{Rule: at(1, "p, reader, /orders/:id, GET"), Paths: []enforcer.RolePath{{
		Call: "g(r.sub, p.sub)", Names: []string{"alice", "editor", "reader"},
		Links: []policy.Rule{at(4, "g, alice, editor"), at(5, "g, editor, reader")},
	}}}}
	if x.Outcome.Verdict != policy.Permitted || x.Matching != 1 {
		t.Errorf("%+v", x)
	}
	if diff := cmp.Diff(want, x.Matches); diff != "" {
		t.Error(diff)
	}
}

// TestExplainDenial: the nearest misses, each with the one condition that does not hold.
func TestExplainDenial(t *testing.T) {
	x := explain(t, explained, &policy.Principal{ID: "alice"}, "DELETE", "/orders/7")
	var misses []string
	for _, miss := range x.Misses {
		misses = append(misses, miss.Rule.Text+" but for "+miss.Condition+": "+miss.Values)
	}
	want := []string{
		`p, reader, /orders/:id, GET but for r.act == p.act: r.act == "GET"`,
		`p, writer, /orders/:id, PUT but for r.act == p.act: r.act == "PUT"`,
		`p, admin, /orders/:id, DELETE but for g(r.sub, p.sub): g(r.sub, "admin")`,
	}
	if x.Outcome.Verdict != policy.Denied || x.Matching != 0 || x.Missing != 3 {
		t.Errorf("%+v", x)
	}
	if diff := cmp.Diff(want, misses); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]enforcer.FieldValue{{Name: "sub", Value: "alice"}, {Name: "obj", Value: "/orders/7"}, {Name: "act", Value: "DELETE"}}, x.Fields); diff != "" {
		t.Error(diff)
	}
}

// TestExplainBroughtRoles: a role of the token is a link without a rule.
func TestExplainBroughtRoles(t *testing.T) {
	x := explain(t, explained, &policy.Principal{ID: "zoe", Roles: []string{"editor"}}, "PUT", "/orders/7")
	if len(x.Matches) != 1 || len(x.Matches[0].Paths) != 1 {
		t.Fatalf("%+v", x)
	}
	path := x.Matches[0].Paths[0]
	if !cmp.Equal(path.Names, []string{"zoe", "editor", "writer"}) || path.Links[0] != (policy.Rule{}) || path.Links[1].Line != 6 {
		t.Errorf("%+v", path)
	}
}

// TestExplanationsAreTrue: each rule that is said to match is enough for Casbin to allow, and one that is said to miss
// is not.
func TestExplanationsAreTrue(t *testing.T) {
	matched, missed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		m := drawModel(t)
		m.text = strings.Replace(m.text, "some(where (p.eft == allow)) &&", "some(where (p.eft == allow))\n#", 1)
		rules := m.drawPolicy(t)
		c, err := newComparison(m.text, rules, enforcer.Context{})
		if err != nil || c.ours.Linear() != "" || !strings.Contains(m.text, "e = some(") {
			return
		}
		links := ""
		for line := range strings.SplitSeq(rules, "\n") {
			if strings.HasPrefix(line, "g") {
				links += line + "\n"
			}
		}
		alone := func(rule policy.Rule, values []any) (bool, error) {
			one, err := newComparison(m.text, strings.ReplaceAll(rule.Text, ", deny", ", allow")+"\n"+links, enforcer.Context{})
			if err != nil {
				t.Fatal(err)
			}
			return one.truth.Enforce(values...)
		}
		for range 20 {
			c.values = drawRequest(t, &m)
			x := c.ours.Explain(t.Context(), &policy.Request{}, &policy.Principal{})
			if x.Err != nil {
				continue
			}
			for _, match := range x.Matches {
				if allowed, err := alone(match.Rule, c.values); err == nil && !allowed {
					t.Fatalf("%v: %s is said to match\n%s", c.values, match.Rule.Text, m.text)
				}
				matched++
			}
			for _, miss := range x.Misses {
				if allowed, err := alone(miss.Rule, c.values); err == nil && allowed {
					t.Fatalf("%v: %s is said to miss by %s\n%s", c.values, miss.Rule.Text, miss.Condition, m.text)
				}
				missed++
			}
		}
	})
	if matched < 20 || missed < 20 {
		t.Errorf("%d matches and %d misses show little", matched, missed)
	}
}
