package policy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
)

var (
	passing    = stage{name: "passing", outcome: policy.Outcome{Verdict: policy.Passed}}
	permitting = stage{name: "permitting", outcome: policy.Outcome{Verdict: policy.Permitted}}
)

func denying(reason policy.Reason) stage {
	return stage{name: "denying", outcome: policy.Outcome{Reason: reason}}
}

func failing(err error) stage { return stage{name: "failing", err: err} }

// pipeline has one route, for everything.
func pipeline(t testing.TB, route policy.Route) *policy.Pipeline {
	t.Helper()
	route.Name = "all"
	route.Matches = []policy.Match{{}}
	p, err := policy.NewPipeline([]policy.Route{route})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDecide(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	tests := map[string]struct {
		stages []policy.Stage
		effect policy.Effect
		reason policy.Reason
		stage  string
		err    error
	}{
		"no stages":             {reason: policy.NoMatchingPolicy},
		"only passed":           {stages: []policy.Stage{passing, passing}, reason: policy.NoMatchingPolicy},
		"permitted":             {stages: []policy.Stage{permitting}, effect: policy.Allow, reason: policy.NoReason},
		"permitted and passed":  {stages: []policy.Stage{permitting, passing}, effect: policy.Allow, reason: policy.NoReason},
		"permitted, then not":   {stages: []policy.Stage{permitting, denying(policy.SourceBlocked)}, reason: policy.SourceBlocked, stage: "denying"},
		"denied, then not":      {stages: []policy.Stage{denying(policy.Expired), permitting}, reason: policy.Expired, stage: "denying"},
		"the zero outcome":      {stages: []policy.Stage{permitting, stage{name: "zero"}}, reason: policy.Internal, stage: "zero"},
		"no such verdict":       {stages: []policy.Stage{permitting, stage{name: "odd", outcome: policy.Outcome{Verdict: 77, Reason: policy.RateLimited}}}, reason: policy.RateLimited, stage: "odd"},
		"denied without reason": {stages: []policy.Stage{denying(policy.NoReason)}, reason: policy.Internal, stage: "denying"},
		"no such reason":        {stages: []policy.Stage{denying(policy.Reason(200))}, reason: policy.Internal, stage: "denying"},
		"an error":              {stages: []policy.Stage{permitting, failing(broken)}, reason: policy.Internal, stage: "failing", err: broken},
		"a reasoned error": {
			stages: []policy.Stage{permitting, failing(&policy.StageError{Reason: policy.PolicyError, Err: broken})},
			reason: policy.PolicyError, stage: "failing", err: broken,
		},
		"a reasoned error, wrapped": {
			stages: []policy.Stage{failing(fmt.Errorf("asking: %w", &policy.StageError{Reason: policy.Unavailable, Err: broken}))},
			reason: policy.Unavailable, stage: "failing", err: broken,
		},
		"an error that reasons to allow": {
			stages: []policy.Stage{permitting, failing(&policy.StageError{Reason: policy.NoReason, Err: broken})},
			reason: policy.Internal, stage: "failing", err: broken,
		},
		"an error beside permitted": {
			stages: []policy.Stage{stage{name: "both", outcome: policy.Outcome{Verdict: policy.Permitted}, err: broken}},
			reason: policy.Internal, stage: "both", err: broken,
		},
	}
	for name, test := range tests {
		d := pipeline(t, policy.Route{Stages: test.stages}).Decide(t.Context(), &policy.Request{Path: "/"})
		if d.Effect != test.effect || d.Reason != test.reason || d.Stage != test.stage || d.Route != "all" || d.Principal == nil {
			t.Errorf("%s: %+v", name, d)
		}
		if !errors.Is(d.Err, test.err) {
			t.Errorf("%s: the error is %v; want %v", name, d.Err, test.err)
		}
	}
}

func TestWouldWait(t *testing.T) {
	t.Parallel()
	wait := failing(fmt.Errorf("asking the issuer: %w", policy.ErrWouldWait))
	d := pipeline(t, policy.Route{Stages: []policy.Stage{permitting, wait}}).Decide(t.Context(), &policy.Request{Path: "/", NoWait: true})
	if !d.WouldWait || d.Effect != policy.Deny || d.Reason != policy.Unavailable || d.Err != nil {
		t.Errorf("%+v", d)
	}
}

func TestPanics(t *testing.T) {
	t.Parallel()
	bomb := stage{name: "bomb", outcome: policy.Outcome{Verdict: policy.Permitted}, act: func(req *policy.Request, _ *policy.Principal) {
		if req.Method == "BOOM" {
			panic("boom")
		}
	}}
	fuse := func(req *policy.Request, _ *policy.Principal) (string, bool, error) {
		if req.Method == "FUSE" {
			panic(errors.New("fuse"))
		}
		return "v", true, nil
	}
	for _, route := range []policy.Route{
		{Stages: []policy.Stage{permitting, bomb}, Headers: []policy.Injection{{Name: "x", Value: fuse}}},
		{Stages: []policy.Stage{permitting, bomb}, Query: []policy.Injection{{Name: "x", Value: fuse}}},
		{Stages: []policy.Stage{permitting, bomb}, Response: []policy.Injection{{Name: "x", Value: fuse}}},
	} {
		p := pipeline(t, route)
		for method, stage := range map[string]string{"BOOM": "bomb", "FUSE": ""} {
			d := p.Decide(t.Context(), &policy.Request{Path: "/", Method: method})
			var caught *policy.PanicError
			if d.Effect != policy.Deny || d.Reason != policy.Internal || d.Stage != stage || !errors.As(d.Err, &caught) {
				t.Fatalf("%s: %+v", method, d)
			}
			if len(caught.Stack) == 0 || !strings.Contains(d.Err.Error(), strings.ToLower(method)) || !unchanged(d) {
				t.Errorf("%s: %v with a stack of %d bytes", method, d.Err, len(caught.Stack))
			}
			if next := p.Decide(t.Context(), &policy.Request{Path: "/", Method: "GET"}); next.Effect != policy.Allow {
				t.Errorf("the request after %s: %+v", method, next)
			}
		}
	}
	nobody := pipeline(t, policy.Route{Stages: []policy.Stage{nil}})
	if d := nobody.Decide(t.Context(), &policy.Request{Path: "/"}); d.Effect != policy.Deny || d.Reason != policy.Internal {
		t.Errorf("a nil stage: %+v", d)
	}
	if d := nobody.Decide(t.Context(), nil); d.Effect != policy.Deny || d.Reason != policy.Internal || d.Principal == nil {
		t.Errorf("a nil request: %+v", d)
	}
}

// unchanged reports that a decision changes nothing upstream.
func unchanged(d policy.Decision) bool {
	return d.Set == nil && d.Remove == nil && d.Query == nil && d.RemoveQuery == nil && d.Response == nil
}

func TestPrincipalAndRule(t *testing.T) {
	t.Parallel()
	alice := &policy.Principal{ID: "alice", Provider: "corp"}
	rule := policy.Rule{Text: "p, alice", Position: policy.Position{File: "a.csv", Line: 3}}
	var seen []*policy.Principal
	look := func(_ *policy.Request, principal *policy.Principal) { seen = append(seen, principal) }
	p := pipeline(t, policy.Route{Stages: []policy.Stage{
		stage{name: "a", act: look, outcome: policy.Outcome{Verdict: policy.Passed, Principal: alice, Remove: []string{"authorization"}}},
		stage{name: "b", act: look, outcome: policy.Outcome{Verdict: policy.Permitted, Rule: rule}},
		stage{name: "c", act: look, outcome: policy.Outcome{Verdict: policy.Passed, Remove: []string{"x-key"}}},
	}})
	d := p.Decide(t.Context(), &policy.Request{Path: "/"})
	if len(seen) != 3 || seen[0] == nil || !seen[0].Anonymous() || seen[1] != alice || seen[2] != alice {
		t.Errorf("the stages saw %v", seen)
	}
	if d.Effect != policy.Allow || d.Principal != alice || d.Rule != rule || !slices.Equal(d.Remove, []string{"authorization", "x-key"}) {
		t.Errorf("%+v", d)
	}
	denial := pipeline(t, policy.Route{Stages: []policy.Stage{
		stage{name: "a", outcome: policy.Outcome{Verdict: policy.Permitted, Principal: alice, Remove: []string{"authorization"}}},
		stage{name: "b", outcome: policy.Outcome{Reason: policy.DeniedByPolicy, Rule: rule, Challenges: []string{"Bearer"}, Detail: "why", Remove: []string{"x"}}},
	}, Headers: []policy.Injection{inject("x-user", "alice")}}).Decide(t.Context(), &policy.Request{Path: "/"})
	if !unchanged(denial) || denial.Principal != alice || denial.Rule != rule || denial.Detail != "why" || !slices.Equal(denial.Challenges, []string{"Bearer"}) {
		t.Errorf("%+v", denial)
	}
}

// TestResponseOfStages: what a stage has for the caller arrives whatever becomes of the request, and what the route sets goes before it.
func TestResponseOfStages(t *testing.T) {
	t.Parallel()
	nonce := policy.Mutation{Name: "dpop-nonce", Value: "n"}
	for _, c := range []struct {
		last   policy.Outcome
		effect policy.Effect
		want   []policy.Mutation
	}{
		{policy.Outcome{Verdict: policy.Permitted}, policy.Allow, []policy.Mutation{{Name: "x-route", Value: "route"}, nonce}},
		{policy.Outcome{Reason: policy.DeniedByPolicy, Response: []policy.Mutation{{Name: "x-last", Value: "last"}}}, policy.Deny, []policy.Mutation{nonce, {Name: "x-route", Value: "stage"}, {Name: "x-last", Value: "last"}}},
	} {
		d := pipeline(t, policy.Route{
			Stages: []policy.Stage{
				stage{name: "a", outcome: policy.Outcome{Verdict: policy.Passed, Response: []policy.Mutation{nonce, {Name: "x-route", Value: "stage"}}}},
				stage{name: "b", outcome: c.last},
			},
			Response: []policy.Injection{inject("x-route", "route")},
		}).Decide(t.Context(), &policy.Request{Path: "/"})
		if d.Effect != c.effect || !slices.Equal(d.Response, c.want) {
			t.Errorf("%+v", d)
		}
	}
}

func TestOwnedHeaders(t *testing.T) {
	t.Parallel()
	p, err := policy.NewPipeline([]policy.Route{
		{Name: "user", Matches: []policy.Match{{Path: "/user"}}, Stages: []policy.Stage{permitting}, Headers: []policy.Injection{inject("x-user", "alice"), absent("x-role")}},
		{Name: "tenant", Matches: []policy.Match{{Path: "/tenant"}}, Stages: []policy.Stage{permitting}, Headers: []policy.Injection{inject("x-tenant-id", "t")}},
		{Name: "public", Matches: []policy.Match{{Path: "/public"}}, Stages: []policy.Stage{permitting}, Response: []policy.Injection{inject("x-answer", "42")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	forged := policy.Headers{
		{Name: "x-user", Value: "root"},
		{Name: "x_user", Value: "root"},
		{Name: "x.user", Value: "root"},
		{Name: "x-tenant-id", Value: "other"},
		{Name: "x_tenant-id", Value: "other"},
		{Name: "x-tenant.id", Value: "other"},
		{Name: "x-userx", Value: "mine"},
		{Name: "xuser", Value: "mine"},
		{Name: "x-answer", Value: "mine"},
	}
	for path, want := range map[string]struct {
		set    []policy.Mutation
		remove []string
	}{
		"/user":   {[]policy.Mutation{{Name: "x-user", Value: "alice"}}, []string{"x-role", "x-tenant-id", "x-tenant.id", "x.user", "x_tenant-id", "x_user"}},
		"/tenant": {[]policy.Mutation{{Name: "x-tenant-id", Value: "t"}}, []string{"x-role", "x-tenant.id", "x-user", "x.user", "x_tenant-id", "x_user"}},
		"/public": {nil, []string{"x-role", "x-tenant-id", "x-tenant.id", "x-user", "x.user", "x_tenant-id", "x_user"}},
	} {
		d := p.Decide(t.Context(), &policy.Request{Path: path, Headers: forged})
		remove := slices.Sorted(slices.Values(d.Remove))
		if d.Effect != policy.Allow || !slices.Equal(d.Set, want.set) || !slices.Equal(remove, want.remove) {
			t.Errorf("%s: %v, set %v, remove %v", path, d.Effect, d.Set, remove)
		}
	}
}

func TestInjectedValues(t *testing.T) {
	t.Parallel()
	req := &policy.Request{Path: "/"}
	allowed := func(value string) bool {
		t.Helper()
		results := map[policy.Effect]bool{}
		for _, route := range []policy.Route{
			{Headers: []policy.Injection{inject("x-v", value)}}, {Query: []policy.Injection{inject("x-v", value)}}, {Response: []policy.Injection{inject("x-v", value)}},
		} {
			route.Stages = []policy.Stage{permitting}
			d := pipeline(t, route).Decide(t.Context(), req)
			results[d.Effect] = true
			if set := slices.Concat(d.Set, d.Query, d.Response); d.Effect == policy.Allow && (len(set) != 1 || set[0].Value != value) {
				t.Errorf("%.20q became %v", value, set)
			}
			if d.Effect == policy.Deny && (d.Reason != policy.PolicyError || !unchanged(d) || d.Err == nil) {
				t.Errorf("%.20q: %+v", value, d)
			}
			if d.Detail != "" && strings.Contains(d.Detail, "s3cret") {
				t.Errorf("the detail quotes the value: %s", d.Detail)
			}
		}
		if len(results) != 1 {
			t.Errorf("%.20q: the three kinds differ", value)
		}
		return results[policy.Allow]
	}
	for c := range 256 {
		printable := c >= 0x20 && c <= 0x7e
		for value, want := range map[string]bool{
			"s3cret" + string([]byte{byte(c)}) + "b": printable,
			string([]byte{byte(c)}):                  printable && c != ' ',
			string([]byte{byte(c)}) + "s3cret":       printable && c != ' ',
			"s3cret" + string([]byte{byte(c)}):       printable && c != ' ',
		} {
			if got := allowed(value); got != want {
				t.Errorf("%q is allowed: %v", value, got)
			}
		}
	}
	for value, want := range map[string]bool{
		"": true, strings.Repeat("a", 4<<10): true, strings.Repeat("a", 4<<10+1): false, "é": false, "a\r\nx-admin: 1": false, "a, b": true,
	} {
		if got := allowed(value); got != want {
			t.Errorf("%.20q of %d bytes is allowed: %v", value, len(value), got)
		}
	}
}

// fault is what one step of a generated route does. The first that is not harmless decides.
type fault struct {
	Name string
	// Reasons are those that the decision may then have; none for a step that does no harm.
	Reasons []policy.Reason
	Permits bool
	build   func(cancel context.CancelFunc) stage
}

var faults = []fault{
	{Name: "pass", build: func(context.CancelFunc) stage { return passing }},
	{Name: "permit", Permits: true, build: func(context.CancelFunc) stage { return permitting }},
	{Name: "deny", Reasons: []policy.Reason{policy.DeniedByPolicy}, build: func(context.CancelFunc) stage { return denying(policy.DeniedByPolicy) }},
	{Name: "zero", Reasons: []policy.Reason{policy.Internal}, build: func(context.CancelFunc) stage { return stage{name: "zero"} }},
	{Name: "error", Reasons: []policy.Reason{policy.Internal}, build: func(context.CancelFunc) stage { return failing(errors.New("e")) }},
	{Name: "panic", Reasons: []policy.Reason{policy.Internal}, build: func(context.CancelFunc) stage {
		return stage{name: "panic", act: func(*policy.Request, *policy.Principal) { panic("p") }}
	}},
	{Name: "wait", Reasons: []policy.Reason{policy.Unavailable}, build: func(context.CancelFunc) stage { return failing(policy.ErrWouldWait) }},
	{Name: "late permit", Reasons: []policy.Reason{policy.Deadline}, build: func(cancel context.CancelFunc) stage {
		return stage{name: "late", outcome: policy.Outcome{Verdict: policy.Permitted}, act: func(*policy.Request, *policy.Principal) { cancel() }}
	}},
	{Name: "late pass", Reasons: []policy.Reason{policy.Deadline}, build: func(cancel context.CancelFunc) stage {
		return stage{name: "late", outcome: policy.Outcome{Verdict: policy.Passed}, act: func(*policy.Request, *policy.Principal) { cancel() }}
	}},
	{Name: "late error", Reasons: []policy.Reason{policy.Deadline}, build: func(cancel context.CancelFunc) stage {
		return stage{name: "late", err: context.Canceled, act: func(*policy.Request, *policy.Principal) { cancel() }}
	}},
	{Name: "late denial", Reasons: []policy.Reason{policy.Expired}, build: func(cancel context.CancelFunc) stage {
		return stage{name: "late", outcome: policy.Outcome{Reason: policy.Expired}, act: func(*policy.Request, *policy.Principal) { cancel() }}
	}},
}

// Injection faults come after every stage.
var injectionFaults = map[string]struct {
	reason policy.Reason // NoReason: does no harm
	value  func(cancel context.CancelFunc) (string, bool, error)
}{
	"value":  {policy.NoReason, func(context.CancelFunc) (string, bool, error) { return "v", true, nil }},
	"absent": {policy.NoReason, func(context.CancelFunc) (string, bool, error) { return "", false, nil }},
	"error":  {policy.PolicyError, func(context.CancelFunc) (string, bool, error) { return "v", true, errors.New("e") }},
	"line":   {policy.PolicyError, func(context.CancelFunc) (string, bool, error) { return "v\r\n", true, nil }},
	"panic":  {policy.Internal, func(context.CancelFunc) (string, bool, error) { panic("p") }},
	"late":   {policy.Deadline, func(cancel context.CancelFunc) (string, bool, error) { cancel(); return "v", true, nil }},
}

// Whatever the stages do, in whatever order, an allow means that none denied, none failed, one permitted and
// nobody was late; and a denial has the reason of the first that was not harmless.
func TestNoFaultAllows(t *testing.T) {
	t.Parallel()
	allowed, denied := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var reasons []policy.Reason
		permits := false
		if rapid.IntRange(0, 9).Draw(t, "expired") == 0 {
			cancel()
			reasons = []policy.Reason{policy.Deadline}
		}
		route := policy.Route{Name: "r", Matches: []policy.Match{{}}}
		steps := rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom(faults[:2]), rapid.SampledFrom(faults)), 0, 5).Draw(t, "steps")
		for _, step := range steps {
			route.Stages = append(route.Stages, step.build(cancel))
			permits = permits || step.Permits
			if reasons == nil {
				reasons = step.Reasons
			}
		}
		if len(steps) == 0 || reasons == nil && !permits {
			reasons = []policy.Reason{policy.NoMatchingPolicy}
		}
		late := slices.Equal(reasons, []policy.Reason{policy.Deadline})
		var injected []policy.Reason
		for i, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"value", "absent", "value", "error", "line", "panic", "late"}), 0, 3).Draw(t, "headers") {
			kind := injectionFaults[name]
			route.Headers = append(route.Headers, policy.Injection{Name: fmt.Sprintf("x-%d", i), Value: func(*policy.Request, *policy.Principal) (string, bool, error) {
				return kind.value(cancel)
			}})
			if kind.reason != policy.NoReason {
				injected = append(injected, kind.reason)
			}
		}
		switch {
		case reasons == nil:
			reasons = expected(injected)
		case late: // the last stage was late, so the injections were still asked, and may fail first
			reasons = append(slices.Clone(reasons), injected...)
		}
		p, err := policy.NewPipeline([]policy.Route{route})
		if err != nil {
			t.Fatal(err)
		}
		d := p.Decide(ctx, &policy.Request{Path: "/", Headers: policy.Headers{{Name: "x_0", Value: "forged"}}})
		if reasons == nil {
			allowed++
			checkAllow(t, route, d)
			return
		}
		denied++
		if late && !permits && d.Reason == policy.NoMatchingPolicy {
			return // late, and it would not have been allowed anyway
		}
		if d.Effect != policy.Deny || !slices.Contains(reasons, d.Reason) || !unchanged(d) || d.Principal == nil {
			t.Fatalf("%v: %+v; want one of %v", steps, d, reasons)
		}
	})
	if allowed < 5 || denied < 20 {
		t.Errorf("only %d allows and %d denials were seen", allowed, denied)
	}
}

