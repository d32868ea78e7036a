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
	methods    []method // one of them must accept
	also       []method // each of them must accept
	anonymous  *policy.Principal
	revoked    *Revocations
	withheld   map[*Provider]*withheld // by who accepted the caller, nil for nobody
	challenges []string                // for a request without any credential
}

// method is one way to say who is calling.
type method interface {
	// authenticate looks for its credential in the request. The error is a refusal, [errMissing] where there is no such
	// credential; or [policy.ErrWouldWait], a [*policy.StageError], or it wraps the context's.
	authenticate(ctx context.Context, req *policy.Request) (*policy.Principal, *Provider, error)
	// challenge is what a caller is told whose credential is missing, or not good (RFC 9110, section 11.6.1).
	challenge(reason policy.Reason) string
}

// Demand is what an Authenticator asks for beside the providers of which one must accept the caller.
type Demand struct {
	// Also are providers of which each must accept the caller too. They do not change the principal.
	Also []*Provider
	// Anonymous is the id of the principal of a caller that shows none of the credentials that the providers are for; empty:
	// such a caller is denied. One that shows a credential which is not good is denied in any case.
	Anonymous string
	// Revoked are credentials that no provider's word helps any more.
	Revoked *Revocations
}

// NewAuthenticator returns a stage that accepts a credential which any of the providers vouches for. They are asked in this
// order, those for tokens from the same places together where the first of them stands; the first that accepts makes the
// principal. The upstream sees no credential that is for any of them, but what a provider that accepted forwards.
func NewAuthenticator(providers []*Provider, demands ...Demand) *Authenticator {
	a := &Authenticator{methods: methods(providers), withheld: map[*Provider]*withheld{}}
	var also []*Provider
	for _, demand := range demands {
		also = append(also, demand.Also...)
		if demand.Revoked != nil {
			a.revoked = demand.Revoked
		}
		if demand.Anonymous != "" {
			a.anonymous = &policy.Principal{ID: demand.Anonymous}
		}
	}
	for _, p := range also {
		a.also = append(a.also, methods([]*Provider{p})...)
	}
	all := slices.Concat(providers, also)
	a.withheld[nil] = withhold(all, also)
	for _, p := range providers {
		a.withheld[p] = withhold(all, append(slices.Clone(also), p))
	}
	if len(a.methods) == 0 {
		a.methods = []method{&bearers{from: bearerLocations, possession: &possession{}}} // which accepts nobody
	}
	for _, m := range slices.Concat(a.methods, a.also) {
		for _, challenge := range offers(m) {
			if !slices.Contains(a.challenges, challenge) {
				a.challenges = append(a.challenges, challenge)
			}
		}
	}
	return a
}

// offers are the challenges of a method for a caller that shows no credential.
func offers(m method) []string {
	if m, several := m.(interface{ offers() []string }); several {
		return m.offers()
	}
	return []string{m.challenge(policy.MissingCredential)}
}

// methods returns how the providers are asked.
func methods(providers []*Provider) []method {
	var all []method
	for _, p := range providers {
		switch {
		case p.apiKeys != nil:
			all = append(all, &apiKeyMethod{p})
			continue
		case p.introspection != nil:
			all = append(all, &opaque{p})
			continue
		case p.basic != nil:
			all = append(all, &basicMethod{p})
			continue
		case p.signatures != nil:
			all = append(all, &signatureMethod{p})
			continue
		case p.certificates != nil:
			all = append(all, &certificateMethod{p})
			continue
		}
		i := slices.IndexFunc(all, func(m method) bool {
			b, ok := m.(*bearers)
			return ok && slices.Equal(b.from, p.from) && slices.Equal(b.offers(), p.possession.offers())
		})
		if i < 0 {
			all = append(all, &bearers{from: p.from, providers: []*Provider{p}, possession: p.possession})
			continue
		}
		tokens := all[i].(*bearers) //nolint:forcetypeassert // that is what was looked for
		tokens.providers = append(tokens.providers, p)
	}
	return all
}

// Name returns "authenticate".
func (a *Authenticator) Name() string { return "authenticate" }

// Evaluate implements [policy.Stage]. Where no provider accepts the caller, the reason is that of the credential which got
// farthest through its checks. What cannot be judged, because a key set was never fetched or a server does not answer, is a [*policy.StageError] with
// [policy.Unavailable], unless another provider accepts the caller.
func (a *Authenticator) Evaluate(ctx context.Context, req *policy.Request, _ *policy.Principal) (policy.Outcome, error) {
	principal, by, denied, err := a.ask(ctx, req, a.methods)
	if err != nil {
		return policy.Outcome{}, err
	}
	if principal == nil {
		if denied.Reason != policy.MissingCredential || a.anonymous == nil {
			return denied, nil
		}
		principal = a.anonymous
	}
	outcome := policy.Outcome{Verdict: policy.Passed, Principal: principal, Response: by.next(req)}
	for i := range a.also {
		accepted, also, denied, err := a.ask(ctx, req, a.also[i:i+1])
		if err != nil || accepted == nil {
			return denied, err
		}
		outcome.Response = append(outcome.Response, also.next(req)...)
	}
	if err := a.withheld[by].from(req, &outcome); err != nil {
		return policy.Outcome{Verdict: policy.Denied, Reason: policy.MalformedCredential, Challenges: a.challenges, Detail: err.Error()}, nil
	}
	return outcome, nil
}

// ask returns the principal of the first method that accepts the caller. A nil one comes with the denial, or with an error.
func (a *Authenticator) ask(ctx context.Context, req *policy.Request, methods []method) (*policy.Principal, *Provider, policy.Outcome, error) {
	denied := policy.Outcome{
		Verdict: policy.Denied, Reason: policy.MissingCredential, Challenges: a.challenges, Detail: errMissing.Error(),
	}
	farthest := 0
	var unavailable error
	for _, m := range methods {
		principal, by, err := m.authenticate(ctx, req)
		if err == nil {
			err = a.revoked.check(ctx, req.NoWait, principal)
		}
		switch {
		case err == nil:
			return principal, by, policy.Outcome{}, nil
		case isUnavailable(err):
			unavailable = err
			continue
		}
		reason, rank, refused := refusal(err)
		if !refused {
			return nil, nil, policy.Outcome{}, err
		}
		if rank > farthest {
			farthest = rank
			denied.Reason, denied.Challenges, denied.Response, denied.Detail = reason, []string{m.challenge(reason)}, nil, err.Error()
			var said *told
			if errors.As(err, &said) {
				denied.Challenges, denied.Response = []string{said.challenge}, said.response
			}
		}
	}
	if unavailable != nil {
		return nil, nil, policy.Outcome{}, unavailable
	}
	return nil, nil, denied, nil
}

// isUnavailable reports whether an error says that what must be asked is out of reach.
func isUnavailable(err error) bool {
	var known *policy.StageError
	return errors.As(err, &known) && known.Reason == policy.Unavailable
}
