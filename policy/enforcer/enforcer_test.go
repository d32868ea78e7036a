package enforcer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

const rbac = `[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act
`

const rbacRules = "# who may\np, reader, /orders/:id, GET\ng, alice, reader\n"

func ordinary(t testing.TB, change func(*enforcer.Config)) *enforcer.Enforcer {
	t.Helper()
	cfg := enforcer.Config{
		Name:  "orders",
		Model: enforcer.Text{File: "model.conf", Data: []byte(rbac)}, Policy: enforcer.Text{File: "policy.csv", Data: []byte(rbacRules)},
	}
	if change != nil {
		change(&cfg)
	}
	e, findings := enforcer.New(cfg)
	if e == nil {
		t.Fatal(findings)
	}
	return e
}

// TestOutcomes: what the stage says, and which rule it names.
func TestOutcomes(t *testing.T) {
	denying := strings.NewReplacer("p = sub, obj, act", "p = sub, obj, act, eft", "e = some(where (p.eft == allow))", "e = some(where (p.eft == allow)) && !some(where (p.eft == deny))").Replace(rbac)
	for _, c := range []struct {
		name, model, rules, subject string
		verdict                     policy.Verdict
		reason                      policy.Reason
		at                          string
	}{
		{"a rule allows", rbac, rbacRules, "alice", policy.Permitted, policy.Internal, "policy.csv:2:1"},
		{"no rule matches", rbac, rbacRules, "mallory", policy.Denied, policy.NoMatchingPolicy, ""},
		{"a rule denies", denying, "p, alice, /orders/:id, GET, deny\n", "alice", policy.Denied, policy.DeniedByPolicy, "policy.csv:1:1"},
	} {
		e := ordinary(t, func(cfg *enforcer.Config) { cfg.Model.Data, cfg.Policy.Data = []byte(c.model), []byte(c.rules) })
		got, err := e.Evaluate(t.Context(), &policy.Request{Path: "/orders/7", Method: "GET"}, &policy.Principal{ID: c.subject})
		if err != nil || got.Verdict != c.verdict || got.Reason != c.reason || got.Rule.Position.String() != c.at {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	if e := ordinary(t, nil); e.Name() != "authorize" || e.Rules() != 2 {
		t.Errorf("name %q, %d rules", e.Name(), e.Rules())
	}
}

// TestFaultsDeny: whatever cannot be evaluated is an error with a reason.
func TestFaultsDeny(t *testing.T) {
	request := &policy.Request{Path: "/orders/7", Method: "GET"}
	broken := func(*policy.Request, *policy.Principal) (any, error) { return nil, errors.New("no such claim") }
	ended, end := context.WithCancel(context.Background())
	end()
	for name, c := range map[string]struct {
		ctx    context.Context
		e      *enforcer.Enforcer
		req    *policy.Request
		id     string
		reason policy.Reason
	}{
		"nobody":              {t.Context(), ordinary(t, nil), request, "", policy.PolicyError},
		"a field's error":     {t.Context(), ordinary(t, func(c *enforcer.Config) { c.Fields = map[string]enforcer.Field{"obj": broken} }), request, "alice", policy.PolicyError},
		"a control character": {t.Context(), ordinary(t, nil), request, "alice\n", policy.PolicyError},
		"NUL":                 {t.Context(), ordinary(t, nil), &policy.Request{Path: "/orders/7\x00", Method: "GET"}, "alice", policy.PolicyError},
		"an ended context":    {ended, ordinary(t, nil), request, "alice", policy.Deadline},
		"a field that no matcher compares": {t.Context(), ordinary(t, func(c *enforcer.Config) {
			c.Fields = map[string]enforcer.Field{"sub": func(*policy.Request, *policy.Principal) (any, error) { return struct{}{}, nil }}
		}), request, "alice", policy.PolicyError},
		"roles that cannot be evaluated": {t.Context(), ordinary(t, func(c *enforcer.Config) {
			c.Roles = func(*policy.Request, *policy.Principal) ([]string, error) { return nil, errors.New("no roles") }
		}), request, "alice", policy.PolicyError},
	} {
		got, err := c.e.Evaluate(c.ctx, c.req, &policy.Principal{ID: c.id})
		var fault *policy.StageError
		if !errors.As(err, &fault) || fault.Reason != c.reason || got.Verdict != policy.Denied {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// TestManyRulesMayWait: where each of many rules is looked at, an edge that must not wait is told before it would.
func TestManyRulesMayWait(t *testing.T) {
	var rules strings.Builder
	rules.WriteString(rbacRules)
	for i := range 10_001 {
		fmt.Fprintf(&rules, "p, role%d, /x/:id, GET\n", i)
	}
	const linear = "(r.act == p.act ? true : false)"
	for matcher, waits := range map[string]bool{"r.act == p.act": false, linear: true} {
		e := ordinary(t, func(cfg *enforcer.Config) {
			cfg.Policy.Data = []byte(rules.String())
			cfg.Model.Data = []byte(strings.Replace(string(cfg.Model.Data), "r.act == p.act", matcher, 1))
		})
		req := &policy.Request{Path: "/orders/7", Method: "GET", NoWait: true}
		got, err := e.Evaluate(t.Context(), req, &policy.Principal{ID: "alice"})
		if waits != errors.Is(err, policy.ErrWouldWait) || !waits && got.Verdict != policy.Permitted {
			t.Errorf("%s, without waiting: %+v, %v", matcher, got, err)
		}
		req.NoWait = false
		if got, err := e.Evaluate(t.Context(), req, &policy.Principal{ID: "alice"}); err != nil || got.Verdict != policy.Permitted {
			t.Errorf("%s, waiting: %+v, %v", matcher, got, err)
		}
	}
}

// TestRolesAreNotLent: of two callers of one name, only the one who brought the role has it, however many ask at once.
func TestRolesAreNotLent(t *testing.T) {
	e := ordinary(t, func(cfg *enforcer.Config) {
		cfg.Policy.Data = []byte("p, reader, /orders/:id, GET\ng, editor, reader\n")
		cfg.Roles = func(_ *policy.Request, p *policy.Principal) ([]string, error) { return p.Roles, nil }
	})
	var wrong, asked atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		principal, want := &policy.Principal{ID: "alice"}, policy.Denied
		if i%2 == 0 {
			principal.Roles, want = []string{"editor"}, policy.Permitted
		}
		all.Go(func() {
			for range 2000 {
				got, err := e.Evaluate(t.Context(), &policy.Request{Path: "/orders/7", Method: "GET"}, principal)
				if err != nil || got.Verdict != want {
					wrong.Add(1)
				}
				asked.Add(1)
			}
		})
	}
	all.Wait()
	if wrong.Load() != 0 || asked.Load() != 16000 {
		t.Errorf("%d wrong verdicts of %d", wrong.Load(), asked.Load())
	}
}

// TestRequestsAreNotExpressions: text of the request is compared and never evaluated.
func TestRequestsAreNotExpressions(t *testing.T) {
	e := ordinary(t, nil)
	pieces := []string{`" || true || "`, `' || true || '`, `1 == 1`, `true`, `) || (true`, `p.sub`, `r.sub`, `p_sub`, `*`, `.*`, `reader`, `eval(true)`, `g(r.sub, "reader")`, `\`, `"`, `%s`, `${x}`, `:id`}
	for _, piece := range pieces {
		for _, subject := range []string{piece, "alice" + piece, piece + "alice", `mallory" || r.sub == "` + piece} {
			if subject == "reader" {
				continue // a role may be asked about by its name, as in Casbin
			}
			got, err := e.Evaluate(t.Context(), &policy.Request{Path: "/orders/7", Method: "GET"}, &policy.Principal{ID: subject})
			if err == nil && got.Verdict != policy.Denied {
				t.Errorf("subject %q: %+v", subject, got)
			}
		}
		for _, req := range []*policy.Request{{Path: piece, Method: "GET"}, {Path: "/orders/7", Method: piece}, {Path: "/other/7" + piece, Method: "GET"}} {
			got, err := e.Evaluate(t.Context(), req, &policy.Principal{ID: "alice"})
			if err == nil && got.Verdict != policy.Denied {
				t.Errorf("path %q, method %q: %+v", req.Path, req.Method, got)
			}
		}
	}
}

// TestEmptyPolicy: a model that then allows everybody is refused unless that is meant.
func TestEmptyPolicy(t *testing.T) {
	open := strings.NewReplacer("p = sub, obj, act", "p = sub, obj, act, eft", "e = some(where (p.eft == allow))", "e = !some(where (p.eft == deny))").Replace(rbac)
	for _, rules := range []string{"", "# none\n", "g, alice, reader\n"} {
		cfg := enforcer.Config{Model: enforcer.Text{File: "m", Data: []byte(open)}, Policy: enforcer.Text{File: "p", Data: []byte(rules)}}
		if e, findings := enforcer.New(cfg); e != nil || findings.Err() == nil {
			t.Errorf("%q: taken, %v", rules, findings)
		}
		cfg.AllowIfEmpty = true
		if e, findings := enforcer.New(cfg); e == nil {
			t.Errorf("%q, where it is meant: %v", rules, findings)
		}
		cfg.AllowIfEmpty, cfg.Model.Data = false, []byte(rbac)
		if e, findings := enforcer.New(cfg); e == nil {
			t.Errorf("%q, under a model that denies: %v", rules, findings)
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	rules := rbacRules
	for i := range 8 {
		rules += fmt.Sprintf("p, role%d, /things%d/:id, GET\n", i, i)
	}
	b.Run("kasbah", func(b *testing.B) {
		e := ordinary(b, func(cfg *enforcer.Config) { cfg.Policy.Data = []byte(rules) })
		req, alice := &policy.Request{Path: "/orders/7", Method: "GET"}, &policy.Principal{ID: "alice"}
		b.ReportAllocs()
		for b.Loop() {
			if got, err := e.Evaluate(b.Context(), req, alice); err != nil || got.Verdict != policy.Permitted {
				b.Fatal(got, err)
			}
		}
	})
	b.Run("casbin", func(b *testing.B) {
		e := oracle(b, rbac, strings.Replace(rules, "# who may\n", "", 1))
		b.ReportAllocs()
		for b.Loop() {
			if ok, err := e.Enforce("alice", "/orders/7", "GET"); err != nil || !ok {
				b.Fatal(ok, err)
			}
		}
	})
}

// TestNumbers: every kind of number that an expression may give compares with a number of the matcher.
func TestNumbers(t *testing.T) {
	adult := strings.Replace(rbac, "m = g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act", "m = r.sub >= 18 && r.act == p.act", 1)
	for _, value := range []any{18, int8(18), int64(18), uint(18), uint8(18), uint64(18), float32(18), 18.0} {
		e := ordinary(t, func(cfg *enforcer.Config) {
			cfg.Model.Data, cfg.Policy.Data = []byte(adult), []byte("p, anyone, /x, GET\n")
			cfg.Fields = map[string]enforcer.Field{"sub": func(*policy.Request, *policy.Principal) (any, error) { return value, nil }}
		})
		got, err := e.Evaluate(t.Context(), &policy.Request{Path: "/x", Method: "GET"}, &policy.Principal{ID: "alice"})
		if err != nil || got.Verdict != policy.Permitted {
			t.Errorf("%T: %+v, %v", value, got, err)
		}
	}
}
