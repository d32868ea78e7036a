package dpop

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/replay"
)

const (
	// Type is the `typ` of a proof, in the form in which media types are compared.
	Type = "dpop+jwt"
	// maxID is the longest `jti`, in bytes. Beyond that it may be what its client likes, which only ever gets into its own way.
	maxID = 256
	// maxURL is the longest `htu`, in bytes.
	maxURL = 8 << 10
)

// ErrNonce is what a proof is that would be good with another nonce.
var ErrNonce = errors.New("the proof has no nonce, or one that is not good any more")

// ErrBinding is what a proof is that another key than the token's has signed.
var ErrBinding = errors.New("the proof is of another key than the token is bound to")

// Rules are what a proof must be.
type Rules struct {
	Algorithms []string
	MaxAge     time.Duration
	Leeway     time.Duration
	Nonces     *Nonces // nil: none is asked for
}

// Proof is a proof that was read strictly, and whose signature is not verified yet.
type Proof struct {
	Type, Algorithm string
	Key             any // the public key of its `jwk`
	Claims          map[string]any
	Issued          time.Time // `iat`
}

// Request is what a proof must be for.
type Request struct {
	Method     string
	Target     Target
	Token      string
	Thumbprint string // of the key that the token is bound to
	Now        time.Time
}

// Check holds a proof against the request (RFC 9449, section 4.3), cheap things first. The error holds nothing of the proof's
// text. What is left is the signature, and whether the proof was used before.
func (r *Rules) Check(p *Proof, of *Request) (replay.Use, error) {
	switch {
	case p.Type != Type:
		return replay.Use{}, errors.New("typ is not " + Type)
	case !slices.Contains(r.Algorithms, p.Algorithm):
		return replay.Use{}, errors.New("alg is none that the provider accepts")
	}
	thumbprint, err := Thumbprint(p.Key)
	if err != nil {
		return replay.Use{}, err
	}
	if thumbprint != of.Thumbprint {
		return replay.Use{}, ErrBinding
	}
	id, err := r.checkClaims(p, of)
	if err != nil {
		return replay.Use{}, err
	}
	use := replay.Use{Until: p.Issued.Add(r.MaxAge + 2*r.Leeway)} // once more, for a replica whose clock is behind
	sum := sha256.New()
	sum.Write([]byte(thumbprint)) // of fixed length
	sum.Write([]byte(id))
	sum.Sum(use.ID[:0])
	return use, nil
}

func (r *Rules) checkClaims(p *Proof, of *Request) (id string, err error) {
	id, _ = p.Claims["jti"].(string)
	if id == "" || len(id) > maxID {
		return "", fmt.Errorf("jti is no string of 1 to %d bytes", maxID)
	}
	if method, _ := p.Claims["htm"].(string); method != of.Method {
		return "", errors.New("htm is not the request's method")
	}
	url, _ := p.Claims["htu"].(string)
	if url == "" || len(url) > maxURL {
		return "", fmt.Errorf("htu is no string of 1 to %d bytes", maxURL)
	}
	target, err := ReadTarget(url)
	if err != nil {
		return "", fmt.Errorf("htu: %w", err)
	}
	if target != of.Target {
		return "", errors.New("htu is not what the request is for")
	}
	sum := sha256.Sum256([]byte(of.Token))
	if hash, _ := p.Claims["ath"].(string); hash != encode(sum[:]) {
		return "", errors.New("ath is not the token's hash")
	}
	switch age := of.Now.Sub(p.Issued); {
	case age > r.MaxAge+r.Leeway:
		return "", errors.New("iat is longer ago than a proof may be")
	case age < -r.Leeway:
		return "", errors.New("iat is in the future")
	}
	return id, r.checkNonce(p, of.Now)
}

// checkNonce comes last, so that a client which is told of the nonce lacks nothing else.
func (r *Rules) checkNonce(p *Proof, now time.Time) error {
	if r.Nonces == nil {
		return nil
	}
	nonce, _ := p.Claims["nonce"].(string)
	if good, _ := r.Nonces.Check(nonce, now); !good {
		return ErrNonce
	}
	return nil
}
