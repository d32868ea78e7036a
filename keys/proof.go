package keys

import (
	"context"
	"errors"
	"fmt"

	"github.com/kasbah-authz/kasbah/keys/internal/dpop"
	"github.com/kasbah-authz/kasbah/keys/internal/replay"
	"github.com/kasbah-authz/kasbah/policy"
)

// privateMembers are those of a JWK that only its owner may know (RFC 7518, section 6).
var privateMembers = [...]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// prove refuses a request whose DPoP proof is not one of the key that its token is bound to, made now, for this request, and used for
// the first time.
func (p *possession) prove(ctx context.Context, req *policy.Request, token, thumbprint string) error {
	raw, lines := req.Headers.Get(headerDPoP)
	if lines != 1 {
		return p.refuse(fmt.Errorf("%w: %d headers DPoP where one is meant", errProof, lines), "invalid_dpop_proof")
	}
	ask := p.replay.waits()
	use, err := p.verify(req, raw, token, thumbprint, ask)
	switch {
	case errors.Is(err, dpop.ErrNonce):
		challenge := p.scheme + `, error="use_dpop_nonce"`
		return &told{badProof(err), challenge, p.nonce()}
	case errors.Is(err, dpop.ErrBinding):
		return p.refuse(badProof(err), "invalid_token")
	case errors.Is(err, policy.ErrWouldWait):
		return err
	case err != nil:
		return p.refuse(badProof(err), "invalid_dpop_proof")
	}
	err = p.replay.use(ctx, use, req.Serial, ask)
	if errors.Is(err, errReplayed) {
		return p.refuse(err, "invalid_dpop_proof")
	}
	return err
}

// verify reads a proof and checks it, its signature last. Where that would be for nothing, because others are asked whether it was used
// and the request may not wait, it returns policy.ErrWouldWait.
func (p *possession) verify(req *policy.Request, raw, token, thumbprint string, ask bool) (replay.Use, error) {
	proof, signed, key, err := parseProof(raw)
	if err != nil {
		return replay.Use{}, err
	}
	use, err := p.rules.Check(proof, &dpop.Request{
		Method: req.Method, Target: p.target(req), Token: token, Thumbprint: thumbprint, Now: p.now(),
	})
	if err != nil {
		return replay.Use{}, err
	}
	if req.NoWait && ask {
		return replay.Use{}, policy.ErrWouldWait
	}
	if key.verify(signed) != nil {
		return replay.Use{}, errors.New("its signature does not verify with its key")
	}
	return use, nil
}

// badProof is the refusal of a proof. What is wrong with it is told and not wrapped, because the same error of a token is another
// refusal.
func badProof(err error) error { return fmt.Errorf("%w: %s", errProof, err.Error()) }

// target is what the request is for, as its client has it.
func (p *possession) target(req *policy.Request) dpop.Target {
	if p.origin != nil {
		target := *p.origin
		target.Path = req.Path
		return target
	}
	return dpop.NewTarget(req.Scheme, req.Host, req.Port, req.Path)
}

// parseProof takes the one strict look at a proof: a token with a public key in its header.
func parseProof(raw string) (*dpop.Proof, *token, *key, error) {
	if len(raw) > maxToken {
		return nil, nil, nil, tooLong(len(raw))
	}
	header, claims, err := split(raw)
	if err != nil {
		return nil, nil, nil, err
	}
	t := &token{raw: raw, size: len(claims)}
	members, err := t.readHeader(header)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("header: %w", err)
	}
	jwk, ok := members["jwk"].(map[string]any)
	if !ok {
		return nil, nil, nil, errors.New("jwk is no object")
	}
	for _, name := range privateMembers {
		if _, private := jwk[name]; private {
			return nil, nil, nil, errors.New("jwk has a private part")
		}
	}
	key, err := parseKey(jwk)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("jwk: %w", err)
	}
	if t.claims, err = decodeObject(claims, maxClaimsDepth); err != nil {
		return nil, nil, nil, fmt.Errorf("claims: %w", err)
	}
	issued, present, err := readTime(t.claims, "iat")
	if err != nil || !present {
		return nil, nil, nil, errors.New("iat is no time")
	}
	return &dpop.Proof{Type: t.typ, Algorithm: t.algorithm, Key: key.material, Claims: t.claims, Issued: issued}, t, key, nil
}

// nonce gives out the nonce of now. What holds one belongs into no cache (RFC 9449, section 8.2).
func (p *possession) nonce() []policy.Mutation {
	return []policy.Mutation{{Name: headerNonce, Value: p.nonces.Current(p.now())}, {Name: "cache-control", Value: "no-store"}}
}

// next is what the caller of an accepted request is told: the next nonce, where its own is about to end.
func (p *possession) next(req *policy.Request) []policy.Mutation {
	if p.nonces == nil {
		return nil
	}
	raw, lines := req.Headers.Get(headerDPoP)
	if lines != 1 {
		return nil
	}
	_, text, err := split(raw)
	if err != nil {
		return nil
	}
	claims, err := decodeObject(text, maxClaimsDepth)
	if err != nil {
		return nil
	}
	nonce, _ := claims["nonce"].(string)
	if good, current := p.nonces.Check(nonce, p.now()); !good || current {
		return nil // not good: no proof was needed
	}
	return p.nonce()
}
