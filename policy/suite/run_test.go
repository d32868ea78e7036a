package suite_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/suite"
)

// enforcerOf answers by the path of the request.
type enforcerOf struct {
	rules   []policy.Rule
	answers map[string]answer
	asked   []string
	act     func()
}

type answer struct {
	outcome policy.Outcome
	err     error
}

func (e *enforcerOf) Evaluate(_ context.Context, req *policy.Request, _ *policy.Principal) (policy.Outcome, error) {
	e.asked = append(e.asked, req.Path)
	if e.act != nil {
		e.act()
	}
	a := e.answers[req.Path]
	return a.outcome, a.err
}

func (e *enforcerOf) All() iter.Seq[policy.Rule] { return slices.Values(e.rules) }

func rule(line int, text string) policy.Rule {
	return policy.Rule{Text: text, Position: policy.Position{File: "policies/policy.csv", Line: line, Column: 1}}
}

var (
	reading  = rule(1, "p, reader, /orders, GET")
	spying   = rule(2, "p, reader, /secret, GET, deny")
	writing  = rule(3, "p, writer, /orders, POST")
	roleLink = rule(5, "g, alice, reader")
)

func orders() *enforcerOf {
	return &enforcerOf{
		rules: []policy.Rule{reading, spying, writing, roleLink},
		answers: map[string]answer{
			"/allowed":   {outcome: policy.Outcome{Verdict: policy.Permitted, Rule: reading}},
			"/denied":    {outcome: policy.Outcome{Verdict: policy.Denied, Reason: policy.DeniedByPolicy, Rule: spying}},
			"/nothing":   {outcome: policy.Outcome{Verdict: policy.Denied, Reason: policy.NoMatchingPolicy}},
			"/passed":    {outcome: policy.Outcome{Verdict: policy.Passed}},
			"/broken":    {err: &policy.StageError{Reason: policy.PolicyError, Err: errors.New("no such key")}},
			"/undressed": {err: errors.New("a fault")},
			"/both":      {outcome: policy.Outcome{Verdict: policy.Permitted}, err: errors.New("a fault")},
			"/unheard":   {outcome: policy.Outcome{Verdict: 77}},
		},
	}
}

// stopped is a clock that does not go.
func stopped() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// run runs cases, each written as the fields behind its name and its request.
func run(t testing.TB, e *enforcerOf, cases ...string) *suite.Result {
	t.Helper()
	var text strings.Builder
	text.WriteString("enforcer: orders\ncases:\n")
	for _, c := range cases {
		path, want, _ := strings.Cut(c, " ")
		fmt.Fprintf(&text, "- {name: %q, principal: {id: alice, roles: [a, b]}, request: %q, %s}\n", c, "GET "+path, want)
	}
	result, err := suite.Run(t.Context(), parse(t, text.String()), e, suite.Options{Now: stopped})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestRun(t *testing.T) {
	t.Parallel()
	tests := map[string][]string{ // what is not as expected
		"/allowed want: allow":                    nil,
		"/allowed want: deny":                     {"want deny, got allow"},
		"/allowed want: error":                    {"want error, got allow"},
		"/denied want: deny":                      nil,
		"/denied want: allow":                     {"want allow, got deny"},
		"/denied want: error":                     {"want error, got deny"},
		"/denied want: deny, reason: internal":    {"want the reason internal, got denied_by_policy"},
		"/nothing want: deny":                     nil,
		"/passed want: deny":                      nil, // nothing permitted it
		"/passed want: allow":                     {"want allow, got deny"},
		"/broken want: error":                     nil,
		"/broken want: deny":                      {"want deny, got error"},
		"/broken want: allow":                     {"want allow, got error"},
		"/undressed want: error":                  nil,
		"/undressed want: deny":                   {"want deny, got error"},
		"/both want: allow":                       {"want allow, got error"},
		"/unheard want: allow":                    {"want allow, got deny"},
		"/unknown want: deny":                     nil,
		"/broken want: error, reason: internal":   {"want the reason internal, got policy_error"},
		"/undressed want: error, reason: expired": {"want the reason expired, got internal"},

		"/denied want: deny, reason: denied_by_policy":  nil,
		"/nothing want: deny, reason: denied_by_policy": {"want the reason denied_by_policy, got no_matching_policy"},
		"/denied want: allow, rule: 'p, writer, /orders, POST'": {
			"want allow, got deny", "want the rule p, writer, /orders, POST, got p, reader, /secret, GET, deny",
		},

		"/allowed want: allow, rule: 'p, reader, /orders, GET'":   nil,
		"/allowed want: allow, rule: ' p,reader ,/orders,  GET '": nil,
		"/allowed want: allow, rule: 'policy.csv:1'":              nil,
		"/allowed want: allow, rule: '../policies/policy.csv:1'":  nil,
		"/allowed want: allow, rule: './policy.csv:1'":            nil,
		"/allowed want: allow, rule: 'policy.csv:3'":              {"want the rule policy.csv:3, got p, reader, /orders, GET"},
		"/nothing want: deny, rule: 'policy.csv:3'":               {"want the rule policy.csv:3, got none"},
		"/allowed want: allow, rule: 'policy.csv:10'": {
			"want the rule policy.csv:10, got p, reader, /orders, GET", "the policy has no rule policy.csv:10",
		},
		"/allowed want: allow, rule: 'policies/policy.csv:1'": nil, // as the rule has it
		"/allowed want: allow, rule: '/policies/policy.csv:1'": {
			"want the rule /policies/policy.csv:1, got p, reader, /orders, GET", "the policy has no rule /policies/policy.csv:1",
		},
		"/allowed want: allow, rule: 'p, reader, /orders'": {
			"want the rule p, reader, /orders, got p, reader, /orders, GET", "the policy has no rule p, reader, /orders",
		},
		"/nothing want: deny, rule: ':0'": {"want the rule :0, got none", "the policy has no rule :0"},
	}
	for c, want := range tests {
		result := run(t, orders(), c)
		if len(result.Cases) != 1 {
			t.Fatalf("%s: %d results", c, len(result.Cases))
		}
		got := &result.Cases[0]
		if diff := cmp.Diff(want, got.Faults); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c, diff)
		}
		if got.Failed() != (want != nil) || result.Failed() != len(want[:min(1, len(want))]) {
			t.Errorf("%s: the case failed: %t, %d in all", c, got.Failed(), result.Failed())
		}
		if (got.Got == suite.Error) != (got.Err != nil) || (got.Got == suite.Allow) != (got.Reason == "") {
			t.Errorf("%s: got %s with the reason %q and the error %v", c, got.Got, got.Reason, got.Err)
		}
	}
}

