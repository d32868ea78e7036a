package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/dpop"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const (
	// schemeDPoP is the scheme of a token that comes with a proof (RFC 9449, section 7.1), and headerDPoP the proof's own header.
	schemeDPoP = "dpop"
	headerDPoP = "dpop"
	// headerNonce is the header that a nonce is given out in.
	headerNonce = "dpop-nonce"

	defaultProofAge = time.Minute
	defaultNonceAge = 5 * time.Minute
	// minNonceSecret is the least length of what nonces are made of, in bytes.
	minNonceSecret = 32
)

// proofLocations are those of a token that may come with a proof, unless its provider says otherwise.
var proofLocations = locations{{name: authorization, scheme: "bearer"}, {name: authorization, scheme: schemeDPoP}}

// possession is what a provider asks of the bindings of its tokens. The zero possession demands none, and lets nobody pass with a token
// that needs a DPoP proof. It is immutable.
type possession struct {
	required    bool
	certificate bool         // a certificate is enough of what is required
	rules       *dpop.Rules  // nil: no DPoP proof is taken
	origin      *dpop.Target // in place of the request's own scheme, host and port; nil: those
	nonces      *dpop.Nonces // nil: none are asked for
	scheme      string       // the challenge of DPoP without an error
	replay      *Replay
	now         func() time.Time
}

// possession compiles what the message says; kind is the provider's field that has it, leeway the provider's own.
func (s *Store) possession(kind string, message *configv1.Proof, leeway time.Duration, files Files) (*possession, error) {
	p := &possession{required: message.GetRequired(), certificate: message.GetCertificate() != nil, replay: s.replayOf(files), now: s.now}
	settings := message.GetDpop()
	if settings == nil {
		if p.required && !p.certificate {
			return nil, &policy.FieldError{Field: kind + ".proof.required", Err: errors.New("say with dpop or certificate what is required")}
		}
		return p, nil
	}
	for i, algorithm := range settings.GetAlgorithms() {
		if !slices.Contains(asymmetricAlgorithms, algorithm) {
			return nil, &policy.FieldError{Field: fmt.Sprintf("%s.proof.dpop.algorithms[%d]", kind, i), Err: fmt.Errorf("none of %v", asymmetricAlgorithms)}
		}
	}
	p.scheme = `DPoP realm="kasbah", algs="` + strings.Join(settings.GetAlgorithms(), " ") + `"`
	if text := settings.GetOrigin(); text != "" {
		origin, err := dpop.ReadTarget(text)
		if err != nil || origin.Path != "/" {
			return nil, &policy.FieldError{Field: kind + ".proof.dpop.origin", Err: errors.New("it is a scheme and a host, such as https://api.example.com")}
		}
		p.origin = &origin
	}
	if nonce := settings.GetNonce(); nonce != nil {
		key, err := s.nonceKeyOf(nonce, files)
		if err != nil {
			return nil, &policy.FieldError{Field: kind + ".proof.dpop.nonce.secret", Err: err}
		}
		p.nonces = dpop.NewNonces(key, duration(nonce.GetMaxAge(), defaultNonceAge))
	}
	p.rules = &dpop.Rules{
		Algorithms: slices.Clone(settings.GetAlgorithms()), MaxAge: duration(settings.GetMaxAge(), defaultProofAge), Leeway: leeway, Nonces: p.nonces,
	}
	return p, nil
}

// nonceKeyOf returns what nonces are made of: the secret, or a key of the process.
func (s *Store) nonceKeyOf(message *configv1.DpopNonce, files Files) ([]byte, error) {
	if message.GetSecret() == nil {
		return s.nonceKey[:], nil
	}
	if files.Secret == nil {
		return nil, errors.New("secrets are not read here")
	}
	secret, err := files.Secret(message.GetSecret())
	if err != nil {
		return nil, err
	}
	if len(secret) < minNonceSecret {
		return nil, fmt.Errorf("it has %d bytes, and at least %d are needed", len(secret), minNonceSecret)
	}
	return []byte(secret), nil
}

// offers are the challenges for a caller without a credential.
func (p *possession) offers() []string {
	switch {
	case p.rules == nil:
		return []string{challengeMissing}
	case p.required && !p.certificate:
		return []string{p.scheme}
	}
	return []string{challengeMissing, p.scheme}
}

// told is a refusal with what its caller is told about it, in place of what the method of the credential would say.
type told struct {
	error
	challenge string
	response  []policy.Mutation
}

// Unwrap returns the refusal.
func (t *told) Unwrap() error { return t.error }

// refuse makes a refusal that names an error of RFC 6750, section 3.1, or RFC 9449, section 7.1, in the challenge of the scheme that
// the caller should use.
func (p *possession) refuse(err error, code string) error {
	if p.rules == nil {
		return err
	}
	return &told{error: err, challenge: p.scheme + `, error="` + code + `"`}
}

// behind refuses a token that stood at that place and is not good. It leaves what is no refusal, or says more already, as it is.
func (p *possession) behind(at *location, err error) error {
	var said *told
	if at.scheme != schemeDPoP || errors.As(err, &said) {
		return err
	}
	if _, _, refused := refusal(err); !refused {
		return err
	}
	return p.refuse(err, "invalid_token")
}

// hold lets a token pass that is bound to nothing, if nothing is required, or whose caller proves that it is its own (RFC 9449,
// section 7; RFC 8705, section 3). It is asked at each request, whether or not the token is remembered. The error is a refusal,
// [policy.ErrWouldWait] or a [*policy.StageError].
func (p *possession) hold(ctx context.Context, req *policy.Request, raw string, at *location, claims map[string]any) error {
	to, err := readConfirmation(claims)
	if err != nil {
		return p.refuse(err, "invalid_token")
	}
	proven := at.scheme == schemeDPoP
	switch {
	case to.key == "" && proven:
		return p.refuse(fmt.Errorf("%w: it stands behind DPoP", errUnbound), "invalid_token")
	case to.key != "" && p.rules == nil:
		return fmt.Errorf("%w: the token needs a DPoP proof, and the provider takes none", errProof)
	case to.key != "" && !proven:
		return p.refuse(fmt.Errorf("%w: the token needs a DPoP proof, and does not stand behind DPoP", errProof), "invalid_token")
	case p.required && to.key == "" && (to.certificate == "" || !p.certificate):
		return p.refuse(errUnbound, "invalid_token")
	}
	if to.certificate != "" {
		if err := holdCertificate(req.Source.Certificate, to.certificate); err != nil {
			return p.behind(at, err)
		}
	}
	if to.key == "" {
		return nil
	}
	return p.prove(ctx, req, raw, to.key)
}

// next is what the caller is told of an accepted request; see [possession.next].
func (p *Provider) next(req *policy.Request) []policy.Mutation {
	if p == nil || p.possession == nil {
		return nil
	}
	return p.possession.next(req)
}
