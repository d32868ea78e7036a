package keys

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const (
	// maxCertificate is the longest text of a certificate that is read, in bytes.
	maxCertificate = 64 << 10
	// challengeCertificate names no registered scheme, because none is for certificates; a 401 must have a challenge
	// all the same (RFC 9110, section 15.5.2).
	challengeCertificate = `ClientCertificate realm="kasbah"`
	// forwardedCertificate is the header in which proxies tell each other of a client's certificate.
	forwardedCertificate = "x-forwarded-client-cert"
)

// certificates accepts callers by the certificate that they have shown. It is immutable.
type certificates struct {
	name        string
	roles       []string
	id          configv1.CertificateName
	trustDomain []string
	names       []string // of which one must be that of the caller; none: any
	hops        []netip.Prefix
	element     int // of the header, counted from its end; 0: the connection's own certificate
	authorities *authorities
	store       *Store
	digest      [sha256.Size]byte
}

// certificateMethod is the method of client certificates.
type certificateMethod struct{ provider *Provider }

func (*certificateMethod) challenge(policy.Reason) string { return challengeCertificate }

func (m *certificateMethod) authenticate(ctx context.Context, req *policy.Request) (*policy.Principal, *Provider, error) {
	c := m.provider.certificates
	text, err := c.find(req)
	if err != nil {
		return nil, nil, err
	}
	if len(text) > maxCertificate {
		return nil, nil, fmt.Errorf("%w: a certificate of %d bytes, longer than the %d that are read", errMalformed, len(text), maxCertificate)
	}
	key := cacheKey{provider: c.digest, credential: sha256.Sum256([]byte(text))}
	if principal, ok := c.store.cache.get(key); ok {
		return principal, m.provider, nil
	}
	principal, err := c.store.cache.verifyOnce(ctx, key, func(now time.Time) (*verified, error) { return c.verify(text, now) })
	if err != nil {
		return nil, nil, err
	}
	return principal, m.provider, nil
}

// find returns the caller's certificate as URL-encoded PEM: that of the connection, or the one that a hop tells of which is
// believed. A header from anyone else is as if it were not there.
func (c *certificates) find(req *policy.Request) (string, error) {
	if c.element == 0 {
		if req.Source.Certificate == "" && req.Source.Principal != "" {
			return "", &policy.StageError{Reason: policy.Unavailable, Err: errors.New("envoy names the client's principal and does not send its certificate: set include_peer_certificate")}
		}
		if req.Source.Certificate == "" {
			return "", errMissing
		}
		return req.Source.Certificate, nil
	}
	address, err := netip.ParseAddr(req.Source.Address)
	if err != nil {
		return "", errMissing
	}
	address = address.Unmap().WithZone("")
	if !slices.ContainsFunc(c.hops, func(hop netip.Prefix) bool { return hop.Contains(address) }) {
		return "", errMissing
	}
	text, lines := req.Headers.Get(forwardedCertificate)
	switch {
	case lines == 0:
		return "", errMissing
	case lines > 1:
		return "", fmt.Errorf("%w: %d headers with certificates", errMalformed, lines)
	}
	return forwarded(text, c.element)
}

// verify reads a certificate and makes its principal.
func (c *certificates) verify(text string, now time.Time) (*verified, error) {
	leaf, err := readCertificate(text)
	if err != nil {
		return nil, err
	}
	v := validity{notBefore: leaf.NotBefore, expires: leaf.NotAfter.Add(time.Second)}
	if err := v.check(now); err != nil {
		return nil, err
	}
	until, err := c.authorities.check(leaf, now)
	if err != nil {
		return nil, err
	}
	if !until.IsZero() && until.Before(v.expires) {
		v.expires = until
	}
	id, err := c.nameOf(leaf)
	if err != nil {
		return nil, err
	}
	if len(c.names) > 0 && !slices.ContainsFunc(c.names, func(pattern string) bool { return nameMatches(pattern, id) }) {
		return nil, fmt.Errorf("%w: the certificate's name is none of those that the provider accepts", errClaims)
	}
	fingerprint := sha256.Sum256(leaf.Raw)
	uris := make([]string, len(leaf.URIs))
	for i, uri := range leaf.URIs {
		uris[i] = uri.String()
	}
	principal := &policy.Principal{
		ID: id, Provider: c.name, Issuer: leaf.Issuer.String(), Subject: id, Roles: c.roles, Expires: leaf.NotAfter,
		Claims: map[string]any{
			"subject": leaf.Subject.String(), "common_name": leaf.Subject.CommonName, "uris": anyList(uris), "dns_names": anyList(leaf.DNSNames), "emails": anyList(leaf.EmailAddresses),
			"organizations": anyList(leaf.Subject.Organization), "organizational_units": anyList(leaf.Subject.OrganizationalUnit),
			"serial": leaf.SerialNumber.Text(16), "fingerprint": hex.EncodeToString(fingerprint[:]),
		},
	}
	return &verified{principal: principal, validity: v, weight: weigh(principal, len(leaf.Raw))}, nil
}

func anyList(texts []string) []any {
	list := make([]any, len(texts))
	for i, text := range texts {
		list[i] = text
	}
	return list
}