func TestRunMatch(t *testing.T) {
	t.Parallel()
	s := parse(t, "enforcer: e\ncases:\n"+
		"- {name: one, principal: anonymous, request: GET /1, want: deny}\n"+
		"- {name: two, principal: anonymous, request: GET /2, want: deny}\n"+
		"- {name: twenty-one, principal: anonymous, request: GET /21, want: deny}\n")
	for match, want := range map[string][]string{"one": {"/1", "/21"}, "^t": {"/2", "/21"}, "three": nil, "": {"/1", "/2", "/21"}} {
		e := orders()
		result, err := suite.Run(t.Context(), s, e, suite.Options{Match: regexp.MustCompile(match), Now: stopped})
		if err != nil || len(result.Cases) != len(want) || !slices.Equal(e.asked, want) {
			t.Errorf("%q: asked %q, %v", match, e.asked, err)
		}
	}
}

// TestRunEnds: a run that is ended has no result, so that a case that expects an error cannot pass by it.
func TestRunEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	e := orders()
	e.act = cancel
	result, err := suite.Run(ctx, parse(t, good), e, suite.Options{Now: stopped})
	if result != nil || !errors.Is(err, context.Canceled) || len(e.asked) != 1 {
		t.Errorf("asked %q, result %v, error %v", e.asked, result, err)
	}
}

func TestRunMeasures(t *testing.T) {
	t.Parallel()
	now := stopped()
	e := orders()
	e.act = func() { now = now.Add(time.Second) }
	result, err := suite.Run(t.Context(), parse(t, good), e, suite.Options{Now: func() time.Time { return now }})
	if err != nil || result.Elapsed != 2*time.Second || result.Cases[0].Elapsed != time.Second {
		t.Errorf("%+v, %v", result, err)
	}
}

func TestCover(t *testing.T) {
	t.Parallel()
	e := orders()
	all := policy.Rule{Text: "m = true", Position: policy.Position{File: "model.conf", Line: 9}}
	e.answers["/matcher"] = answer{outcome: policy.Outcome{Verdict: policy.Permitted, Rule: all}}
	tests := map[string]struct {
		cases     []string
		reached   int
		unreached []policy.Rule
		percent   float64
	}{
		"one by two cases":  {[]string{"/allowed want: allow", "/allowed want: deny"}, 1, []policy.Rule{spying, writing}, 33.3},
		"two":               {[]string{"/denied want: deny", "/allowed want: allow"}, 2, []policy.Rule{writing}, 66.6},
		"no rule":           {[]string{"/nothing want: deny", "/broken want: error"}, 0, []policy.Rule{reading, spying, writing}, 0},
		"what is no rule":   {[]string{"/matcher want: allow"}, 0, []policy.Rule{reading, spying, writing}, 0},
		"one that was lost": {[]string{"/unknown want: deny"}, 0, []policy.Rule{reading, spying, writing}, 0},
	}
	for name, test := range tests {
		got := suite.Cover(e, []*suite.Result{run(t, e, test.cases[0]), run(t, e, test.cases...)})
		want := &suite.Coverage{Rules: 3, Reached: test.reached, Unreached: test.unreached, Links: []policy.Rule{roleLink}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got.Percent() != test.percent {
			t.Errorf("%s: %v %%; want %v", name, got.Percent(), test.percent)
		}
	}
}

func TestCoverageBounds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reached, rules int
		demanded       float64
		enough         bool
		percent        float64
	}{
		{0, 0, 100, true, 100},
		{0, 1, 0, true, 0},
		{0, 1, 0.1, false, 0},
		{1, 3, 33.3, true, 33.3},
		{1, 3, 33.4, false, 33.3},
		{999_999, 1_000_000, 100, false, 99.9}, // never 100 where one is missing
		{1_000_000, 1_000_000, 100, true, 100},
		{4, 5, 80, true, 80},
		{3, 5, 80, false, 60},
	} {
		c := &suite.Coverage{Rules: test.rules, Reached: test.reached}
		if c.AtLeast(test.demanded) != test.enough || c.Percent() != test.percent {
			t.Errorf("%+v: at least %t, %v %%", test, c.AtLeast(test.demanded), c.Percent())
		}
	}
}

func TestCoverLinks(t *testing.T) {
	t.Parallel()
	e := &enforcerOf{rules: []policy.Rule{rule(1, "g, a, b"), rule(2, "g2, a, b"), rule(3, `"g", a, b`), rule(4, "p, g, g, g"), rule(5, "p2, g"), rule(6, `"p", g`)}}
	c := suite.Cover(e, nil)
	if len(c.Links) != 3 || c.Rules != 3 || !slices.Equal(c.Unreached, e.rules[3:]) {
		t.Errorf("%+v", c)
	}
}
