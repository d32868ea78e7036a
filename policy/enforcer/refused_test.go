package enforcer_test

import (
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// TestPatternsAreExamined wherever they stand: one that is not would be an error to Casbin, and to an index a match, or a
// caller's text would be one, or a rule would run itself until the stack ends.
func TestPatternsAreExamined(t *testing.T) {
	for name, c := range map[string]struct{ fields, matcher, rules, want string }{
		"a glob in parentheses":       {"sub, obj", "r.sub == p.sub && globMatch(r.obj, (p.obj))", "p, alice, [a\n", "is no pattern for globMatch"},
		"groups in parentheses":       {"sub, obj", "r.sub == p.sub && keyMatch4(r.obj, ((p.obj)))", "p, alice, /(a|b)/{id}\n", "is no pattern for keyMatch4"},
		"keyGet2 in parentheses":      {"sub, obj", "r.sub == p.sub && keyGet2(r.obj, (p.obj), 'id') == '1'", "p, alice, /[\n", "is no pattern for keyGet2"},
		"a field in a rule":           {"sub, obj, rule", "eval(p.rule) && r.sub == p.sub", "p, alice, [, \"regexMatch(r.obj, p.obj)\"\n", "for a pattern in a rule for eval"},
		"eval of eval":                {"sub, rule", "r.sub == p.sub && eval((p.rule))", "p, alice, eval(p.rule)\n", "unknown function eval"},
		"eval of eval by Casbin":      {"sub, rule", "(r.sub == p.sub ? eval((p.rule)) : false)", "p, alice, eval(p.rule)\n", "unknown function eval"},
		"eval of a text":              {"sub, rule", "eval(p.rule + '')", "p, alice, true\n", "eval takes a field"},
		"a caller's pattern, joined":  {"sub, obj", "r.sub == p.sub && r.obj =~ '^' + r.sub", "p, alice, /x\n", "=~ would take what the caller sends"},
		"the same in parentheses":     {"sub, obj", "r.sub == p.sub && r.obj !~ ('^' + r.sub)", "p, alice, /x\n", "=~ would take what the caller sends"},
		"a caller's pattern, perhaps": {"sub, obj", "r.sub == p.sub && r.obj =~ (true ? r.sub : 'x')", "p, alice, /x\n", "=~ would take what the caller sends"},
	} {
		model := "[request_definition]\nr = sub, obj\n[policy_definition]\np = " + c.fields + "\n" + allowSome + "[matchers]\nm = " + c.matcher + "\n"
		e, findings := enforcer.New(enforcer.Config{Name: name, Model: enforcer.Text{File: "m", Data: []byte(model)}, Policy: enforcer.Text{File: "p", Data: []byte(c.rules)}})
		if e != nil || findings.Err() == nil || !strings.Contains(findings.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, findings, c.want)
		}
	}
	good := "[request_definition]\nr = sub, obj\n[policy_definition]\np = sub, obj\n" + allowSome + "[matchers]\nm = r.obj =~ (p.obj) && (r.sub == p.sub || r.sub == 'root')\n"
	if e, findings := enforcer.New(enforcer.Config{Model: enforcer.Text{Data: []byte(good)}, Policy: enforcer.Text{Data: []byte("p, alice, ^/x$\n")}}); e == nil {
		t.Error(findings)
	}
}

// TestConditionsInPatternsOfDomains are refused: Casbin panics at the first link, and ends the program.
func TestConditionsInPatternsOfDomains(t *testing.T) {
	const model = "[request_definition]\nr = sub, dom, obj\n[policy_definition]\np = sub, dom, obj\n[role_definition]\ng = _, _, _, (_, _)\n" + allowSome +
		"[matchers]\nm = g(r.sub, p.sub, r.dom) && keyMatch(r.dom, p.dom) && r.obj == p.obj\n"
	domain := func(*policy.Request, *policy.Principal) (any, error) { return "d", nil }
	cfg := enforcer.Config{Fields: map[string]enforcer.Field{"dom": domain}, Model: enforcer.Text{File: "m", Data: []byte(model)}, Policy: enforcer.Text{File: "p", Data: []byte("p, admin, d, x\ng, alice, admin, d, _, _\n")}}
	if e, findings := enforcer.New(cfg); e != nil || !strings.Contains(findings.Error(), "m:6:5: error: Casbin cannot load links with conditions") {
		t.Error(findings)
	}
	cfg.Model.Data = []byte(strings.Replace(model, "keyMatch(r.dom, p.dom)", "r.dom == p.dom", 1))
	if e, findings := enforcer.New(cfg); e == nil {
		t.Error(findings)
	}
}
