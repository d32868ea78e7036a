package enforcer_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/casbin/casbin/v2/model"
	"github.com/casbin/casbin/v2/persist"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

func read(modelText, rules string) (*enforcer.Enforcer, policy.Findings) {
	return enforcer.New(enforcer.Config{
		Name: "orders", AllowIfEmpty: true,
		Model: enforcer.Text{File: "model.conf", Data: []byte(modelText)}, Policy: enforcer.Text{File: "policy.csv", Data: []byte(rules)},
	})
}

// TestPolicyFindings: each fault is named at its place. Casbin loads all of these, and loses or misreads rules.
func TestPolicyFindings(t *testing.T) {
	effects := strings.Replace(rbac, "p = sub, obj, act", "p = sub, obj, act, eft", 1)
	regex := strings.Replace(rbac, "keyMatch2(", "regexMatch(", 1)
	for _, c := range []struct{ name, model, rules, at, says string }{
		{"too few fields", rbac, "p, reader, /a", "policy.csv:1:", "2 fields"},
		{"too many fields", rbac, "\np, reader, /a, GET, x, y", "policy.csv:2:", "fields"},
		{"an unknown type", rbac, "q, reader, /a, GET", "policy.csv:1:1", `"q"`},
		{"an unknown effect", effects, "p, reader, /a, GET, denny", "policy.csv:1:21", "denny"},
		{"a byte-order mark", rbac, "\ufeffp, reader, /a, GET", "policy.csv:1:1", "byte-order mark"},
		{"an unbalanced quote", rbac, `p, reader, "/a, GET`, "policy.csv:1:", "quote"},
		{"a quote inside", rbac, `p, reader, /a"b, GET`, "policy.csv:1:", "quote"},
		{"NUL", rbac, "p, reader, /a\x00, GET", "policy.csv:1:14", "NUL"},
		{"not UTF-8", rbac, "p, reader, /a\xff, GET", "policy.csv:1:", "UTF-8"},
		{"a bad regular expression", regex, "p, reader, ^/a(, GET", "policy.csv:1:12", "/a("},
		{"a link with one name", rbac, "g, alice", "policy.csv:1:", "1 field"},
	} {
		e, findings := read(c.model, c.rules)
		if e != nil || findings.Err() == nil || !strings.HasPrefix(findings[0].Error(), c.at) || !strings.Contains(findings.Error(), c.says) {
			t.Errorf("%s: %v, want one at %s that says %q", c.name, findings, c.at, c.says)
		}
	}
}

// TestModelFindings likewise.
func TestModelFindings(t *testing.T) {
	for _, c := range []struct{ name, from, to, at string }{
		{"no matchers", "[matchers]\nm = g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act\n", "", "model.conf"},
		{"an unknown section", "[matchers]", "[matcherz]\nx = 1\n[matchers]", "model.conf:9"},
		{"an unknown request field", "r.act ==", "r.acts ==", "model.conf:10:51"},
		{"an unknown policy field", "p.act\n", "p.action\n", "model.conf:10:60"},
		{"an unknown function", "keyMatch2", "keyMatch9", "model.conf:10:24"},
		{"a wrong number of arguments", "keyMatch2(r.obj, p.obj)", "keyMatch2(r.obj)", "model.conf:10:24"},
		{"an unfinished expression", "== p.act\n", "==\n", "model.conf:10"},
		{"an unclosed parenthesis", "p.obj)", "p.obj", "model.conf:10"},
		{"an unknown effect", "some(where (p.eft == allow))", "most(where (p.eft == allow))", "model.conf:8"},
		{"no request", "r = sub, obj, act\n", "", "model.conf"},
		{"a pattern from the caller", "keyMatch2(r.obj, p.obj)", "keyMatch2(p.obj, r.obj)", "model.conf:10"},
	} {
		text := strings.Replace(rbac, c.from, c.to, 1)
		if text == rbac {
			t.Fatalf("%s: the model has no %q", c.name, c.from)
		}
		e, findings := read(text, rbacRules)
		if e != nil || findings.Err() == nil || !strings.HasPrefix(findings[0].Error(), c.at) {
			t.Errorf("%s: %v, want one at %s", c.name, findings, c.at)
		}
	}
}

// TestWarnings: what Casbin takes, and an operator seldom means.
func TestWarnings(t *testing.T) {
	for name, c := range map[string][2]string{
		"a regular expression without anchors": {strings.Replace(rbac, "keyMatch2(", "regexMatch(", 1), "p, reader, /a, GET"},
		"a pattern that is a prefix":           {strings.Replace(rbac, "keyMatch2(", "keyMatch(", 1), "p, reader, /a*, GET"},
	} {
		e, findings := read(c[0], c[1])
		if e == nil || !slices.ContainsFunc(findings, func(f *policy.Finding) bool {
			return f.Level == policy.LevelWarning && f.Line == 1 && f.File == "policy.csv"
		}) {
			t.Errorf("%s: %v", name, findings)
		}
	}
}

// checkReading holds what we load of a policy against what Casbin's own file adapter would load of it.
func checkReading(t interface {
	Fatalf(string, ...any)
}, text string,
) {
	e, _ := read(rbac, text)
	if e == nil {
		return
	}
	m, err := model.NewModelFromString(rbac)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for line := range strings.SplitSeq(text, "\n") {
		if err := persist.LoadPolicyLine(strings.TrimSpace(line), m); err != nil {
			t.Fatalf("we take %q, and Casbin does not: %v", line, err)
		}
	}
	if loaded := len(m["p"]["p"].Policy) + len(m["g"]["g"].Policy); loaded != e.Rules() {
		t.Fatalf("%q: %d rules, Casbin loads %d", text, e.Rules(), loaded)
	}
}

// TestReadingAgreesWithCasbin draws texts of the pieces that matter.
func TestReadingAgreesWithCasbin(t *testing.T) {
	pieces := []string{"p", "g", ", ", ",", "\n", "\n", "alice", "reader", "/a", "GET", " ", "\t", `"`, `""`, "#", "\r", "é", "\u00a0", "x y", "p, reader, /a, GET\n", "g, alice, reader\n", `p, "a, b", /x, GET` + "\n"}
	rapid.Check(t, func(t *rapid.T) {
		checkReading(t, strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 14).Draw(t, "pieces"), ""))
	})
}

func FuzzPolicy(f *testing.F) {
	for _, seed := range []string{rbacRules, "p, reader, \"/a\nb\", GET", "\ufeffp, a, b, c", "p, a, b, c\r\ng, x, y\r\n", "p,,,\n", "# p\n\n p, a, b, c "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { checkReading(t, text) })
}

func FuzzModel(f *testing.F) {
	f.Add(rbac, rbacRules)
	for _, s := range systems() {
		f.Add(s.model, strings.Join(s.rules, "\n"))
	}
	f.Fuzz(func(t *testing.T, modelText, rules string) {
		e, findings := read(modelText, rules)
		if (e == nil) != (findings.Err() != nil) {
			t.Fatalf("enforcer %v with findings %v", e, findings)
		}
		if e != nil {
			_, _ = e.Evaluate(t.Context(), &policy.Request{Path: "/a", Method: "GET"}, &policy.Principal{ID: "alice"})
		}
	})
}
