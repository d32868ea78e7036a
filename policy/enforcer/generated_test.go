package enforcer_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// The generated models have these definitions; matchers, effects, rules, links and requests are drawn.
const (
	generatedRequest = "[request_definition]\nr = sub, dom, obj, act\n"
	generatedRoles   = "[role_definition]\ng = _, _\ng2 = _, _\ng3 = _, _, _\n"
)

var (
	drawnSubjects = []string{"alice", "bob", "carol", "admin", "staff", "*"}
	drawnDomains  = []string{"d1", "d2", "d/1", "d/*", "*"}
	drawnObjects  = []string{"/", "/a", "/a/1", "/a/1/x", "/b", "/:x", "/a/:id", "/a/*", "/*", "/{x}", "/a/{id}", "/{x}/1/{x}", "/a/{id}?q", "*", "/a?q=1", "/a.", "/a/b/a"}
	drawnActions  = []string{"GET", "POST", "read", "G*", "^GET$", "GET|POST", "^(GET|POST)$", "(?i)get"}
	drawnAddress  = []string{"10.1.2.3", "10.0.0.0/8", "192.0.2.1", "2001:db8::1", "2001:db8::/32", "::ffff:10.0.0.0/104", "0.0.0.0/0"}
	drawnRules    = []string{"r.sub == 'alice'", "r.sub != p.act", "r.act in ('GET','read')", "r.sub.Age > 18", "r.sub.Age > 18 && r.sub.Name == p.act", "r.obj.Owner == r.sub", "true", "r.dom < 'd2'", "g(r.sub, 'admin')", "1 + 1 == 2", "r.act =~ '^G'"}
	drawnEffects  = []string{
		"some(where (p.eft == allow))", "!some(where (p.eft == deny))", "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
		"priority(p.eft) || deny",
	}
)

// conditions are what matchers are drawn from. Those behind a field of the policy name what stands in it.
var conditions = []string{
	"r.sub == p.sub", "p.sub == r.sub", "g(r.sub, p.sub)", "g3(r.sub, p.sub, r.dom)", "g3(r.sub, p.sub, p.dom)", "p.sub == '*'", "p.sub in ('*', 'alice')",
	"r.sub == 'alice'", "r.sub in ('alice','bob')", "g(r.sub, 'admin')", "r.sub != p.sub", "g2(p.sub, r.sub)", "r.sub.Age > 18", "r.sub.Name == p.sub",
	"r.dom == p.dom", "keyMatch(r.dom, p.dom)", "r.dom < p.dom", "r.dom >= 'd1'", "r.dom == '*'",
	"r.obj == p.obj", "keyMatch(r.obj, p.obj)", "keyMatch2(r.obj, p.obj)", "keyMatch3(r.obj, p.obj)", "keyMatch4(r.obj, p.obj)", "keyMatch5(r.obj, p.obj)",
	"g2(r.obj, p.obj)", "p.obj == '*'", "globMatch(r.obj, p.obj)", "keyGet(r.obj, p.obj) == '1'", "keyGet2(r.obj, p.obj, 'id') == '1'", "keyMatch2(r.obj, '/a/:id')", "keyGet(r.obj, '/a/*') == p.act", "p.dom == keyGet2(r.obj, '/:x/:y', 'x')", "keyGet3(r.obj, '/{x}', 'x') == p.sub", "r.obj.Owner == r.sub",
	"r.act == p.act", "regexMatch(r.act, p.act)", "r.act =~ p.act", "r.act !~ p.act", "r.act == 'GET' || p.act == 'read'", "!(r.act == p.act)", "p.act != 'POST'",
	"true", "1 < 2", "r.act + 'x' == p.act + 'x'",
}

// drawnModel is one drawn model, and what its rules may hold.
type drawnModel struct {
	text              string
	objects, actions  []string
	subjects          []string
	hasEffect, ranked bool
	evals             bool
}

func drawModel(t *rapid.T) drawnModel {
	m := drawnModel{objects: drawnObjects, actions: drawnActions, subjects: drawnSubjects}
	matcher := drawMatcher(t, 3)
	if rapid.IntRange(0, 5).Draw(t, "eval") == 0 {
		m.evals = true
		matcher = rapid.SampledFrom([]string{"eval(p.rule) && " + matcher, matcher + " && eval(p.rule)", matcher + " || eval(p.rule)"}).Draw(t, "where")
	}
	if rapid.IntRange(0, 5).Draw(t, "addresses") == 0 {
		m.subjects = drawnAddress
		matcher = rapid.SampledFrom([]string{"ipMatch(r.sub, p.sub) && " + matcher, matcher + " && ipMatch(r.sub, p.sub)"}).Draw(t, "where")
	}
	fields := "sub, dom, obj, act"
	if m.evals {
		fields += ", rule"
	}
	effect := rapid.SampledFrom(drawnEffects).Draw(t, "effect")
	m.hasEffect = rapid.Bool().Draw(t, "eft") || strings.HasPrefix(effect, "!")
	if m.hasEffect {
		fields += ", eft"
	}
	if m.ranked = rapid.IntRange(0, 3).Draw(t, "ranked") == 0; m.ranked {
		fields = "priority, " + fields
	}
	m.text = generatedRequest + "[policy_definition]\np = " + fields + "\n" + generatedRoles +
		"[policy_effect]\ne = " + effect + "\n[matchers]\nm = " + matcher + "\n"
	return m
}

