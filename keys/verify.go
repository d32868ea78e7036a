package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
)

// authenticate returns the principal that a strictly read token of this provider's issuer stands for. The
// error is a refusal, policy.ErrWouldWait, a *policy.StageError, or wraps the context's.
func (p *jwtProvider) authenticate(ctx context.Context, noWait bool, t *token, from issuer, digest credentialDigest) (*policy.Principal, error) {
	if !slices.Contains(p.algorithms, t.algorithm) {
		return nil, errAlgorithm
	}
	if !slices.Contains(p.types, t.typ) {
		return nil, fmt.Errorf("%w: typ is none that the provider accepts", errMalformed)
	}
	if err := from.ready(ctx, p.store.now, noWait, t); err != nil {
		return nil, err
	}
	// Read before the key is looked for: a set that changes in between makes an entry that nobody finds.
	now := p.store.now()
	generation, _ := p.generation(now)
	key, err := find(from.keys.current(now), t)
	if err != nil {
		return nil, err
	}
	entry := cacheKey{provider: p.digest, generation: generation, credential: digest}
	if p.enrichment != nil {
		return p.enriched(ctx, noWait, t, from.tenant, key, entry)
	}
	return p.store.cache.verifyOnce(ctx, entry, func(now time.Time) (*verified, error) {
		return p.verify(t, from.tenant, key, now)
	})
}

// verify checks the signature, and then the claims. It waits for nothing.
func (p *jwtProvider) verify(t *token, tenant string, key *key, now time.Time) (*verified, error) {
	if err := key.verify(t); err != nil {
		return nil, err
	}
	v, err := p.readTimes(t.claims, now)
	if err != nil {
		return nil, err
	}
	return p.accept(t.claims, t.issuer, tenant, v, t.size)
}

// enriched is authenticate from the key on, where a server is asked what it knows of the caller. It is not asked about a token that
// is not good.
func (p *jwtProvider) enriched(ctx context.Context, noWait bool, t *token, tenant string, key *key, entry cacheKey) (*policy.Principal, error) {
	if err := key.verify(t); err != nil {
		return nil, err
	}
	v, err := p.readTimes(t.claims, p.store.now())
	if err != nil {
		return nil, err
	}
	own, err := p.ownClaims(t.claims, t.issuer, tenant, v)
	if err != nil {
		return nil, err
	}
	return p.enrichment.join(ctx, noWait, entry, caller{principal: own, token: t.raw, rules: &p.claimRules, validity: v, size: t.size})
}

// ready makes sure that the issuer's keys are as new as the token needs them. A set that is not in force, and an unknown
// key id, ask for a fetch, and wait for the one that is started for them or under way already.
func (i issuer) ready(ctx context.Context, now func() time.Time, noWait bool, t *token) error {
	set := i.keys.current(now())
	if _, err := find(set, t); err == nil || !mayBeFetched(err) {
		return nil // what else is wrong with it is seen when the key is used
	}
	done := i.keys.refresh(set)
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	default:
	}
	if noWait {
		return policy.ErrWouldWait
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the issuer's keys: %w", ctx.Err())
	}
}

// errNoKeySet says that nothing can be known about any token of the issuer.
var errNoKeySet = errors.New("the issuer's key set was never fetched, or too long ago")

// find returns the key that the set has for the token.
func find(set *keySet, t *token) (*key, error) {
	if set == nil {
		return nil, &policy.StageError{Reason: policy.Unavailable, Err: errNoKeySet}
	}
	return set.find(t)
}

// mayBeFetched reports whether a newer key set could have the key.
func mayBeFetched(err error) bool {
	return errors.Is(err, errUnknownKey) || errors.Is(err, errNoKeySet)
}