// readCertificate reads one certificate in URL-encoded PEM, as Envoy writes it. What is no certificate of a client is none.
func readCertificate(text string) (*x509.Certificate, error) {
	decoded, err := url.PathUnescape(text)
	if err != nil {
		return nil, fmt.Errorf("%w: the certificate is not URL-encoded", errMalformed)
	}
	block, rest := pem.Decode([]byte(decoded))
	if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
		return nil, fmt.Errorf("%w: not one certificate in PEM", errMalformed)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: a certificate that cannot be read", errMalformed)
	}
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return nil, fmt.Errorf("%w: the certificate is that of an authority, and no caller's (X509-SVID, section 5.2)", errMalformed)
	}
	return leaf, nil
}

// nameOf returns the one name that the principal's id is. Where there are several of the kind nothing tells which is meant.
func (c *certificates) nameOf(leaf *x509.Certificate) (string, error) {
	var all []string
	switch c.id {
	case configv1.CertificateName_CERTIFICATE_NAME_UNSPECIFIED, configv1.CertificateName_CERTIFICATE_NAME_SPIFFE:
		return c.spiffeID(leaf)
	case configv1.CertificateName_CERTIFICATE_NAME_URI:
		for _, uri := range leaf.URIs {
			all = append(all, uri.String())
		}
	case configv1.CertificateName_CERTIFICATE_NAME_DNS:
		all = leaf.DNSNames
	case configv1.CertificateName_CERTIFICATE_NAME_EMAIL:
		all = leaf.EmailAddresses
	case configv1.CertificateName_CERTIFICATE_NAME_COMMON_NAME:
		all = []string{leaf.Subject.CommonName}
	case configv1.CertificateName_CERTIFICATE_NAME_SUBJECT:
		all = []string{leaf.Subject.String()}
	}
	if len(all) != 1 || all[0] == "" {
		return "", fmt.Errorf("%w: the certificate has %d names of the kind that makes the principal, and one is meant", errClaims, len(all))
	}
	if strings.ContainsFunc(all[0], func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
		return "", fmt.Errorf("%w: a control character in the certificate's name", errMalformed)
	}
	return all[0], nil
}

// spiffeID returns the certificate's SPIFFE ID (X509-SVID, section 2): its only URI, of a trust domain on the list.
func (c *certificates) spiffeID(leaf *x509.Certificate) (string, error) {
	if len(leaf.URIs) != 1 {
		return "", fmt.Errorf("%w: the certificate has %d URIs, and an SVID has one", errClaims, len(leaf.URIs))
	}
	id, err := spiffeid.FromURI(leaf.URIs[0])
	if err != nil || id.Path() == "" {
		return "", fmt.Errorf("%w: the certificate's URI is no SPIFFE ID of a workload", errClaims)
	}
	if !slices.Contains(c.trustDomain, id.TrustDomain().Name()) {
		return "", fmt.Errorf("%w: the SPIFFE ID is of a trust domain that the provider does not list", errIssuer)
	}
	return id.String(), nil
}

// nameMatches compares a name with one that the configuration lists: whole, or with "*" at the beginning or the end of the
// pattern for any text that is not empty. Nothing in it is a regular expression.
func nameMatches(pattern, name string) bool {
	if rest, ok := strings.CutPrefix(pattern, "*"); ok {
		return len(name) > len(rest) && strings.HasSuffix(name, rest)
	}
	if rest, ok := strings.CutSuffix(pattern, "*"); ok {
		return len(name) > len(rest) && strings.HasPrefix(name, rest)
	}
	return pattern == name
}

// certificateProvider compiles a provider of client certificates.
func (s *Store) certificateProvider(cfg *configv1.Provider, files Files) (*certificates, error) {
	message := cfg.GetClientCertificate()
	c := &certificates{
		name: cfg.GetName(), roles: slices.Clone(message.GetRoles()), id: message.GetId(), trustDomain: slices.Clone(message.GetTrustDomains()),
		names: slices.Clone(message.GetNames()), store: s,
	}
	spiffe := c.id == configv1.CertificateName_CERTIFICATE_NAME_UNSPECIFIED || c.id == configv1.CertificateName_CERTIFICATE_NAME_SPIFFE
	if spiffe != (len(c.trustDomain) > 0) {
		return nil, &policy.FieldError{Field: "client_certificate.trust_domains", Err: errors.New("a SPIFFE ID needs the trust domains that are accepted, and another name has none")}
	}
	for i, domain := range c.trustDomain {
		if parsed, err := spiffeid.TrustDomainFromString(domain); err != nil || parsed.Name() != domain {
			return nil, &policy.FieldError{Field: fmt.Sprintf("client_certificate.trust_domains[%d]", i), Err: errors.New("no trust domain such as cluster.local")}
		}
	}
	if forwarded := message.GetForwarded(); forwarded != nil {
		c.element = int(max(forwarded.GetElement(), 1))
		for i, text := range forwarded.GetHops() {
			hop, err := readBlock(text)
			if err != nil {
				return nil, &policy.FieldError{Field: fmt.Sprintf("client_certificate.forwarded.hops[%d]", i), Err: err}
			}
			c.hops = append(c.hops, hop)
		}
		if len(c.hops) == 0 {
			return nil, &policy.FieldError{Field: "client_certificate.forwarded.hops", Err: errors.New("say whose header is believed")}
		}
	}
	var err error
	if c.authorities, err = readAuthorities(message, files.Read); err != nil {
		return nil, err
	}
	if c.digest, err = digest(cfg, static{&keySet{digest: c.authorities.digest}}); err != nil {
		return nil, err
	}
	return c, nil
}
