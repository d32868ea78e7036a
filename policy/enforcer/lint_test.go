package enforcer_test

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// linted is an enforcer whose request is what stands in values.
type linted struct {
	*enforcer.Enforcer
	values []any
	roles  []string
}

func newLinted(modelText, rules string, withRoles bool) (*linted, error) {
	l := &linted{}
	cfg := enforcer.Config{
		Name: "linted", AllowIfEmpty: true, Fields: map[string]enforcer.Field{},
		Model: enforcer.Text{File: "model.conf", Data: []byte(modelText)}, Policy: enforcer.Text{File: "policy.csv", Data: []byte(rules)},
	}
	_, definition, _ := strings.Cut(modelText, "r = ")
	definition, _, _ = strings.Cut(definition, "\n")
	for i, name := range strings.Split(strings.ReplaceAll(definition, "\r", ""), ",") {
		l.values = append(l.values, nil)
		cfg.Fields[strings.TrimSpace(name)] = func(*policy.Request, *policy.Principal) (any, error) { return l.values[i], nil }
	}
	if withRoles {
		cfg.Roles = func(*policy.Request, *policy.Principal) ([]string, error) { return l.roles, nil }
	}
	var findings policy.Findings
	if l.Enforcer, findings = enforcer.New(cfg); l.Enforcer == nil {
		return nil, findings.Err()
	}
	return l, nil
}

// ask returns the verdict, and whether there is one.
func (l *linted) ask(values []any, roles []string) (allowed, certain bool) {
	l.values, l.roles = values, roles
	outcome, err := l.Evaluate(context.Background(), &policy.Request{}, &policy.Principal{})
	return outcome.Verdict == policy.Permitted, err == nil
}

// lintedConditions are what a matcher to be linted is made of: one for each field.
var lintedConditions = [][]string{
	{
		"r.sub == p.sub", "g(r.sub, p.sub)", "g(r.sub, p.sub)", "g3(r.sub, p.sub, r.dom)", "g3(r.sub, p.sub, p.dom)", "(g(r.sub, p.sub) || p.sub == '*')",
		"(r.sub == p.sub || p.sub in ('*', 'staff'))", "(r.sub == p.sub || g(r.sub, 'admin'))", "!(p.sub == 'bob') && g(r.sub, p.sub)", "g2(p.sub, r.sub)",
	},
	{"r.dom == p.dom", "r.dom == p.dom", "keyMatch(r.dom, p.dom)", "r.dom == 'd1' && r.dom == p.dom", "(r.dom == p.dom || p.dom == '*')", "true", "r.dom >= p.dom"},
	{
		"r.obj == p.obj", "keyMatch(r.obj, p.obj)", "keyMatch2(r.obj, p.obj)", "keyMatch3(r.obj, p.obj)", "keyMatch4(r.obj, p.obj)", "keyMatch5(r.obj, p.obj)",
		"globMatch(r.obj, p.obj)", "g2(r.obj, p.obj)", "(r.obj == p.obj || keyMatch2(r.obj, p.obj))", "(keyMatch(r.obj, p.obj) || keyMatch3(r.obj, p.obj))",
		"keyMatch2(r.obj, '/a/*') && r.obj == p.obj", "r.obj.Owner == r.sub", "keyMatch2(r.obj, p.obj) && !(keyMatch(r.obj, p.obj))",
	},
	{"r.act == p.act", "regexMatch(r.act, p.act)", "r.act =~ p.act", "(r.act == p.act || p.act == 'read')", "r.act == 'GET' && r.act == p.act", "r.act != p.act", "r.act !~ p.act"},
}

func drawLinted(t *rapid.T) drawnModel {
	m := drawModel(t)
	if rapid.IntRange(0, 3).Draw(t, "anything") == 0 {
		return m
	}
	var parts []string
	if strings.Contains(m.text, "ipMatch") {
		parts = append(parts, "ipMatch(r.sub, p.sub)")
	} else {
		parts = append(parts, rapid.SampledFrom(lintedConditions[0]).Draw(t, "subject"))
	}
	for _, choices := range lintedConditions[1:] {
		parts = append(parts, rapid.SampledFrom(choices).Draw(t, "condition"))
	}
	if m.evals {
		parts = append(parts, "eval(p.rule)")
	}
	head, _, _ := strings.Cut(m.text, "[matchers]")
	m.text = head + "[matchers]\nm = " + strings.Join(parts, " && ") + "\n"
	if rapid.IntRange(0, 8).Draw(t, "by subject") == 0 && !m.ranked {
		start, rest, _ := strings.Cut(m.text, "e = ")
		_, rest, _ = strings.Cut(rest, "\n")
		m.text = start + "e = subjectPriority(p.eft) || deny\n" + rest
	}
	return m
}

