package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kasbah-authz/kasbah/policy"
)

// What a stage found wrong is told where it denies, and reported where it does not.
func TestViolations(t *testing.T) {
	t.Parallel()
	found := []policy.Violation{{Field: "amount", Rule: "int64.gt", Message: "must be greater than 0"}}
	reports := stage{name: "reports", outcome: policy.Outcome{Verdict: policy.Passed, Violations: found}}
	denies := stage{name: "denies", outcome: policy.Outcome{Reason: policy.InvalidRequest, Violations: found}}
	for name, test := range map[string]struct {
		stages         []policy.Stage
		effect         policy.Effect
		told, reported []policy.Violation
	}{
		"denied":               {[]policy.Stage{permitting, denies}, policy.Deny, found, nil},
		"reported":             {[]policy.Stage{reports, permitting}, policy.Allow, nil, found},
		"reported, and denied": {[]policy.Stage{reports, denying(policy.DeniedByPolicy)}, policy.Deny, nil, found},
	} {
		d := pipeline(t, policy.Route{Stages: test.stages}).Decide(t.Context(), &policy.Request{Path: "/"})
		if d.Effect != test.effect || !cmp.Equal(d.Violations, test.told) || !cmp.Equal(d.Reported, test.reported) {
			t.Errorf("%s: %s, told %v, reported %v", name, d.Effect, d.Violations, d.Reported)
		}
	}
}

// What validation read is there for the stages behind it, and for no other decision.
func TestParsed(t *testing.T) {
	t.Parallel()
	seen := func(want bool) stage {
		s := permitting
		s.act = func(req *policy.Request, _ *policy.Principal) {
			if (req.Parsed != nil) != want {
				t.Errorf("there is a body: %v, want %v", req.Parsed != nil, want)
			}
		}
		return s
	}
	reads := stage{name: "reads", outcome: policy.Outcome{Verdict: policy.Passed, Parsed: func() (any, error) { return "body", nil }}}
	p := pipeline(t, policy.Route{Stages: []policy.Stage{seen(false), reads, passing, seen(true)}})
	req := &policy.Request{Path: "/", Parsed: func() (any, error) { return "forged", nil }}
	for range 2 { // also where the request is decided again
		if d := p.Decide(t.Context(), req); d.Effect != policy.Allow {
			t.Error(d)
		}
	}
}