func drawMatcher(t *rapid.T, depth int) string {
	if depth == 0 || rapid.IntRange(0, 3).Draw(t, "leaf") == 0 {
		return rapid.SampledFrom(conditions).Draw(t, "condition")
	}
	left, right := drawMatcher(t, depth-1), drawMatcher(t, depth-1)
	operator := rapid.SampledFrom([]string{" && ", " && ", " && ", " || "}).Draw(t, "operator")
	form := rapid.SampledFrom([]string{"%s%s%s", "(%s)%s%s", "%s%s(%s)", "(%s)%s(%s)", "(%s%s%s)", "!(%s%s%s)"}).Draw(t, "form")
	return fmt.Sprintf(form, left, operator, right)
}

func (m *drawnModel) drawRule(t *rapid.T) string {
	fields := []string{
		rapid.SampledFrom(m.subjects).Draw(t, "sub"), rapid.SampledFrom(drawnDomains).Draw(t, "dom"),
		rapid.SampledFrom(m.objects).Draw(t, "obj"), rapid.SampledFrom(m.actions).Draw(t, "act"),
	}
	if m.evals {
		fields = append(fields, `"`+rapid.SampledFrom(drawnRules).Draw(t, "rule")+`"`)
	}
	if m.hasEffect {
		fields = append(fields, rapid.SampledFrom([]string{"allow", "deny"}).Draw(t, "eft"))
	}
	if m.ranked {
		fields = append([]string{fmt.Sprint(rapid.IntRange(-1, 3).Draw(t, "priority"))}, fields...)
	}
	return "p, " + strings.Join(fields, ", ")
}

func (m *drawnModel) drawPolicy(t *rapid.T) string {
	var lines []string
	for range rapid.IntRange(0, 12).Draw(t, "rules") {
		lines = append(lines, m.drawRule(t))
	}
	name := rapid.SampledFrom(append(drawnSubjects[:5:5], "/a", "/b"))
	for range rapid.IntRange(0, 6).Draw(t, "links") {
		link := rapid.SampledFrom([]string{"g", "g2", "g3"}).Draw(t, "definition") + ", " + name.Draw(t, "user") + ", " + name.Draw(t, "role")
		if strings.HasPrefix(link, "g3") {
			link += ", " + rapid.SampledFrom(drawnDomains).Draw(t, "domain")
		}
		lines = append(lines, link)
	}
	return strings.Join(rapid.Permutation(lines).Draw(t, "order"), "\n") + "\n"
}

func drawRequest(t *rapid.T, m *drawnModel) []any {
	attributes := map[string]any{"Age": rapid.SampledFrom([]any{17.0, 19, "old"}).Draw(t, "age"), "Name": "alice", "Owner": "alice"}
	sometimes := func(name string, from []string, others ...any) any {
		if rapid.IntRange(0, 8).Draw(t, name+" is strange") == 0 {
			return rapid.SampledFrom(append([]any{attributes, 7.0, int8(3), true, []any{"alice"}, []any{"alice", "admin"}, map[string]any{}}, others...)).Draw(t, name)
		}
		return rapid.SampledFrom(from).Draw(t, name)
	}
	return []any{
		sometimes("sub", append(m.subjects, "alice", "nobody", "10.9.9.9")), sometimes("dom", append(drawnDomains, "d/2", "")),
		sometimes("obj", append(drawnObjects, "/a/2", "/zzz", "", "/a/1?x"), nil), sometimes("act", append(drawnActions, "get", "")),
	}
}

// TestGeneratedModels draws models, policies and requests, and compares every verdict, error and deciding rule with
// Casbin's. It makes some 100,000 comparisons; with -rapid.checks=1000 ten times as many.
func TestGeneratedModels(t *testing.T) {
	var compared, allowed, linear, refused atomic.Int64
	for part := range 25 {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				m := drawModel(t)
				rules := m.drawPolicy(t)
				c, err := newComparison(m.text, rules, enforcer.Context{})
				if err != nil {
					refused.Add(1)
					return
				}
				if c.ours.Linear() != "" {
					linear.Add(1)
				}
				for range 41 {
					values := drawRequest(t, &m)
					if err := c.compare(t.Context(), values...); err != nil {
						t.Fatalf("%v\n%s\n%s", err, m.text, rules)
					}
					compared.Add(1)
					if c.allowed {
						allowed.Add(1)
					}
				}
			})
		})
	}
	t.Cleanup(func() {
		if allowed.Load() < compared.Load()/10 || allowed.Load() > compared.Load()*9/10 || linear.Load() == 0 || refused.Load() > 500 {
			t.Error("the models that were drawn show little")
		}
		t.Logf("%d comparisons, %d allowed, %d models linear, %d refused", compared.Load(), allowed.Load(), linear.Load(), refused.Load())
	})
}
