package server

import (
	"context"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// Explanation says how a decision about one request comes about.
type Explanation struct {
	Decision policy.Decision
	// Steps are what each stage of the route did that was asked.
	Steps []policy.Step
	// Authorize is what the route's enforcer says, nil where it was not asked.
	Authorize *enforcer.Explanation
}

// Explain decides about a request of a principal who is taken to be who it says, as a Server of that configuration would
// once it has established that, and says why. Of the Config it needs what Lint needs. If a finding is an error, there is no
// Explanation.
func Explain(ctx context.Context, cfg Config, req *policy.Request, principal *policy.Principal) (*Explanation, policy.Findings) {
	snapshot, findings := compileOnce(ctx, cfg, &assumed{principal})
	if snapshot == nil {
		return nil, findings
	}
	x := &Explanation{}
	x.Decision, x.Steps = snapshot.pipeline.Explain(ctx, req)
	for _, step := range x.Steps {
		if e, ok := step.Stage.(*enforcer.Enforcer); ok {
			x.Authorize = e.Explain(ctx, req, step.Principal)
		}
	}
	return x, findings
}

// assumed stands in for the stage that authenticates: the caller is who it is said to be.
type assumed struct{ principal *policy.Principal }

// Name returns "authenticate".
func (*assumed) Name() string { return "authenticate" }

// Evaluate passes on the principal.
func (a *assumed) Evaluate(context.Context, *policy.Request, *policy.Principal) (policy.Outcome, error) {
	return policy.Outcome{Verdict: policy.Passed, Principal: a.principal}, nil
}
