package keys

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/replay"
	"github.com/kasbah-authz/kasbah/keys/internal/signature"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// challengeSignature names no registered scheme, because none is for what RFC 9421 has; a status of 401 must have a challenge all
// the same (RFC 9110, section 15.5.2).
const challengeSignature = `Signature realm="kasbah"`

const (
	signatureHeader      = "signature"
	signatureInputHeader = "signature-input"
	contentDigestHeader  = "content-digest"
	// defaultSignatureAge is how old a signature may be.
	defaultSignatureAge = time.Minute
)

// signatureLocations are what the upstream does not see.
var signatureLocations = locations{{name: signatureHeader}, {name: signatureInputHeader}}

// signatures accepts requests that are signed with one of its keys. It is immutable.
type signatures struct {
	keys   map[string]*signatureKey
	tag    string // of the signature that counts; empty: there is one
	covers []string
	maxAge time.Duration
	leeway time.Duration
	replay *Replay // nil: a signature is good more than once
	now    func() time.Time
}

// signatureKey is a key and who signs with it.
type signatureKey struct {
	*signature.Key
	principal *policy.Principal
}

// signatureMethod is the method of signed requests.
type signatureMethod struct{ provider *Provider }

func (*signatureMethod) challenge(policy.Reason) string { return challengeSignature }

