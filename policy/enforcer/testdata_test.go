package enforcer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// contents returns the text of a file that must be there.
func contents(t testing.TB, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{"testdata"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// matching returns the files of testdata that match, of which there must be at least so many.
func matching(t testing.TB, pattern string, least int) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(paths) < least {
		t.Fatalf("%d files match %s, and at least %d must: %v", len(paths), pattern, least, err)
	}
	return paths
}

// ordinarySystem reads one folder of testdata/ordinary.
func ordinarySystem(t testing.TB, name string) (s *system, rules string) {
	t.Helper()
	return &system{name: name, model: contents(t, "ordinary", name, "model.conf")}, contents(t, "ordinary", name, "policy.csv")
}

// TestOrdinarySystems asks about each line of an expect.txt: "alice, data, read => allow 3", allowed by the rule in
// line 3 of the policy; "allow", by no rule; "allow model", by the matcher alone; "deny 3"; "none"; "error". Casbin must agree.
func TestOrdinarySystems(t *testing.T) {
	for _, path := range matching(t, "ordinary/*/expect.txt", 15) {
		name := filepath.Base(filepath.Dir(path))
		t.Run(name, func(t *testing.T) {
			s, rules := ordinarySystem(t, name)
			e, truth := build(t, s, rules, nil), oracle(t, s.model, rules)
			asked := 0
			for line := range strings.Lines(contents(t, "ordinary", name, "expect.txt")) {
				question, want, ok := strings.Cut(strings.TrimSpace(line), " => ")
				values := strings.Split(question, ", ")
				if !ok || len(values) != len(s.names()) {
					t.Fatalf("%q is no expectation", line)
				}
				asked++
				outcome, err := e.Evaluate(t.Context(), request(s, values), &policy.Principal{})
				if got := describe(outcome, err); got != want {
					t.Errorf("%s: %s (%+v, %v), want %s", question, got, outcome, err, want)
				}
				allowed, casbinErr := truth.Enforce(asAny(values)...)
				if allowed != strings.HasPrefix(want, "allow") || (casbinErr != nil) != (want == "error") {
					t.Errorf("%s: Casbin says %t, %v, and the file %s", question, allowed, casbinErr, want)
				}
			}
			if asked < 2 {
				t.Errorf("%d expectations", asked)
			}
		})
	}
}

func describe(outcome policy.Outcome, err error) string {
	by := ""
	switch {
	case err != nil:
		return "error"
	case outcome.Rule.File == "model.conf":
		by = " model"
	case outcome.Rule.Line > 0:
		by = fmt.Sprint(" ", outcome.Rule.Line)
	}
	switch {
	case outcome.Verdict == policy.Permitted:
		return "allow" + by
	case outcome.Reason == policy.DeniedByPolicy:
		return "deny" + by
	case outcome.Reason == policy.NoMatchingPolicy && by == "":
		return "none"
	}
	return fmt.Sprintf("%+v", outcome)
}

// TestBadFiles: each file of testdata/bad has one fault, which its .want names: perhaps "model: NAME", the folder of
// testdata/ordinary whose model a policy is for, and then a part of the finding.
func TestBadFiles(t *testing.T) {
	for _, path := range matching(t, "bad/*.want", 80) {
		name := strings.TrimSuffix(filepath.Base(path), ".want")
		t.Run(name, func(t *testing.T) {
			want := strings.TrimSpace(contents(t, "bad", name+".want"))
			cfg := enforcer.Config{Name: "bad", Fields: map[string]enforcer.Field{}}
			file := name + ".conf"
			if header, rest, ok := strings.Cut(want, "\n"); ok {
				file, want = name+".csv", rest
				s, _ := ordinarySystem(t, strings.TrimPrefix(header, "model: "))
				cfg.Model = enforcer.Text{File: "model.conf", Data: []byte(s.model)}
				cfg.Policy = enforcer.Text{File: file, Data: []byte(contents(t, "bad", file))}
				for _, field := range s.names() {
					cfg.Fields[field] = func(*policy.Request, *policy.Principal) (any, error) { return "x", nil }
				}
			} else {
				_, rules := ordinarySystem(t, "rbac")
				cfg.Model = enforcer.Text{File: file, Data: []byte(contents(t, "bad", file))}
				cfg.Policy = enforcer.Text{File: "policy.csv", Data: []byte(rules)}
			}
			e, findings := enforcer.New(cfg)
			if len(findings) == 0 || !strings.HasPrefix(findings[0].Error(), file+":") || !strings.Contains(findings.Error(), want) {
				t.Fatalf("found\n%v\nand not\n%s", findings, want)
			}
			if isError := strings.Contains(want, "error:"); isError != (e == nil) || isError != (findings.Err() != nil) {
				t.Errorf("the enforcer is %v with\n%v", e, findings)
			}
		})
	}
}
