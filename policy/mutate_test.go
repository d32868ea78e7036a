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
