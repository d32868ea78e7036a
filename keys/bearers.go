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

// bearers is the method of bearer tokens, for the providers of a route that accept JWTs from the same locations.
type bearers struct {
	from       locations
	providers  []*Provider
	possession *possession // of the first of them; all have the same challenges
}

func (*bearers) challenge(reason policy.Reason) string {
	if reason == policy.MissingCredential {
		return challengeMissing
	}
	return challengeInvalid
}

func (b *bearers) offers() []string { return b.possession.offers() }

// presented is a token where it stands in a request.
type presented struct {
	req *policy.Request
	raw string
	at  *location
}

func (s presented) hold(ctx context.Context, p *Provider, principal *policy.Principal) error {
	return p.possession.hold(ctx, s.req, s.raw, s.at, principal.Claims)
}

// authenticate verifies the request's bearer token. Where several providers have the token's issuer and none accepts it,
// the error is that of the one whose checks it got farthest through; or that of one which cannot judge it now, if there is such a one.
func (b *bearers) authenticate(ctx context.Context, req *policy.Request) (*policy.Principal, *Provider, error) {
	raw, at, err := b.from.find(req)
	if err != nil {
		return nil, nil, err
	}
	principal, by, err := b.accept(ctx, req, raw, at)
	if err != nil {
		return nil, nil, b.possession.behind(at, err)
	}
	return principal, by, nil
}

func (b *bearers) accept(ctx context.Context, req *policy.Request, raw string, at *location) (*policy.Principal, *Provider, error) {
	shown := presented{req, raw, at}
	digest := credentialDigest(sha256.Sum256(unsafe.Slice(unsafe.StringData(raw), len(raw)))) //nolint:gosec // only read; a copy would cost as much as the hash
	for i, p := range b.providers {
		principal, ok := p.jwt.cached(digest)
		if !ok {
			continue
		}
		if b.asked(principal.Issuer, i) {
			break // what other routes have had remembered does not change who is asked first
		}
		err := shown.hold(ctx, p, principal)
		if err == nil {
			return principal, p, nil
		}
		if _, _, refused := refusal(err); !refused && !isUnavailable(err) || len(b.providers) == 1 {
			return nil, nil, err
		}
		break // another provider may want no proof; they are asked in their order
	}
	if isEncrypted(raw) && slices.ContainsFunc(b.providers, func(p *Provider) bool { return len(p.jwt.decryption) > 0 }) {
		return b.decrypt(ctx, shown, digest)
	}
	t, err := parseToken(raw)
	if err != nil {
		return nil, nil, err
	}
	signed := func(p *Provider) bool { return len(p.jwt.decryption) == 0 }
	return b.verify(ctx, shown, t, digest, signed)
}

// asked reports whether a provider before the one at i is asked about tokens of that issuer.
func (b *bearers) asked(issuer string, i int) bool {
	return slices.ContainsFunc(b.providers[:i], func(p *Provider) bool { _, same := p.jwt.issuers[issuer]; return same })
}

// decrypt verifies what is inside of an encrypted token, for the provider alone whose key opened it.
func (b *bearers) decrypt(ctx context.Context, shown presented, digest credentialDigest) (*policy.Principal, *Provider, error) {
	fault := error(errDecryptionKey)
	for _, p := range b.providers {
		if len(p.jwt.decryption) == 0 {
			continue
		}
		t, err := decrypt(shown.raw, p.jwt.decryption)
		if errors.Is(err, errDecryptionKey) || errors.Is(err, errUndecryptable) {
			fault = err
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		return b.verify(ctx, shown, t, digest, func(other *Provider) bool { return other == p })
	}
	return nil, nil, fault
}

// verify asks the providers that have the token's issuer, of those that are eligible.
func (b *bearers) verify(ctx context.Context, shown presented, t *token, digest credentialDigest, eligible func(*Provider) bool) (*policy.Principal, *Provider, error) {
	best, bestRank := errIssuer, -1
	var unavailable error
	for _, p := range b.providers {
		from, ok := p.jwt.issuers[t.issuer]
		if !ok || !eligible(p) {
			continue
		}
		principal, err := p.jwt.authenticate(ctx, shown.req.NoWait, t, from, digest)
		if err == nil {
			err = shown.hold(ctx, p, principal)
		}
		if err == nil {
			return principal, p, nil
		}
		if isUnavailable(err) {
			unavailable = err
			continue
		}
		_, rank, refused := refusal(err)
		if !refused {
			return nil, nil, err
		}
		if rank > bestRank {
			best, bestRank = err, rank
		}
	}
	if unavailable != nil {
		return nil, nil, unavailable
	}
	return nil, nil, best
}

// cached returns the principal of a token that this provider has verified with the keys that it has now.
func (p *jwtProvider) cached(digest credentialDigest) (*policy.Principal, bool) {
	generation, ok := p.generation(p.store.now())
	if !ok {
		return nil, false
	}
	return p.store.cache.get(cacheKey{provider: p.digest, generation: generation, credential: digest})
}