// expected are the reasons that failed injections may give: the first one's, or, where that one was only late, its
// own or the next one's.
func expected(injected []policy.Reason) []policy.Reason {
	for i, reason := range injected {
		if reason != policy.Deadline {
			return injected[i : i+1]
		}
	}
	if len(injected) > 0 {
		return injected[:1]
	}
	return nil
}

func checkAllow(t *rapid.T, route policy.Route, d policy.Decision) {
	if d.Effect != policy.Allow || d.Reason != policy.NoReason || d.Err != nil || d.Stage != "" || d.WouldWait {
		t.Fatalf("%+v; want an allow", d)
	}
	for _, injection := range route.Headers {
		set := slices.ContainsFunc(d.Set, func(m policy.Mutation) bool { return m.Name == injection.Name })
		if set == slices.Contains(d.Remove, injection.Name) {
			t.Fatalf("%s is set: %v, in %+v", injection.Name, set, d)
		}
	}
	if len(route.Headers) > 0 && !slices.Contains(d.Remove, "x_0") {
		t.Fatalf("x_0 stays: %+v", d)
	}
}

// The deadline holds before, within and after each stage, for one that has passed as for one that is cancelled.
func TestDeadline(t *testing.T) {
	t.Parallel()
	for at := range 4 {
		ctx, cancel := context.WithCancelCause(t.Context())
		calls := 0
		var stages []policy.Stage
		for i := range 3 {
			stages = append(stages, stage{name: fmt.Sprint(i), outcome: policy.Outcome{Verdict: policy.Permitted}, act: func(*policy.Request, *policy.Principal) {
				calls++
				if i == at-1 {
					cancel(context.DeadlineExceeded)
				}
			}})
		}
		if at == 0 {
			cancel(context.DeadlineExceeded)
		}
		d := pipeline(t, policy.Route{Stages: stages, Headers: []policy.Injection{inject("x", "v")}}).Decide(ctx, &policy.Request{Path: "/"})
		if d.Effect != policy.Deny || d.Reason != policy.Deadline || !unchanged(d) {
			t.Errorf("cancelled at %d: %+v", at, d)
		}
		if calls != at {
			t.Errorf("cancelled at %d: %d stages were asked", at, calls)
		}
		cancel(nil)
	}
}

// Decide does not change its routes: the same request has the same decision, whatever came between.
func TestDecideIsPure(t *testing.T) {
	t.Parallel()
	p := pipeline(t, policy.Route{Stages: []policy.Stage{
		stage{name: "s", outcome: policy.Outcome{Verdict: policy.Permitted, Remove: make([]string, 1, 8)}},
	}, Headers: []policy.Injection{inject("x-user", "alice"), absent("x-role")}})
	ask := func(headers ...string) policy.Decision {
		req := &policy.Request{Path: "/"}
		for _, name := range headers {
			req.Headers = append(req.Headers, policy.Header{Name: name})
		}
		return p.Decide(t.Context(), req)
	}
	first := ask("x_user", "x.user")
	ask("x_role", "x.role", "x_user")
	if diff := cmp.Diff(first, ask("x_user", "x.user")); diff != "" {
		t.Errorf("the second time (-first +second):\n%s", diff)
	}
	if want := []string{"", "x_user", "x.user", "x-role"}; !slices.Equal(first.Remove, want) {
		t.Errorf("the first decision now removes %q; want %q", first.Remove, want)
	}
}