func (m *signatureMethod) authenticate(ctx context.Context, req *policy.Request) (*policy.Principal, *Provider, error) {
	principal, err := m.provider.signatures.authenticate(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	return principal, m.provider, nil
}

// authenticate returns the principal of who has signed the request as it came. What costs little is looked at first, and what
// the caller is told more of than that its signature is not good, the state of its body, only once it is.
func (s *signatures) authenticate(ctx context.Context, req *policy.Request) (*policy.Principal, error) {
	one, err := s.choose(req.Headers)
	if err != nil {
		return nil, err
	}
	key := s.keys[one.KeyID]
	switch {
	case key == nil:
		return nil, errSignatureKey
	case one.Algorithm != "" && one.Algorithm != key.Algorithm():
		return nil, errSignatureAlgorithm
	}
	until, err := s.checkTimes(one, s.now())
	if err != nil {
		return nil, err
	}
	if err := s.checkCoverage(one, req); err != nil {
		return nil, err
	}
	base, err := one.Base(signedRequest(req))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	ask := s.replay != nil && s.replay.waits()
	if ask && req.NoWait {
		return nil, policy.ErrWouldWait
	}
	if !key.Verify(base, one.Value) {
		return nil, errHTTPSignature
	}
	if err := checkBody(one, req); err != nil {
		return nil, err
	}
	if s.replay != nil { // a leeway more, for a replica whose clock is behind
		if err := s.replay.use(ctx, replay.Use{ID: key.identify(base), Until: until.Add(s.leeway)}, req.Serial, ask); err != nil {
			return nil, err
		}
	}
	return key.principal, nil
}

// choose returns the signature that counts.
func (s *signatures) choose(headers policy.Headers) (*signature.Signature, error) {
	input, inputs := headers.Get(signatureInputHeader)
	value, values := headers.Get(signatureHeader)
	switch {
	case inputs == 0 && values == 0:
		return nil, errMissing
	case inputs != 1 || values != 1:
		return nil, fmt.Errorf("%w: %d headers Signature-Input and %d Signature where one of each is meant", errMalformed, inputs, values)
	}
	all, err := signature.Read(input, value)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if s.tag != "" {
		all = slices.DeleteFunc(all, func(one signature.Signature) bool { return one.Tag != s.tag })
		if len(all) == 0 {
			return nil, errMissing
		}
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("%w: %d signatures where one is meant", errMalformed, len(all))
	}
	return &all[0], nil
}

// checkTimes returns until when the signature could be used once more.
func (s *signatures) checkTimes(one *signature.Signature, now time.Time) (until time.Time, err error) {
	if !one.HasCreated || one.HasExpires && one.Expires <= one.Created {
		return time.Time{}, fmt.Errorf("%w: a signature without created, or that expires before it", errMalformed)
	}
	created := time.Unix(one.Created, 0)
	until = created.Add(s.maxAge)
	if expires := time.Unix(one.Expires, 0); one.HasExpires && expires.Before(until) {
		until = expires
	}
	until = until.Add(s.leeway)
	switch {
	case created.After(now.Add(s.leeway)):
		return time.Time{}, errSignatureNotYet
	case !now.Before(until):
		return time.Time{}, errSignatureExpired
	}
	return until, nil
}

// checkCoverage refuses a signature that somebody could take for another request than the one that was signed.
func (s *signatures) checkCoverage(one *signature.Signature, req *policy.Request) error {
	target := one.Covers("@target-uri") ||
		one.Covers("@authority") && (one.Covers("@request-target") || one.Covers("@path") && one.Covers("@query"))
	switch {
	case !one.Covers("@method") || !target:
		return fmt.Errorf("%w: the method, the host, the path or the query", errCoverage)
	case mayHaveBody(req) && !one.Covers(contentDigestHeader):
		return fmt.Errorf("%w: content-digest, which a request with a body needs", errCoverage)
	}
	for _, name := range s.covers {
		if !one.Covers(name) {
			return fmt.Errorf("%w: %s", errCoverage, name)
		}
	}
	return nil
}

// mayHaveBody reports whether there is a body, or may be one that nothing speaks of: HTTP/2 needs no header for it.
func mayHaveBody(req *policy.Request) bool {
	if hasBody(req) {
		return true
	}
	switch req.Method {
	case "GET", "HEAD", "OPTIONS", "DELETE":
		return false
	}
	length, lengths := req.Headers.Get("content-length")
	return lengths != 1 || length != "0"
}

// hasBody reports whether anything speaks of a body.
func hasBody(req *policy.Request) bool {
	length, lengths := req.Headers.Get("content-length")
	_, encodings := req.Headers.Get("transfer-encoding")
	return len(req.Body.Bytes) > 0 || req.Body.Truncated || req.Size > 0 || lengths > 1 || lengths == 1 && length != "0" || encodings > 0
}

// checkBody compares the body with its digest where that is covered, as it is wherever there may be a body.
func checkBody(one *signature.Signature, req *policy.Request) error {
	if !one.Covers(contentDigestHeader) {
		return nil
	}
	switch {
	case req.Body.Truncated && len(req.Body.Bytes) > 0:
		return errBodyTruncated
	case len(req.Body.Bytes) == 0 && hasBody(req):
		return errBodyMissing
	}
	digest, lines := req.Headers.Get(contentDigestHeader)
	if lines != 1 {
		return fmt.Errorf("%w: %d headers Content-Digest where one is meant", errMalformed, lines)
	}
	if err := signature.CheckDigest(digest, req.Body.Bytes); err != nil {
		return fmt.Errorf("%w: %w", errDigest, err)
	}
	return nil
}

// identify names what was signed, which is good once, and not the signature: of one that is ECDSA anyone can make another.
func (k *signatureKey) identify(base []byte) (id replay.ID) {
	sum, key := sha256.New(), k.Digest()
	sum.Write([]byte("http_signature "))
	sum.Write(key[:])
	sum.Write(base)
	sum.Sum(id[:0])
	return id
}

// signedRequest is what of a request may be signed.
func signedRequest(req *policy.Request) *signature.Request {
	authority := req.Host
	if port := req.Port; port != "" && (req.Scheme != "https" || port != "443") && (req.Scheme != "http" || port != "80") {
		authority += ":" + port
	}
	return &signature.Request{
		Method: req.Method, Scheme: req.Scheme, Authority: authority, Target: req.Target,
		Lines: func(name string) []string {
			var lines []string
			for i := range req.Headers {
				if req.Headers[i].Name == name {
					lines = append(lines, req.Headers[i].Value)
				}
			}
			return lines
		},
	}
}

// signatureProvider compiles a provider of signed requests.
func (s *Store) signatureProvider(cfg *configv1.Provider, files Files) (*signatures, error) {
	message := cfg.GetHttpSignature()
	if len(cfg.GetFrom()) > 0 {
		return nil, &policy.FieldError{Field: "from", Err: errors.New("a signature is in headers of its own")}
	}
	compiled := &signatures{
		keys: map[string]*signatureKey{}, tag: message.GetTag(), covers: slices.Clone(message.GetComponents()),
		maxAge: duration(message.GetMaxAge(), defaultSignatureAge), leeway: duration(message.GetLeeway(), defaultLeeway),
		now: s.now,
	}
	if !message.GetAllowReplay() {
		compiled.replay = s.replayOf(files)
	}
	for i, key := range message.GetKeys() {
		prefix := fmt.Sprintf("http_signature.keys[%d]", i)
		if compiled.keys[key.GetId()] != nil {
			return nil, &policy.FieldError{Field: prefix + ".id", Err: errors.New("a second key with this id")}
		}
		verifier, err := readSignatureKey(key, files)
		if err != nil {
			return nil, &policy.FieldError{Field: prefix, Err: err}
		}
		compiled.keys[key.GetId()] = &signatureKey{verifier, &policy.Principal{
			ID: key.GetPrincipal(), Provider: cfg.GetName(), Subject: key.GetPrincipal(), Roles: slices.Clone(key.GetRoles()),
			Claims: map[string]any{"key_id": key.GetId()},
		}}
	}
	if len(compiled.keys) == 0 {
		return nil, &policy.FieldError{Field: "http_signature.keys", Err: errors.New("none is there")}
	}
	return compiled, nil
}

func readSignatureKey(message *configv1.HttpSignatureKey, files Files) (*signature.Key, error) {
	if message.GetAlgorithm() == signature.HMAC {
		return readSignatureSecret(message, files)
	}
	text := []byte(message.GetPublicKey().GetInline())
	if file := message.GetPublicKey().GetFile(); file != "" {
		if files.Read == nil {
			return nil, &policy.FieldError{Field: "public_key.file", Err: errors.New("files are not read here")}
		}
		var err error
		if text, err = files.Read(file); err != nil {
			return nil, &policy.FieldError{Field: "public_key.file", Err: err}
		}
	}
	blocks, err := readPEM(text, "PUBLIC KEY", true)
	if err == nil && len(blocks) != 1 {
		err = fmt.Errorf("%d keys where one is meant", len(blocks))
	}
	if err != nil {
		return nil, &policy.FieldError{Field: "public_key", Err: err}
	}
	key, err := signature.PublicKey(message.GetAlgorithm(), blocks[0])
	if err != nil {
		return nil, &policy.FieldError{Field: "public_key", Err: err}
	}
	return key, nil
}

func readSignatureSecret(message *configv1.HttpSignatureKey, files Files) (*signature.Key, error) {
	if files.Secret == nil || message.GetSecret() == nil {
		return nil, &policy.FieldError{Field: "secret", Err: errors.New("hmac-sha256 needs one, or secrets are not read here")}
	}
	text, err := files.Secret(message.GetSecret())
	if err != nil {
		return nil, &policy.FieldError{Field: "secret", Err: err}
	}
	secret := []byte(text)
	if message.GetSecretBase64() {
		if secret, err = base64.StdEncoding.Strict().DecodeString(text); err != nil || strings.ContainsAny(text, "\r\n") {
			return nil, &policy.FieldError{Field: "secret", Err: errors.New("it is no base64")}
		}
	}
	key, err := signature.Secret(secret)
	if err != nil {
		return nil, &policy.FieldError{Field: "secret", Err: err}
	}
	return key, nil
}