// drawPlainRequest draws a request whose fields are texts, or have attributes.
func drawPlainRequest(t *rapid.T, m *drawnModel) []any {
	attributes := map[string]any{"Age": 19.0, "Name": "alice", "Owner": "alice"}
	field := func(name string, from []string, others ...string) any {
		return rapid.SampledFrom(append(slices.Clone(from), others...)).Draw(t, name)
	}
	values := []any{
		field("sub", m.subjects, "nobody"), field("dom", drawnDomains, "d/2", ""),
		field("obj", drawnObjects, "/a/2", "/zzz", "", "/a/1?x", "/b/2/3"), field("act", drawnActions, "get", ""),
	}
	if m.subjects[0] == drawnAddress[0] {
		values[0] = field("sub", []string{"10.1.2.3", "10.9.9.9", "192.0.2.1", "2001:db8::1", "2001:db8::7", "::ffff:10.0.0.1", "::1"})
	}
	if strings.Contains(m.text, ".Age") || strings.Contains(m.text, ".Owner") || strings.Contains(m.text, ".Name") {
		values[rapid.SampledFrom([]int{0, 2}).Draw(t, "which has attributes")] = attributes
	}
	return values
}

// TestLintIsTrue draws models and policies, and asks them about requests with and without what lint reports as having no
// effect: each rule or link alone, and all of them.
func TestLintIsTrue(t *testing.T) {
	var found, asked, uncertain atomic.Int64
	var kinds [6]atomic.Int64
	for part := range 8 {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				m := drawLinted(t)
				rules := m.drawPolicy(t)
				withRoles := rapid.Bool().Draw(t, "roles")
				whole, err := newLinted(m.text, rules, withRoles)
				if err != nil {
					return
				}
				findings := whole.Lint()
				without := leaveOut(t, m.text, rules, findings, withRoles)
				found.Add(int64(len(without)))
				for _, finding := range findings {
					kinds[kindOf(t, finding)].Add(1)
				}
				for range 20 * min(1, len(without)) {
					values := drawPlainRequest(t, &m)
					roles := rapid.SliceOfN(rapid.SampledFrom(drawnSubjects), 0, 2).Draw(t, "brought")
					want, certain := whole.ask(values, roles)
					for lines, changed := range without {
						got, alsoCertain := changed.ask(values, roles)
						asked.Add(1)
						switch {
						case !certain || !alsoCertain:
							uncertain.Add(1)
						case got != want:
							t.Fatalf("%v with %v: %t, and without lines %s %t\n%s\n%s\n%v", values, roles, want, lines, got, m.text, rules, findings)
						}
					}
				}
			})
		})
	}
	t.Cleanup(func() {
		t.Logf("%d policies without something, %d verdicts compared, %d uncertain", found.Load(), asked.Load(), uncertain.Load())
		if uncertain.Load() > asked.Load()/4 {
			t.Error("too few of the requests have a verdict")
		}
		for i := range kinds {
			t.Logf("%s: %d", lintKinds[i], kinds[i].Load())
			if kinds[i].Load() == 0 {
				t.Errorf("no finding says %q", lintKinds[i])
			}
		}
	})
}

var lintKinds = [6]string{"can never match", "which has no effect under", "already", "is not needed", "the rule has no effect:", "leads to nothing"}

func kindOf(t *rapid.T, finding *policy.Finding) int {
	if finding.Level != policy.LevelWarning || finding.Line == 0 || finding.Column == 0 || finding.File != "policy.csv" {
		t.Fatalf("%v", finding)
	}
	for i, kind := range lintKinds {
		if strings.Contains(finding.Message, kind) {
			return i
		}
	}
	if strings.Contains(finding.Message, "the matcher names no field") {
		return 1
	}
	t.Fatalf("what is %v", finding)
	return 0
}

