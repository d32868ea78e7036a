package keys

import (
	"context"
	"errors"
	"slices"

	"github.com/kasbah-authz/kasbah/policy"
)

// Authenticator is the [policy.Stage] that says who is calling. It never permits: it passes the request on
// with its principal, or denies it.
type Authenticator struct {
	methods    []method
	remove     map[*Provider][]string // headers that the upstream must not see, by who accepted the caller
	challenges []string               // for a request without any credential
}

// method is one way to say who is calling.
type method interface {
	// authenticate looks for its credential in the request. The error is a refusal, [errMissing] where there is no such
	// credential; or [policy.ErrWouldWait], a [*policy.StageError], or it wraps the context's.
	authenticate(ctx context.Context, req *policy.Request) (*policy.Principal, *Provider, error)
	// challenge is what a caller is told whose credential is missing, or not good (RFC 9110, section 11.6.1).
	challenge(reason policy.Reason) string
}

// NewAuthenticator returns a stage that accepts a credential which any of the providers vouches for. They are asked in this
// order, those for bearer tokens together where the first of them stands; the first that accepts makes the principal. The
// upstream sees no credential that is for any of them, but what the provider that accepted forwards.
func NewAuthenticator(providers []*Provider) *Authenticator {
	a := &Authenticator{remove: map[*Provider][]string{}}
	var tokens *bearers
	for _, p := range providers {
		a.remove[p] = removed(p, providers)
		switch {
		case p.apiKeys != nil:
			a.methods = append(a.methods, &apiKeyHeader{p})
		case tokens == nil:
			tokens = &bearers{providers: []*Provider{p}}
			a.methods = append(a.methods, tokens)
		default:
			tokens.providers = append(tokens.providers, p)
		}
	}
	if len(a.methods) == 0 {
		a.methods = []method{&bearers{}} // which accepts nobody
	}
	for _, m := range a.methods {
		if challenge := m.challenge(policy.MissingCredential); !slices.Contains(a.challenges, challenge) {
			a.challenges = append(a.challenges, challenge)
		}
	}
	return a
}

// removed returns the headers that the upstream must not see when one of the providers has accepted the caller.
func removed(accepted *Provider, providers []*Provider) []string {
	var headers []string
	for _, p := range providers {
		kept := p.forward && p == accepted || accepted.forward && p.header == accepted.header
		if !kept && !slices.Contains(headers, p.header) {
			headers = append(headers, p.header)
		}
	}
	return headers
}

// Name returns "authenticate".
func (a *Authenticator) Name() string { return "authenticate" }

// Evaluate implements [policy.Stage]. Where no provider accepts the caller, the reason is that of the credential which got
// farthest through its checks. What cannot be judged, because a key set was never fetched, is a [*policy.StageError] with
// [policy.Unavailable], unless another provider accepts the caller.
func (a *Authenticator) Evaluate(ctx context.Context, req *policy.Request, _ *policy.Principal) (policy.Outcome, error) {
	denied := policy.Outcome{
		Verdict: policy.Denied, Reason: policy.MissingCredential, Challenges: a.challenges, Detail: errMissing.Error(),
	}
	farthest := 0
	var unavailable error
	for _, m := range a.methods {
		principal, by, err := m.authenticate(ctx, req)
		switch {
		case err == nil:
			return policy.Outcome{Verdict: policy.Passed, Principal: principal, Remove: a.remove[by]}, nil
		case errors.Is(err, errNeverFetched):
			unavailable = err
			continue
		}
		reason, rank, refused := refusal(err)
		if !refused {
			return policy.Outcome{}, err
		}
		if rank > farthest {
			farthest = rank
			denied.Reason, denied.Challenges, denied.Detail = reason, []string{m.challenge(reason)}, err.Error()
		}
	}
	if unavailable != nil {
		return policy.Outcome{}, unavailable
	}
	return denied, nil
}
