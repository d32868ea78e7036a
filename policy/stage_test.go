package policy_test

import (
	"context"

	"github.com/kasbah-authz/kasbah/policy"
)

// stage answers what the test says. act, where there is one, is called before it does.
type stage struct {
	name    string
	outcome policy.Outcome
	err     error
	act     func(req *policy.Request, principal *policy.Principal)
}

func (s stage) Name() string { return s.name }

func (s stage) Evaluate(_ context.Context, req *policy.Request, principal *policy.Principal) (policy.Outcome, error) {
	if s.act != nil {
		s.act(req, principal)
	}
	return s.outcome, s.err
}

// inject gives a header a fixed value.
func inject(name, value string) policy.Injection {
	return policy.Injection{Name: name, Value: func(*policy.Request, *policy.Principal) (string, bool, error) { return value, true, nil }}
}

func absent(name string) policy.Injection {
	return policy.Injection{Name: name, Value: func(*policy.Request, *policy.Principal) (string, bool, error) { return "", false, nil }}
}
