package enforcer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// levels is a model whose matcher needs a number of the caller, behind a comparison that most rules fail.
const levels = "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n" + allowSome + "[matchers]\nm = r.obj == p.obj && r.sub.level > 3 && r.act == p.act\n"

func levelled(t *testing.T, rules int) *enforcer.Enforcer {
	t.Helper()
	var text strings.Builder
	for i := range rules {
		fmt.Fprintf(&text, "p, any, /x%d, GET\n", i)
	}
	return ordinary(t, func(cfg *enforcer.Config) {
		cfg.Model.Data, cfg.Policy.Data = []byte(levels), []byte(text.String())
		cfg.Fields = map[string]enforcer.Field{"sub": func(_ *policy.Request, p *policy.Principal) (any, error) { return p.Claims, nil }}
	})
}

// TestRequestsThatAreNotIndexed: a caller without the attribute that the matcher asks for gets Casbin's verdict by a look
// at the rules, which an edge that must not wait is told of first; callers who have it do not pay for that.
func TestRequestsThatAreNotIndexed(t *testing.T) {
	e := levelled(t, 10_001)
	has, lacks := &policy.Principal{Claims: map[string]any{"level": 4.0}}, &policy.Principal{Claims: map[string]any{}}
	for _, c := range []struct {
		name   string
		caller *policy.Principal
		path   string
		noWait bool
		want   policy.Verdict
		err    string
	}{
		{"has it", has, "/x9999", true, policy.Permitted, ""},
		{"lacks it", lacks, "/x9999", true, policy.Denied, policy.ErrWouldWait.Error()},
		{"lacks it, and may wait", lacks, "/x9999", false, policy.Denied, "no attribute level"},
		{"lacks it, where no rule asks", lacks, "/y", false, policy.Denied, ""},
	} {
		got, err := e.Evaluate(t.Context(), &policy.Request{Path: c.path, Method: "GET", NoWait: c.noWait}, c.caller)
		if got.Verdict != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// endsAfter is a context that ends once it has been asked that often.
type endsAfter struct {
	context.Context
	left int
}

func (c *endsAfter) Err() error {
	if c.left--; c.left < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// TestLookingAtRulesEnds when nobody waits for the verdict any more.
func TestLookingAtRulesEnds(t *testing.T) {
	e := levelled(t, 5000)
	ctx := &endsAfter{t.Context(), 3}
	_, err := e.Evaluate(ctx, &policy.Request{Path: "/y", Method: "GET"}, &policy.Principal{Claims: map[string]any{}})
	var fault *policy.StageError
	if !errors.As(err, &fault) || fault.Reason != policy.Deadline || ctx.left < -3 {
		t.Errorf("%v, asked %d times more", err, -ctx.left)
	}
}

// TestPatternsWithoutABeginning: what must be asked one by one is said to be.
func TestPatternsWithoutABeginning(t *testing.T) {
	for begin, linear := range map[string]bool{"^/x": false, "": true} {
		var rules strings.Builder
		for i := range 1001 {
			fmt.Fprintf(&rules, "p, alice, %s%d$, GET\n", begin, i)
		}
		e := ordinary(t, func(cfg *enforcer.Config) {
			cfg.Model.Data = []byte(strings.Replace(string(cfg.Model.Data), "keyMatch2", "regexMatch", 1))
			cfg.Policy.Data = []byte(rules.String())
		})
		if (e.Linear() != "") != linear || linear && !strings.Contains(e.Linear(), "1001 patterns of regexMatch") {
			t.Errorf("%q: %q", begin, e.Linear())
		}
		got, err := e.Evaluate(t.Context(), &policy.Request{Path: "/x77", Method: "GET"}, &policy.Principal{ID: "alice"})
		if err != nil || got.Verdict != policy.Permitted {
			t.Errorf("%q: %+v, %v", begin, got, err)
		}
	}
}

// TestManyNamesOfOneRequest: a matcher that asks about as many domains as there are rules takes time in proportion to
// them, and an edge that must not wait is told before it looks at so many.
func TestManyNamesOfOneRequest(t *testing.T) {
	const model = "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, dom, obj\n[role_definition]\ng = _, _, _\n" + allowSome +
		"[matchers]\nm = g(r.sub, p.sub, p.dom) && r.obj == p.obj\n"
	var rules strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&rules, "p, admin, domain%d, /x\n", i)
	}
	e := ordinary(t, func(cfg *enforcer.Config) { cfg.Model.Data, cfg.Policy.Data = []byte(model), []byte(rules.String()) })
	req := &policy.Request{Path: "/x", Method: "GET", NoWait: true}
	if got, err := e.Evaluate(t.Context(), req, &policy.Principal{ID: "alice"}); !errors.Is(err, policy.ErrWouldWait) {
		t.Errorf("%+v, %v", got, err)
	}
	req.NoWait = false
	if got, err := e.Evaluate(t.Context(), req, &policy.Principal{ID: "alice"}); err != nil || got.Verdict != policy.Denied {
		t.Errorf("%+v, %v", got, err)
	}
	ctx := &endsAfter{t.Context(), 3}
	if _, err := e.Evaluate(ctx, req, &policy.Principal{ID: "alice"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// TestLongTexts: what a caller says may be long, and may have to be held against many patterns. An edge that must not
// wait is told of it before it has taken much time, and nothing goes on when nobody waits any more.
func TestLongTexts(t *testing.T) {
	const model = "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n" + allowSome + "[matchers]\nm = "
	long := "/" + strings.Repeat("a/", 30_000)
	for name, c := range map[string]struct {
		matcher string
		rules   int
		pattern string // of the object of each rule, with the number of the rule in base two as names
		obj     any
	}{
		"expressions that begin with nothing": {"r.sub == p.sub && regexMatch(r.obj, p.obj)", 1000, "(a|b%d)+$", long},
		"expressions behind another index":    {"r.act == p.act && (r.sub == p.sub || regexMatch(r.obj, p.obj))", 1000, "(a|b%d)+$", long},
		"shapes":                              {"r.sub == p.sub && keyMatch2(r.obj, p.obj)", 8192, "", long},
		"elements of a list":                  {"p.obj in r.obj", 1000, "%d", make([]any, 30_000)},
		"arguments":                           {"g(r.obj, p.obj)", 1000, "%d", slices.Repeat([]any{"x", "y"}, 15_000)},
		"texts put together":                  {"r.obj + p.obj == p.sub", 1000, "%d", long},
	} {
		t.Run(name, func(t *testing.T) {
			var rules strings.Builder
			for i := range c.rules {
				object := strings.Replace(c.pattern, "%d", strconv.Itoa(i), 1)
				if c.pattern == "" {
					object = "/" + strings.NewReplacer("0", "a/", "1", ":x/").Replace(fmt.Sprintf("%013b", i)) + "*"
				}
				fmt.Fprintf(&rules, "p, bob, %s, GET\n", object)
			}
			e := ordinary(t, func(cfg *enforcer.Config) {
				cfg.Model.Data, cfg.Policy.Data = []byte(model+c.matcher+"\n"), []byte(rules.String())
				if strings.Contains(c.matcher, "g(") {
					cfg.Model.Data = append(cfg.Model.Data, "[role_definition]\ng = _, _\n"...)
				}
				cfg.Fields = map[string]enforcer.Field{"obj": func(*policy.Request, *policy.Principal) (any, error) { return c.obj, nil }}
			})
			req := &policy.Request{Method: "GET", NoWait: true}
			if got, err := e.Evaluate(t.Context(), req, &policy.Principal{ID: "bob"}); !errors.Is(err, policy.ErrWouldWait) {
				t.Errorf("%+v, %v", got, err)
			}
			req.NoWait = false
			ctx := &endsAfter{t.Context(), 3}
			if _, err := e.Evaluate(ctx, req, &policy.Principal{ID: "bob"}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, %d", err, ctx.left)
			}
		})
	}
}
