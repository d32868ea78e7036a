package schema

import (
	"context"

	"github.com/kasbah-authz/kasbah/policy"
)

// Rule is one thing that must hold of a request.
type Rule struct {
	ID string
	// Holds says whether it does. An error denies.
	Holds func(req *policy.Request, principal *policy.Principal) (bool, error)
	// Message is what the caller is told where it does not.
	Message string
	// Reported says that it is only to be reported.
	Reported bool
}

// Rules is the stage that evaluates the rules of one route, behind the Validator and in front of what authorizes.
type Rules struct{ rules []Rule }

// NewRules returns the stage for those rules.
func NewRules(rules []Rule) *Rules { return &Rules{rules} }

// Name returns "rules".
func (*Rules) Name() string { return "rules" }

// Evaluate passes a request of which every rule holds, but for those that are only to be reported. It is an error, and a denial,
// that one cannot be evaluated.
func (r *Rules) Evaluate(_ context.Context, req *policy.Request, principal *policy.Principal) (policy.Outcome, error) {
	var broken, reported []policy.Violation
	for i := range r.rules {
		rule := &r.rules[i]
		holds, err := rule.Holds(req, principal)
		switch {
		case err != nil:
			return policy.Outcome{}, &policy.StageError{Reason: policy.PolicyError, Err: err}
		case holds:
		case rule.Reported:
			reported = append(reported, policy.Violation{Rule: rule.ID, Message: rule.Message})
		default:
			broken = append(broken, policy.Violation{Rule: rule.ID, Message: rule.Message})
		}
	}
	if len(broken) > 0 {
		found := &finding{reason: policy.InvalidRequest, violations: broken[:min(len(broken), maxViolations)]}
		return found.outcome(false), nil
	}
	return policy.Outcome{Verdict: policy.Passed, Violations: reported}, nil
}
