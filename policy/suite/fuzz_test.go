package suite_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/suite"
	"github.com/kasbah-authz/kasbah/testdata"
)

// FuzzParse: whatever the file holds, there is a suite or there are findings; every position is inside of the file; and a
// suite's cases are whole, of different names, and can be run.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(everyField))
	demo, err := testdata.Demo("policy_test.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(demo)
	for _, text := range []string{
		"", "a", "- a", "enforcer: e\ncases: [{}]", "enforcer: e\r\ncases:\r\n- {name: a}\r\n", "é: ü\nä: [\n", "? a\n: b", "a: *b", "<<: {}",
		"enforcer: e\ntables: [{name: t, requests: [GET /], want: {anonymous: [{want: deny}]}}]", "%YAML 1.2\n---\na: b", "a: |\n  b\n\n\n", "\"a\\nb\": c",
		"enforcer: e\ncases: [{name: a, principal: {like: {}}, request: {metadata: {a: {b: 1e999}}, like: []}, want: []}]",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, findings := suite.Parse("policies/x_test.yaml", data)
		if (s == nil) != (len(findings) > 0) {
			t.Fatalf("suite %v, findings %v", s, findings)
		}
		lines := strings.Split(string(data), "\n")
		inside := func(p policy.Position) {
			t.Helper()
			if p.File != "policies/x_test.yaml" || p.Line < 0 || p.Line > len(lines) || p.Line == 0 && p.Column != 0 {
				t.Fatalf("the position %v of a file of %d lines", p, len(lines))
			}
			if p.Line > 0 && p.Column > utf8.RuneCountInString(lines[p.Line-1])+1 {
				t.Fatalf("the position %v in the line %q", p, lines[p.Line-1])
			}
		}
		for _, finding := range findings {
			inside(finding.Position)
			if finding.Message == "" || finding.Level != policy.LevelError {
				t.Fatalf("%+v", finding)
			}
		}
		if s != nil {
			checkSuite(t, s, inside)
		}
	})
}

func checkSuite(t *testing.T, s *suite.Suite, inside func(policy.Position)) {
	t.Helper()
	if s.Enforcer == "" || s.Config == "" || len(s.Cases) == 0 {
		t.Fatalf("%+v", s)
	}
	names := map[string]bool{}
	for _, c := range s.Cases {
		inside(c.Position)
		switch {
		case c.Line == 0 || c.Name == "" || names[c.Name]:
			t.Fatalf("%+v", c)
		case c.Principal == nil || c.Principal.ID == "" && c.Principal.Provider != "":
			t.Fatalf("%s is of %+v", c.Name, c.Principal)
		case c.Request == nil || c.Request.Method == "" || !strings.HasPrefix(c.Request.Path, "/"):
			t.Fatalf("%s asks %+v", c.Name, c.Request)
		}
		names[c.Name] = true
	}
	e := orders()
	result, err := suite.Run(t.Context(), s, e, suite.Options{Now: stopped})
	if err != nil || len(result.Cases) != len(s.Cases) || len(e.asked) != len(s.Cases) {
		t.Fatalf("%d of %d cases were run: %v", len(result.Cases), len(s.Cases), err)
	}
	junit(t, &suite.Report{Results: []*suite.Result{result}})
}