// leaveOut returns enforcers of the policy without each of the lines that were reported, and without all of them. One
// finding may stand for several lines, and is then about the first.
func leaveOut(t *rapid.T, modelText, rules string, findings policy.Findings, withRoles bool) map[string]*linted {
	lines := strings.Split(rules, "\n")
	changed := map[string]*linted{}
	try := func(name string, out map[int]bool) {
		var left []string
		for i, line := range lines {
			if !out[i+1] {
				left = append(left, line)
			}
		}
		if !slices.ContainsFunc(left, func(line string) bool { return strings.HasPrefix(line, "p") }) {
			return
		}
		without, err := newLinted(modelText, strings.Join(left, "\n"), withRoles)
		if err != nil {
			t.Fatalf("without %s: %v", name, err)
		}
		changed[name] = without
	}
	all := map[int]bool{}
	for _, finding := range findings {
		all[finding.Line] = true
		try(fmt.Sprint(finding.Line), map[int]bool{finding.Line: true})
	}
	if len(all) > 1 {
		try(fmt.Sprint(slices.Sorted(maps.Keys(all))), all)
	}
	return changed
}

// TestLintOfExamples: Casbin's examples bring up nothing, but for these, each of which is so.
func TestLintOfExamples(t *testing.T) {
	known := map[string]string{
		"abac_rule_effect_policy.csv": "policy.csv:1:1: warning: the rules have no effect, this one and 3 more: the matcher names no field of the policy",
		// Rules of a user stand behind the rule of a group that the user is in.
		"priority_policy.csv": "policy.csv:4:1: warning: the rule has no effect: line 3 comes first and denies all that this rule allows\n" +
			"policy.csv:9:1: warning: the rule has no effect: line 8 comes first and allows all that this rule denies",
		// The field is not named priority, so that the numbers order nothing.
		"priority_policy_explicit_customized.csv": "policy.csv:7:1: warning: the rule has no effect: line 2 comes first and denies all that this rule allows\n" +
			"policy.csv:8:1: warning: the rule has no effect: line 1 comes first and denies all that this rule allows\n" +
			"policy.csv:9:1: warning: the rule has no effect: line 3 comes first and allows all that this rule denies",
		"rbac_with_hierarchy_policy.csv": "policy.csv:1:1: warning: the rule is not needed: line 3 allows all that this rule allows",
		"rbac_with_deny_policy.csv":      "", // under the other model of the two that it is for:
		"rbac_with_not_deny_model.conf":  "policy.csv:1:24: warning: the rule allows, and so do 3 more, which has no effect under !some(where (p.eft == deny))",
		// Casbin takes these names for patterns once a program has told it so, which ours does not.
		"rbac_with_pattern_policy.csv": "policy.csv:8:20: warning: the role link leads to nothing: no rule and no other link speaks of \"/book/admin/1\"\n" +
			"policy.csv:16:11: warning: the role link leads to nothing: no rule and no other link speaks of \"/book/1/2/3/4/5\"",
	}
	known["priority_policy_enforce_context.csv"] = known["priority_policy.csv"]
	folder := examplesFolder(t)
	linted := 0
	for _, example := range examples {
		for _, name := range example.policies {
			if example.refused != "" || example.context != (enforcer.Context{}) {
				continue
			}
			c, err := newComparison(readText(t, filepath.Join(folder, example.model)), readText(t, filepath.Join(folder, name)), enforcer.Context{})
			if err != nil {
				t.Fatal(err)
			}
			linted++
			want, ok := known[example.model]
			if !ok {
				want = known[name]
			}
			if got := c.ours.Lint().Error(); got != want {
				t.Errorf("%s with %s:\n%s\nwant\n%s", example.model, name, got, want)
			}
		}
	}
	if linted < 35 {
		t.Errorf("%d examples", linted)
	}
}

