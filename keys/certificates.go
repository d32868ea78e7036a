package keys

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// challengeCertificate names no registered scheme, because none is for what TLS has asked for; a status of 401 must have a
// challenge all the same (RFC 9110, section 15.5.2).
const challengeCertificate = `ClientCertificate realm="kasbah"`

// certificates accepts callers by the certificate that they showed to Envoy, or to a proxy before it. It is immutable.
type certificates struct {
	name        string // of the provider
	rule        nameRule
	roles       []string
	unitRoles   bool
	nameAlone   bool         // Envoy's name of the caller is enough
	hops        *hops        // who is trusted with the header; nil: nobody
	authorities *authorities // nil: Envoy has verified the certificate
	store       *Store
	digest      [sha256.Size]byte // of all of the above, and of the files
}

// certificateMethod is the method of client certificates.
type certificateMethod struct{ provider *Provider }

func (*certificateMethod) challenge(policy.Reason) string { return challengeCertificate }

func (m *certificateMethod) authenticate(ctx context.Context, req *policy.Request) (*policy.Principal, *Provider, error) {
	principal, err := m.provider.certificates.authenticate(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	return principal, m.provider, nil
}

// authenticate returns the principal of the request's certificate. A trusted proxy speaks for its clients alone: its own
// certificate is not the caller's, also where it says nothing of one.
func (c *certificates) authenticate(ctx context.Context, req *policy.Request) (*policy.Principal, error) {
	if c.hops != nil && c.hops.trust(req.Source) {
		element, err := c.hops.read(req.Headers)
		if err != nil {
			return nil, err
		}
		return c.remember(ctx, forwardedEvidence, "", element.text, func() (*shown, error) { return element.certificate() })
	}
	switch peer := req.Source; {
	case peer.Certificate == "" && peer.Principal == "":
		return nil, errMissing
	case peer.Certificate == "" && c.nameAlone:
		return c.remember(ctx, nameEvidence, "", peer.Principal, func() (*shown, error) {
			return &shown{uris: []string{strings.Clone(peer.Principal)}}, nil
		})
	case peer.Certificate == "":
		return nil, errCertificateWithheld
	case len(peer.Certificate) > maxCertificate:
		return nil, certificateTooLong(len(peer.Certificate))
	default:
		return c.remember(ctx, peerEvidence, peer.Principal, peer.Certificate, func() (*shown, error) {
			return readPeer(peer.Certificate, peer.Principal)
		})
	}
}

// The kinds of evidence, so that a text of one kind is never taken for that of the other.
const (
	peerEvidence uint64 = iota
	forwardedEvidence
	nameEvidence
)

// remember returns the principal of a certificate, verified now or not long ago with the same authorities and lists.
func (c *certificates) remember(ctx context.Context, kind uint64, principal, text string, read func() (*shown, error)) (*policy.Principal, error) {
	key := certificateKey(c.digest, kind, principal, text)
	if principal, ok := c.store.cache.get(key); ok {
		return principal, nil
	}
	return c.store.cache.verifyOnce(ctx, key, func(now time.Time) (*verified, error) {
		s, err := read()
		if err != nil {
			return nil, err
		}
		return c.accept(s, len(text), now)
	})
}

// certificateKey names one evidence of one provider in the cache.
func certificateKey(provider [sha256.Size]byte, kind uint64, principal, text string) cacheKey {
	sum := sha256.New()
	sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(principal))))
	sum.Write([]byte(principal))
	sum.Write([]byte(text))
	key := cacheKey{provider: provider, generation: kind}
	sum.Sum(key.credential[:0])
	return key
}

// accept returns the principal of what was shown, if it is all that it must be.
func (c *certificates) accept(s *shown, size int, now time.Time) (*verified, error) {
	v, err := c.verify(s, now)
	if err != nil {
		return nil, err
	}
	id, trustDomain, err := c.rule.choose(s)
	if err != nil {
		return nil, err
	}
	principal := &policy.Principal{
		ID: id, Provider: c.name, Subject: id, Issuer: s.issuer,
		Roles: slices.Clone(c.roles), Claims: s.claims(), Expires: s.notAfter(),
	}
	if trustDomain != "" {
		principal.Issuer = spiffeScheme + trustDomain
	}
	for _, unit := range s.units {
		if c.unitRoles && !slices.Contains(principal.Roles, unit) {
			principal.Roles = append(principal.Roles, unit)
		}
	}
	return &verified{principal: principal, validity: v, weight: weigh(principal, size)}, nil
}

// verify checks the certificate's times and, where there are authorities, its chain. It returns how long both hold.
func (c *certificates) verify(s *shown, now time.Time) (validity, error) {
	if s.leaf == nil {
		if c.authorities != nil {
			return validity{}, errForwardedNameAlone
		}
		return validity{expires: now.Add(longestLifetime)}, nil
	}
	// The last second is a part of the time (RFC 5280, section 4.1.2.5).
	v := validity{notBefore: s.leaf.NotBefore, expires: s.leaf.NotAfter.Add(time.Second)}
	switch {
	case now.Before(v.notBefore):
		return validity{}, errCertificateNotYetValid
	case !now.Before(v.expires):
		return validity{}, errCertificateExpired
	case issues(s.leaf):
		return validity{}, errCertificateIssues
	case c.authorities == nil:
		return v, nil
	}
	until, err := c.authorities.verify(s.leaf, s.chain, now)
	if err != nil {
		return validity{}, err
	}
	if until.Before(v.expires) {
		v.expires = until
	}
	return v, nil
}

// certificateProvider compiles a provider of client certificates.
func (s *Store) certificateProvider(cfg *configv1.Provider, files Files) (*certificates, error) {
	message := cfg.GetClientCertificate()
	c := &certificates{name: cfg.GetName(), roles: slices.Clone(message.GetRoles()), unitRoles: message.GetOrganizationalUnitRoles(), nameAlone: message.GetNameSuffices(), store: s}
	if (message.GetCaFile() != "") == message.GetVerifiedByEnvoy() {
		return nil, &policy.FieldError{Field: "client_certificate.ca_file", Err: errors.New("name the authorities in ca_file, or write verified_by_envoy: true")}
	}
	if c.nameAlone && (message.GetCaFile() != "" || message.GetId() != configv1.CertificateName_CERTIFICATE_NAME_SPIFFE_ID) {
		return nil, &policy.FieldError{Field: "client_certificate.name_suffices", Err: errors.New("it goes with verified_by_envoy and id: spiffe_id")}
	}
	var err error
	if c.rule, err = newNameRule(message); err != nil {
		return nil, err
	}
	if forwarded := message.GetForwarded(); forwarded != nil {
		if c.hops, err = newHops(forwarded); err != nil {
			return nil, err
		}
	} else if cfg.GetForward() {
		return nil, &policy.FieldError{Field: "forward", Err: errors.New("it goes with forwarded alone")}
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(cfg)
	if err != nil {
		return nil, &policy.FieldError{Field: "name", Err: err}
	}
	read := [][]byte{text}
	if c.authorities, err = newAuthorities(message, func(path string) ([]byte, error) {
		if files.Read == nil {
			return nil, errors.New("files are not read here")
		}
		data, err := files.Read(path)
		read = append(read, data)
		return data, err
	}); err != nil {
		return nil, err
	}
	sum := sha256.New()
	for _, part := range read {
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		sum.Write(part)
	}
	sum.Sum(c.digest[:0])
	return c, nil
}

func certificateTooLong(length int) error {
	return fmt.Errorf("%w: a certificate of %d bytes, longer than the %d that are read", errMalformed, length, maxCertificate)
}
