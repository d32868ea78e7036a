package keys

import (
	"context"
	_ "crypto/sha512" // golang-jwt finds SHA-384 and SHA-512 only if they are linked in
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/kasbah-authz/kasbah/policy"
)

// authenticate returns the principal that a strictly read token of this provider's issuer stands for. The
// error is a refusal, policy.ErrWouldWait, a *policy.StageError, or wraps the context's.
func (p *jwtProvider) authenticate(ctx context.Context, noWait bool, t *token, digest credentialDigest) (*policy.Principal, error) {
	if !slices.Contains(p.algorithms, t.algorithm) {
		return nil, errAlgorithm
	}
	if !slices.Contains(p.types, t.typ) {
		return nil, fmt.Errorf("%w: typ is none that the provider accepts", errMalformed)
	}
	set, key, err := p.findKey(ctx, noWait, t)
	if err != nil {
		return nil, err
	}
	entry := cacheKey{provider: p.digest, generation: set.generation, credential: digest}
	return p.store.cache.verifyOnce(ctx, entry, func(now time.Time) (*verified, error) {
		return p.verify(t, key, now)
	})
}

// verify checks the signature, and then the claims. It waits for nothing.
func (p *jwtProvider) verify(t *token, key *key, now time.Time) (*verified, error) {
	parsed, err := p.parser.ParseWithClaims(t.raw, &readAlready{}, key.lookup)
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed): // nothing that parseToken lets through; a refusal all the same
		return nil, errMalformed
	case err != nil || !parsed.Valid:
		return nil, errSignature
	}
	v, err := p.readTimes(t.claims, now)
	if err != nil {
		return nil, err
	}
	if err := p.checkAudience(t.claims); err != nil {
		return nil, err
	}
	principal, err := p.principal(t, v)
	if err != nil {
		return nil, err
	}
	return &verified{principal: principal, validity: v, weight: weigh(principal, t.size)}, nil
}

// findKey returns the key for the token and the set that has it. A set that was never fetched, and an unknown
// key id, ask for a fetch, and wait for the one that is started for them or under way already.
func (p *jwtProvider) findKey(ctx context.Context, noWait bool, t *token) (*keySet, *key, error) {
	set := p.keys.current()
	found, err := find(set, t)
	if err == nil || !mayBeFetched(err) {
		return set, found, err
	}
	done := p.keys.refresh(set)
	if done == nil {
		return nil, nil, err
	}
	select {
	case <-done:
	default:
		if noWait {
			return nil, nil, policy.ErrWouldWait
		}
		select {
		case <-done:
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("waiting for the issuer's keys: %w", ctx.Err())
		}
	}
	set = p.keys.current()
	found, err = find(set, t)
	return set, found, err
}

// errNeverFetched says that nothing can be known about any token of the issuer.
var errNeverFetched = errors.New("the issuer's key set was never fetched")

func find(set *keySet, t *token) (*key, error) {
	if set == nil {
		return nil, &policy.StageError{Reason: policy.Unavailable, Err: errNeverFetched}
	}
	return set.find(t)
}

// mayBeFetched reports whether a newer key set could have the key.
func mayBeFetched(err error) bool {
	return errors.Is(err, errUnknownKey) || errors.Is(err, errNeverFetched)
}

// readAlready stands for the claims where golang-jwt would decode them: parseToken has done so, strictly,
// and this package checks them itself. It satisfies jwt.Claims and json.Unmarshaler.
type readAlready struct{}

// UnmarshalJSON takes the claims' text, which encoding/json has found to be one JSON value, and drops it.
func (*readAlready) UnmarshalJSON([]byte) error { return nil }

// GetExpirationTime and its siblings are for golang-jwt's own checks, which are off.
func (*readAlready) GetExpirationTime() (*jwt.NumericDate, error) { return nil, errNotHere }

// GetIssuedAt is never called.
func (*readAlready) GetIssuedAt() (*jwt.NumericDate, error) { return nil, errNotHere }

// GetNotBefore is never called.
func (*readAlready) GetNotBefore() (*jwt.NumericDate, error) { return nil, errNotHere }

// GetIssuer is never called.
func (*readAlready) GetIssuer() (string, error) { return "", errNotHere }

// GetSubject is never called.
func (*readAlready) GetSubject() (string, error) { return "", errNotHere }

// GetAudience is never called.
func (*readAlready) GetAudience() (jwt.ClaimStrings, error) { return nil, errNotHere }

// errNotHere fails closed, should golang-jwt ever check claims that it was told not to.
var errNotHere = errors.New("claims are checked by package keys")