// TestLintFindings: each fault is named at its place, and the policy without it has none.
func TestLintFindings(t *testing.T) {
	const (
		allow    = "some(where (p.eft == allow))"
		both     = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"
		priority = "priority(p.eft) || deny"
		roles    = "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act"
		domains  = "g3(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act"
		paths    = "g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && (r.act == p.act || p.act == '*')"
	)
	for _, c := range []struct{ name, effect, matcher, rules, fault, at, says string }{
		{"the same again", allow, roles, "p, alice, d1, /a, GET, allow", "p, alice, d2, /a, GET, allow", "2:1", "allows what line 1 allows already"},
		{"a wider path", allow, paths, "p, alice, d, /a/:id, GET, allow", "p, alice, d, /a/1, GET, allow", "2:1", "not needed: line 1"},
		{"a path wider than a pattern", allow, paths, "p, alice, d, /a/*, GET, allow", "p, alice, d, /a/:id/b, GET, allow", "2:1", "not needed: line 1"},
		{"every action", allow, paths, "p, alice, d, /a/:id, *, allow", "p, alice, d, /a/1, GET, allow", "2:1", "not needed: line 1"},
		{"a role of the role", allow, roles, "p, staff, d, /a, GET, allow\ng, admin, staff", "p, admin, d, /a, GET, allow", "3:1", "not needed: line 1"},
		{"a role in the domain", allow, domains, "p, staff, d1, /a, GET, allow\ng3, admin, staff, d1", "p, admin, d1, /a, GET, allow", "3:1", "not needed: line 1"},
		{"a prefix", allow, "r.sub == p.sub && keyMatch(r.obj, p.obj)", "p, alice, d, /a/*, GET, allow", "p, alice, d, /a/b/*, GET, allow", "2:1", "not needed: line 1"},
		{"a block of addresses", allow, "ipMatch(r.sub, p.sub) && r.obj == p.obj", "p, 10.0.0.0/8, d, /a, x, allow", "p, 10.1.0.0/16, d, /a, x, allow", "2:1", "not needed: line 1"},
		{"an address", allow, "ipMatch(r.sub, p.sub) && r.obj == p.obj", "p, 2001:db8::/32, d, /a, x, allow", "p, 2001:db8::1, d, /a, x, allow", "2:1", "not needed: line 1"},
		{"an expression", allow, "r.sub == p.sub && regexMatch(r.act, p.act)", "p, alice, d, /a, ^(GET|PUT|POST)$, allow", "p, alice, d, /a, ^(GET|POST)$, allow", "2:1", "not needed: line 1"},
		{"everything", allow, "r.sub == p.sub && globMatch(r.obj, p.obj)", "p, alice, d, **, x, allow", "p, alice, d, /a/*, x, allow", "2:1", "not needed: line 1"},
		{"a text that a pattern matches", allow, "r.sub == p.sub && (r.obj == p.obj || keyMatch(r.obj, p.obj))", "p, alice, d, /a/*, x, allow", "p, alice, d, /a/b, x, allow", "2:1", "not needed: line 1"},
		{"a deny over an allow", both, paths, "p, staff, d, /a/*, *, deny\ng, admin, staff", "p, admin, d, /a/1, GET, allow", "3:1", "no effect: line 1 denies"},
		{"a deny that comes first", priority, paths, "p, alice, d, /a/*, *, deny", "p, alice, d, /a/1, GET, allow", "2:1", "line 1 comes first"},
		{"a deny that nobody asks for", allow, roles, "p, alice, d, /a, GET, allow", "p, bob, d, /a, GET, deny", "2:21", "no effect under"},
		{"another literal", allow, "r.sub == p.sub && r.act == 'GET' && r.act == p.act", "p, alice, d, /a, GET, allow", "p, alice, d, /a, POST, allow", "2:18", "never match"},
		{"outside of a pattern", allow, "r.sub == p.sub && r.obj == p.obj && keyMatch2(r.obj, '/a/:id')", "p, alice, d, /a/1, x, allow", "p, alice, d, /b/1, x, allow", "2:1", "never match"},
		{"a rule that is false", allow, "r.sub == p.sub && p.act == 'x' && r.obj == p.obj", "p, alice, d, /a, x, allow", "p, alice, d, /a, y, allow", "2:18", "never match"},
		{"a role that nobody brings", allow, "r.sub == p.sub && g(r.sub, 'admin')", "p, alice, d, /a, x, allow\ng, alice, admin", "p, bob, d, /a, x, allow", "3:1", "never match"},
		{"nobody", allow, "r.sub == p.sub && r.obj == p.obj", "p, alice, d, /a, x, allow", "p, , d, /a, x, allow", "2:1", "never match"},
		{"a link to nothing", allow, roles, "p, staff, d, /a, GET, allow\ng, bob, staff", "g, bob, stuff", "3:9", `nothing: no rule and no other link speaks of "stuff"`},
		{"a role in capitals", allow, roles, "p, staff, d, /a, GET, allow\ng, bob, staff", "p, Staff, d, /b, GET, allow", "3:4", `named "staff"`},
		{"a role of a role in capitals", allow, roles, "p, staff, d, /a, GET, allow\ng, staff, all\ng, bob, staff\np, all, d, /c, GET, allow", "p, Staff, d, /b, GET, allow", "5:4", `named "staff"`},
	} {
		model := generatedRequest + "[policy_definition]\np = sub, dom, obj, act, eft\n" + generatedRoles + "[policy_effect]\ne = " + c.effect + "\n[matchers]\nm = " + c.matcher + "\n"
		whole, err := newLinted(model, c.rules, false)
		if err != nil {
			t.Fatal(c.name, err)
		}
		if findings := whole.Lint(); len(findings) > 0 {
			t.Errorf("%s: without the fault\n%v", c.name, findings)
		}
		faulty, err := newLinted(model, c.rules+"\n"+c.fault, false)
		if err != nil {
			t.Fatal(c.name, err)
		}
		findings := faulty.Lint()
		if len(findings) != 1 || !strings.HasPrefix(findings.Error(), "policy.csv:"+c.at+": warning: ") || !strings.Contains(findings.Error(), c.says) {
			t.Errorf("%s:\n%v\nwant one at %s that says %q", c.name, findings, c.at, c.says)
		}
	}
}

