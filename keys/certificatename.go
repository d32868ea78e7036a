package keys

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const (
	spiffeScheme = "spiffe://"
	// maxSPIFFEID and maxTrustDomain bound a SPIFFE ID, in bytes (SPIFFE-ID, sections 2.1 and 2.3). Other names may be no longer.
	maxSPIFFEID    = 2048
	maxTrustDomain = 255
)

// nameRule says which name of a certificate is the principal's id, and which are accepted.
type nameRule struct {
	kind         configv1.CertificateName
	trustDomains []string
	patterns     []string
}

// separators end the part of a name that a "*" may stand for.
func (r *nameRule) separators() string {
	switch r.kind {
	case configv1.CertificateName_CERTIFICATE_NAME_DNS, configv1.CertificateName_CERTIFICATE_NAME_COMMON_NAME:
		return "."
	case configv1.CertificateName_CERTIFICATE_NAME_EMAIL:
		return "@"
	case configv1.CertificateName_CERTIFICATE_NAME_SUBJECT:
		return `,+\` // a backslash too: what it escapes ends no part
	default:
		return "/"
	}
}

// choose returns the principal's id, and for a SPIFFE ID its trust domain. Where several names of the kind fit, it depended on
// the reader which one the caller is, and none is chosen.
func (r *nameRule) choose(s *shown) (id, trustDomain string, err error) {
	var names []string
	switch r.kind {
	case configv1.CertificateName_CERTIFICATE_NAME_SPIFFE_ID:
		trustDomain, err := r.spiffe(s.uris)
		if err != nil {
			return "", "", err
		}
		return s.uris[0], trustDomain, nil
	case configv1.CertificateName_CERTIFICATE_NAME_URI:
		names = s.uris
	case configv1.CertificateName_CERTIFICATE_NAME_DNS:
		for _, name := range s.dns {
			if isHostName(name) {
				names = append(names, strings.ToLower(name))
			}
		}
	case configv1.CertificateName_CERTIFICATE_NAME_EMAIL:
		names = s.emails
	case configv1.CertificateName_CERTIFICATE_NAME_COMMON_NAME:
		names = s.commonNames
	case configv1.CertificateName_CERTIFICATE_NAME_SUBJECT:
		names = []string{s.subject}
	default:
		return "", "", errCertificateName
	}
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return name == "" || len(name) > maxSPIFFEID || !r.accepts(name)
	})
	slices.Sort(names)
	switch names = slices.Compact(names); len(names) {
	case 0:
		return "", "", errCertificateName
	case 1:
		return names[0], "", nil
	}
	return "", "", errCertificateNames
}

// spiffe returns the trust domain of the one SPIFFE ID, which must be that of a workload (X509-SVID, sections 2 and 5.2).
func (r *nameRule) spiffe(uris []string) (string, error) {
	if len(uris) != 1 {
		return "", fmt.Errorf("%w: %d URIs, and it must have just one", errSPIFFE, len(uris))
	}
	if len(uris[0]) > maxSPIFFEID {
		return "", fmt.Errorf("%w: a URI of %d bytes, longer than a SPIFFE ID may be", errSPIFFE, len(uris[0]))
	}
	id, err := spiffeid.FromString(uris[0])
	if err != nil {
		return "", fmt.Errorf("%w: %w", errSPIFFE, err) // its errors quote nothing
	}
	switch domain := id.TrustDomain().Name(); {
	case len(domain) > maxTrustDomain:
		return "", fmt.Errorf("%w: a trust domain of %d bytes", errSPIFFE, len(domain))
	case id.Path() == "":
		return "", fmt.Errorf("%w: it is a trust domain's own, and no workload's", errSPIFFE)
	case !slices.Contains(r.trustDomains, domain):
		return "", errTrustDomain
	case !r.accepts(uris[0]):
		return "", errCertificateName
	default:
		return domain, nil
	}
}

func (r *nameRule) accepts(name string) bool {
	return len(r.patterns) == 0 || slices.ContainsFunc(r.patterns, func(pattern string) bool { return matchName(pattern, name, r.separators()) })
}

// matchName compares a name with a pattern, as strings. A "*" stands for one or more bytes that are no separators. As each part
// has one at the most, only one of its lengths can fit, and nothing is tried twice.
func matchName(pattern, name, separators string) bool {
	before, rest, found := strings.Cut(pattern, "*")
	if !found {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, before)
	if !ok {
		return false
	}
	part := strings.IndexAny(name, separators)
	if part < 0 {
		part = len(name)
	}
	suffix := strings.IndexAny(rest, separators)
	if suffix < 0 {
		suffix = len(rest)
	}
	return part > suffix && name[part-suffix:part] == rest[:suffix] && matchName(rest[suffix:], name[part:], separators)
}

// isHostName reports whether a DNS name is that of one host, and not a pattern.
func isHostName(name string) bool {
	for i := range len(name) {
		if c := name[i]; !('a' <= c|0x20 && c|0x20 <= 'z' || isDigit(c) || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return name != ""
}

// newNameRule reads which names are accepted.
func newNameRule(message *configv1.ClientCertificate) (nameRule, error) {
	r := nameRule{kind: message.GetId(), trustDomains: slices.Clone(message.GetTrustDomains())}
	fault := func(field, text string) (nameRule, error) {
		return nameRule{}, &policy.FieldError{Field: "client_certificate." + field, Err: errors.New(text)}
	}
	if _, known := configv1.CertificateName_name[int32(r.kind)]; !known || r.kind == 0 {
		return fault("id", "say which name is the principal's id")
	}
	switch domains := len(r.trustDomains); {
	case (r.kind == configv1.CertificateName_CERTIFICATE_NAME_SPIFFE_ID) != (domains > 0):
		return fault("trust_domains", "spiffe_id needs them, and other names have none")
	case domains > 1 && message.GetCaFile() != "":
		return fault("trust_domains", "with ca_file it is one: the authorities of a trust domain may not vouch for another")
	}
	for i, domain := range r.trustDomains {
		if _, err := spiffeid.TrustDomainFromString(domain); err != nil || len(domain) > maxTrustDomain {
			return fault(fmt.Sprintf("trust_domains[%d]", i), "no name of a trust domain, such as cluster.local")
		}
	}
	for i, pattern := range message.GetNames() {
		if r.kind == configv1.CertificateName_CERTIFICATE_NAME_DNS {
			pattern = strings.ToLower(pattern)
		}
		parts := strings.FieldsFunc(pattern, func(c rune) bool { return strings.ContainsRune(r.separators(), c) })
		if !isPlain(pattern) || slices.ContainsFunc(parts, func(part string) bool { return strings.Count(part, "*") > 1 }) {
			return fault(fmt.Sprintf("names[%d]", i), "a part of the name has more than one *, or it has a control character")
		}
		r.patterns = append(r.patterns, pattern)
	}
	return r, nil
}
