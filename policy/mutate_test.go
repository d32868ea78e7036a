package policy_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kasbah-authz/kasbah/policy"
)

// remover is a stage that permits and takes a header away, as authentication does with a credential.
type remover string

func (remover) Name() string { return "remover" }

func (r remover) Evaluate(context.Context, *policy.Request, *policy.Principal) (policy.Outcome, error) {
	return policy.Outcome{Verdict: policy.Permitted, Remove: []string{string(r)}}, nil
}

// TestSetWinsOverRemove: a route may put a token of its own where the caller's was taken away, and Envoy
// removes after it sets.
func TestSetWinsOverRemove(t *testing.T) {
	inject := policy.Injection{Name: "authorization", Value: func(*policy.Request, *policy.Principal) (string, bool, error) {
		return "Bearer ours", true, nil
	}}
	pipeline, err := policy.NewPipeline([]policy.Route{{
		Name: "all", Matches: []policy.Match{{}}, Stages: []policy.Stage{remover("authorization"), remover("x-other")},
		Headers: []policy.Injection{inject},
	}})
	if err != nil {
		t.Fatal(err)
	}
	d := pipeline.Decide(t.Context(), &policy.Request{Path: "/"})
	if d.Effect != policy.Allow {
		t.Fatalf("decision %+v, want an allow", d)
	}
	if diff := cmp.Diff([]policy.Mutation{{Name: "authorization", Value: "Bearer ours"}}, d.Set); diff != "" {
		t.Errorf("set (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"x-other"}, d.Remove); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
}

// TestQueryParametersAreOurs: a parameter that the route sets is the upstream's only one of that name, in any
// spelling, also where the principal has no value for it.
func TestQueryParametersAreOurs(t *testing.T) {
	value := func(text string) func(*policy.Request, *policy.Principal) (string, bool, error) {
		return func(*policy.Request, *policy.Principal) (string, bool, error) { return text, text != "", nil }
	}
	pipeline, err := policy.NewPipeline([]policy.Route{{
		Name: "all", Matches: []policy.Match{{}}, Stages: []policy.Stage{remover("x")},
		Query: []policy.Injection{{Name: "tenant", Value: value("blue")}, {Name: "user", Value: value("")}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string][]string{
		"":                                nil,
		"a=1&b":                           nil,
		"tenant=red":                      nil, // replaced
		"tenant=red&%74enant=red":         {"%74enant"},
		"user=eve&us%65r=eve&USER=eve":    {"user", "us%65r"},
		"x=user&=&&user":                  {"user"},
		"%75%73%65%72=eve&a=%75%73%65%72": {"%75%73%65%72"},
	} {
		d := pipeline.Decide(t.Context(), &policy.Request{Path: "/", Query: query})
		if diff := cmp.Diff(want, d.RemoveQuery); d.Effect != policy.Allow || diff != "" {
			t.Errorf("query %q: %s, removed (-want +got):\n%s", query, d.Effect, diff)
		}
	}
	for _, query := range []string{"a=1;user=eve", "%zz=1", "%7"} {
		d := pipeline.Decide(t.Context(), &policy.Request{Path: "/", Query: query})
		if d.Effect != policy.Deny || d.Reason != policy.InvalidRequest {
			t.Errorf("query %q: %s, %s; want it refused", query, d.Effect, d.Reason)
		}
	}
}

// TestAliasThatWeSetStays: of two injected names that are spellings of each other, a client that sends one must
// not have ours removed.
func TestAliasThatWeSetStays(t *testing.T) {
	p := pipeline(t, policy.Route{Stages: []policy.Stage{permitting}, Headers: []policy.Injection{inject("x-user", "a"), inject("x_user", "a")}})
	d := p.Decide(t.Context(), &policy.Request{Path: "/", Headers: policy.Headers{{Name: "x_user", Value: "root"}}})
	if len(d.Set) != 2 || len(d.Remove) != 0 {
		t.Errorf("set %v, removed %v; want both set and none removed", d.Set, d.Remove)
	}
}