// TestLintIsSilent: what looks like a fault and is none.
func TestLintIsSilent(t *testing.T) {
	const both = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"
	var chain strings.Builder // so long that who has its first role does not have its last one
	for i := range 10 {
		fmt.Fprintf(&chain, "g, role%d, role%d\n", i, i+1)
	}
	for _, c := range []struct {
		name, effect, matcher, rules string
		roles                        bool // callers bring roles along
	}{
		{"a role that callers bring", both, "r.sub == p.sub && g(r.sub, 'admin')", "p, alice, d, /a, x, allow", true},
		{"a role that callers bring, compared", both, "r.sub == p.sub && g(r.sub, 'admin') == true", "p, alice, d, /a, x, allow", true},
		{"a role in capitals that callers bring", both, "g(r.sub, p.sub)", "p, Staff, d, /a, x, allow\np, staff, d, /a, x, deny\ng, bob, staff", true},
		{
			"a condition and its opposite", "priority(p.eft) || deny",
			"r.sub == p.sub && (regexMatch(r.act, p.act) && p.obj in ('some', 'all') || p.obj == 'all' && !regexMatch(r.act, p.act))",
			"p, alice, d, some, GET, deny\np, alice, d, all, GET, allow", false,
		},
		{"a role of another rule's domain", both, "g3(r.sub, p.sub, p.dom) && (r.dom == p.dom || p.dom == 'd2')", "p, staff, d2, /a, x, allow\np, admin, d1, /a, x, allow\ng3, admin, staff, d1", false},
		{"opposites of patterns", both, "r.sub == p.sub && !keyMatch2(r.obj, p.obj)", "p, alice, d, /a/*, x, allow\np, alice, d, /a/1, x, allow", false},
		{"the same rule about something else", both, "(r.act == p.act || p.act == 'any') && eval(p.dom)", "p, alice, r.obj == p.act, /a, any, allow\np, alice, r.obj == p.act, /a, GET, allow", false},
		{"a role that a rule names", both, "r.obj == p.obj && eval(p.dom)", "p, x, \"g(r.sub, 'other')\", /a, x, allow\ng, alice, other", false},
		{"a deny among what is allowed", both, "r.sub == p.sub && keyMatch2(r.obj, p.obj)", "p, alice, d, /a/*, x, allow\np, alice, d, /a/1, x, deny", false},
		{"an exception that comes first", "priority(p.eft) || deny", "r.sub == p.sub && keyMatch2(r.obj, p.obj)", "p, alice, d, /a/1, x, deny\np, alice, d, /a/*, x, allow", false},
		{"a name over an empty segment", both, "r.sub == p.sub && keyMatch2(r.obj, p.obj)", "p, alice, d, /a/:id, x, allow\np, alice, d, /a/, x, allow", false},
		{"a rest that needs a slash", both, "r.sub == p.sub && keyMatch2(r.obj, p.obj)", "p, alice, d, /a/*, x, allow\np, alice, d, /a, x, allow", false},
		{"a name that stands twice", "priority(p.eft) || deny", "r.sub == p.sub && keyMatch4(r.obj, p.obj)", "p, alice, d, /{x}/{x}, x, deny\np, alice, d, /{x}/{y}, x, allow", false},
		{"an attribute with line breaks", both, "keyMatch2(r.obj.Path, p.obj)", "p, alice, d, /*, x, allow\np, alice, d, /:x, x, allow", false},
		{"a chain that is not followed", both, "g(r.sub, p.sub)", chain.String() + "p, role0, d, /a, x, allow\np, role10, d, /a, x, allow", false},
		{"a role in another domain", both, "g3(r.sub, p.sub, r.dom) && r.dom == p.dom", "p, staff, d1, /a, x, allow\np, admin, d1, /a, x, allow\ng3, admin, staff, d2", false},
		{"a role in a domain that is not known", both, "g3(r.sub, p.sub, r.dom)", "p, staff, d1, /a, x, allow\np, admin, d1, /a, x, allow\ng3, admin, staff, d1", false},
		{"a role that the request names", both, "g(r.sub, p.sub) || g(r.sub, r.act)", "p, staff, d, /a, x, allow\ng, alice, other", false},
		{"a role that the model names", both, "g(r.sub, p.sub) || g(r.sub, 'other')", "p, staff, d, /a, x, allow\ng, alice, other", false},
		{"roles that order rules", "subjectPriority(p.eft) || deny", "g(r.sub, p.sub)", "p, alice, d, /a, x, allow\ng, alice, other", false},
		{"conditions without a result", both, "r.sub == p.sub && p.act > 3", "p, alice, d, /a, x, allow\np, alice, e, /a, x, allow", false},
	} {
		model := generatedRequest + "[policy_definition]\np = sub, dom, obj, act, eft\n" + generatedRoles + "[policy_effect]\ne = " + c.effect + "\n[matchers]\nm = " + c.matcher + "\n"
		l, err := newLinted(model, c.rules, c.roles)
		if err != nil {
			t.Fatal(c.name, err)
		}
		if findings := l.Lint(); len(findings) > 0 {
			t.Errorf("%s:\n%v", c.name, findings)
		}
	}
}

