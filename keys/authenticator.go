package keys

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"unsafe"

	"github.com/kasbah-authz/kasbah/policy"
)

// The challenges of the Bearer scheme (RFC 6750, section 3). A caller is told no more than that its token
// is not good.
const (
	challengeMissing = `Bearer realm="kasbah"`
	challengeInvalid = `Bearer realm="kasbah", error="invalid_token"`
)

// Authenticator is the [policy.Stage] that says who is calling. It never permits: it passes the request on
// with its principal, or denies it.
type Authenticator struct{ providers []*Provider }

// NewAuthenticator returns a stage that accepts a credential which any of the providers vouches for. They are
// asked in this order.
func NewAuthenticator(providers []*Provider) *Authenticator {
	return &Authenticator{providers: slices.Clone(providers)}
}

// Name returns "authenticate".
func (a *Authenticator) Name() string { return "authenticate" }

// Evaluate implements [policy.Stage]. Where several providers have the token's issuer and none accepts it,
// the reason is that of the one whose checks it got farthest through. A key set that was never fetched is a
// [*policy.StageError] with [policy.Unavailable], unless another provider accepts the token.
func (a *Authenticator) Evaluate(ctx context.Context, req *policy.Request, _ *policy.Principal) (policy.Outcome, error) {
	raw, err := bearer(req.Headers)
	if err != nil {
		return deny(err)
	}
	digest := credentialDigest(sha256.Sum256(unsafe.Slice(unsafe.StringData(raw), len(raw)))) //nolint:gosec // only read; a copy would cost as much as the hash
	for _, p := range a.providers {
		if principal, ok := p.cached(digest); ok {
			return accept(p, principal)
		}
	}
	t, err := parseToken(raw)
	if err != nil {
		return deny(err)
	}
	return a.verify(ctx, req.NoWait, t, digest)
}

// cached returns the principal of a token that this provider has verified with the keys that it has now.
func (p *Provider) cached(digest credentialDigest) (*policy.Principal, bool) {
	set := p.keys.current()
	if set == nil {
		return nil, false
	}
	return p.store.cache.get(cacheKey{provider: p.digest, generation: set.generation, credential: digest})
}

// verify asks the providers that have the token's issuer.
func (a *Authenticator) verify(ctx context.Context, noWait bool, t *token, digest credentialDigest) (policy.Outcome, error) {
	best, bestRank := errIssuer, -1
	var unavailable error
	for _, p := range a.providers {
		if t.issuer != p.issuer {
			continue
		}
		principal, err := p.authenticate(ctx, noWait, t, digest)
		if err == nil {
			return accept(p, principal)
		}
		if errors.Is(err, errNeverFetched) {
			unavailable = err
			continue
		}
		_, rank, refused := refusal(err)
		if !refused {
			return policy.Outcome{}, err
		}
		if rank > bestRank {
			best, bestRank = err, rank
		}
	}
	if unavailable != nil {
		return policy.Outcome{}, unavailable
	}
	return deny(best)
}

func accept(p *Provider, principal *policy.Principal) (policy.Outcome, error) {
	return policy.Outcome{Verdict: policy.Passed, Principal: principal, Remove: p.remove}, nil
}

// deny turns a refusal into an Outcome.
func deny(err error) (policy.Outcome, error) {
	reason, _, ok := refusal(err)
	if !ok {
		return policy.Outcome{}, err
	}
	challenge := challengeInvalid
	if reason == policy.MissingCredential {
		challenge = challengeMissing
	}
	return policy.Outcome{
		Verdict: policy.Denied, Reason: reason, Challenges: []string{challenge}, Detail: err.Error(),
	}, nil
}