// TestLintIsBounded: a policy that is nothing but faults brings up so many findings and no more, of a table by row.
func TestLintIsBounded(t *testing.T) {
	rows := make([]enforcer.Row, 5000)
	for i := range rows {
		rows[i] = enforcer.Row{ID: int64(i + 7), Fields: []string{"p", "reader", "/a/:" + fmt.Sprint("id", i), "GET"}}
	}
	e := ordinary(t, func(cfg *enforcer.Config) { cfg.Table = &enforcer.Table{Name: "casbin_rule", Rows: rows} })
	findings := e.Lint()
	if len(findings) != 100 || findings.Err() != nil {
		t.Errorf("%d findings", len(findings))
	}
	if first := findings[0].Error(); first != "casbin_rule:8: warning: the rule allows what row 7 allows already" {
		t.Error(first)
	}
}

// TestLintAfterChanges: an enforcer that was made by changing another one finds what one finds that was built anew.
func TestLintAfterChanges(t *testing.T) {
	var rules strings.Builder
	for i := range 300 {
		fmt.Fprintf(&rules, "p, reader%d, /shop%d/:id, GET\ng, user%d, reader%d\n", i, i, i, i)
	}
	built := func(text string, previous *enforcer.Enforcer) *enforcer.Enforcer {
		return ordinary(t, func(cfg *enforcer.Config) { cfg.Policy.Data, cfg.Previous = []byte(text), previous })
	}
	before := built(rules.String(), nil)
	for _, edit := range [][2]string{
		{"g, user7,", "# one\n# two\np, reader7, /shop7/*, GET\ng, user7,"},
		{"g, user9,", "p, reader9, /shop9/:other, GET\ng, reader9, readers9\ng, user9,"},
		{"p, reader5, /shop5/:id, GET\n", "# gone\n\np, reader6, /shop6/7, GET\n"},
	} {
		text := strings.Replace(rules.String(), edit[0], edit[1], 1)
		changed, anew := built(text, before), built(text, nil)
		if !enforcer.Derived(changed) {
			t.Fatalf("%q was not taken alone", edit[1])
		}
		want, got := anew.Lint(), changed.Lint()
		if len(want) == 0 || got.Error() != want.Error() {
			t.Errorf("after %q:\n%v\nwant\n%v", edit[1], got, want)
		}
	}
}
