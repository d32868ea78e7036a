package keys

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxCertificate is the longest text of certificates that is looked at, in bytes.
	maxCertificate = 64 << 10
	// maxOneCertificate is the longest certificate that is read, in bytes of DER; most have less than 2 KiB. To read one takes
	// time and memory before anyone has vouched for it.
	maxOneCertificate = 16 << 10
	// maxAttributes is how many attributes a distinguished name may have: pkix writes one in a time that grows with their square.
	maxAttributes = 100
	// maxChain is how many certificates one caller may bring.
	maxChain = 10
)

// shown is the certificate that a caller showed, as somebody who is trusted hands it on: whole, or by some of its names.
type shown struct {
	leaf        *x509.Certificate   // nil: only names are known
	chain       []*x509.Certificate // further ones that came with it, to make a chain of
	fingerprint string

	subject, issuer    string
	commonNames, units []string
	uris, dns, emails  []string // as they stand in the certificate: net/url would tidy them
}

// readPeer reads the certificate of the other end of Envoy's connection. principal is the name that Envoy has read out of it,
// and must be the one that we read.
func readPeer(text, principal string) (*shown, error) {
	list, err := readCertificates(text)
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("%w: %d certificates where one is meant", errMalformed, len(list))
	}
	s, err := show(list[0])
	if err != nil {
		return nil, err
	}
	names := slices.Concat(s.uris, s.dns)
	if principal != "" && len(names) > 0 && names[0] != principal {
		return nil, fmt.Errorf("%w: the certificate's first name is not the principal that Envoy has read out of it", errMalformed)
	}
	return s, nil
}

// readCertificates reads certificates in PEM that are percent-encoded, as Envoy writes them: nothing stands between them, and
// none has headers.
func readCertificates(text string) ([]*x509.Certificate, error) {
	if len(text) > maxCertificate {
		return nil, certificateTooLong(len(text))
	}
	decoded, err := url.PathUnescape(text) // in which a plus is a plus
	if err != nil {
		return nil, fmt.Errorf("%w: the certificate is not percent-encoded", errMalformed)
	}
	blocks, err := readPEM([]byte(decoded), "CERTIFICATE", true)
	if err != nil {
		return nil, fmt.Errorf("%w: the certificate: %w", errMalformed, err)
	}
	if len(blocks) > maxChain {
		return nil, fmt.Errorf("%w: a chain of %d certificates, longer than the %d that are read", errMalformed, len(blocks), maxChain)
	}
	var list []*x509.Certificate
	for _, block := range blocks {
		if len(block) > maxOneCertificate {
			return nil, fmt.Errorf("%w: a certificate of %d bytes, longer than the %d that are read", errMalformed, len(block), maxOneCertificate)
		}
		certificate, err := x509.ParseCertificate(block)
		if err != nil {
			return nil, fmt.Errorf("%w: a certificate that cannot be read", errMalformed) // what is wrong may quote it
		}
		if public, ok := certificate.PublicKey.(*rsa.PublicKey); ok && public.N.BitLen() > maxRSABits {
			return nil, fmt.Errorf("%w: a certificate with an RSA key of %d bits, more than the %d that signatures are verified with", errMalformed, public.N.BitLen(), maxRSABits)
		}
		list = append(list, certificate)
	}
	return list, nil
}

// show reads a certificate's names. One with a name that two readers could end at different places is refused.
func show(leaf *x509.Certificate) (*shown, error) {
	s := &shown{leaf: leaf}
	sum := sha256.Sum256(leaf.Raw)
	s.fingerprint = hex.EncodeToString(sum[:])
	subject, err := readName(leaf.RawSubject)
	if err != nil {
		return nil, err
	}
	issuer, err := readName(leaf.RawIssuer)
	if err != nil {
		return nil, err
	}
	s.subject, s.issuer = subject.String(), issuer.String()
	for _, set := range subject {
		for _, attribute := range set {
			text, _ := attribute.Value.(string)
			switch {
			case attribute.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}):
				s.commonNames = append(s.commonNames, text)
			case attribute.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 11}):
				s.units = append(s.units, text)
			}
		}
	}
	return s, s.readAlternatives()
}

// readName reads a distinguished name in its own order, which pkix.Name does not keep.
func readName(raw []byte) (pkix.RDNSequence, error) {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &name); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: a distinguished name that cannot be read", errMalformed)
	}
	attributes := 0
	for _, set := range name {
		if attributes += len(set); attributes > maxAttributes {
			return nil, fmt.Errorf("%w: a distinguished name of more than the %d attributes that are read", errMalformed, maxAttributes)
		}
		for _, attribute := range set {
			if text, ok := attribute.Value.(string); !ok || !isPlain(text) {
				return nil, errCertificateText
			}
		}
	}
	return name, nil
}

// readAlternatives reads the subject alternative names (RFC 5280, section 4.2.1.6) as they are written.
func (s *shown) readAlternatives() error {
	for _, extension := range s.leaf.Extensions { // x509 has seen to it that there is but one of a kind
		if !extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(extension.Value, &names); err != nil || len(rest) > 0 {
			return fmt.Errorf("%w: subject alternative names that cannot be read", errMalformed)
		}
		lists := map[int]*[]string{1: &s.emails, 2: &s.dns, 6: &s.uris}
		for _, name := range names {
			list := lists[name.Tag]
			if name.Class != asn1.ClassContextSpecific || list == nil {
				continue
			}
			if !isPlain(string(name.Bytes)) {
				return errCertificateText
			}
			*list = append(*list, string(name.Bytes))
		}
	}
	return nil
}

// isPlain reports whether a text is one that no reader ends early.
func isPlain(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// issues reports whether a certificate is that of an authority.
func issues(c *x509.Certificate) bool {
	return c.BasicConstraintsValid && c.IsCA || c.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0
}

func (s *shown) notAfter() time.Time {
	if s.leaf == nil {
		return time.Time{}
	}
	return s.leaf.NotAfter
}

// claims are what is known of the certificate, for policies.
func (s *shown) claims() map[string]any {
	claims := map[string]any{"uris": texts(s.uris), "dns": texts(s.dns)}
	if s.fingerprint != "" {
		claims["fingerprint"] = s.fingerprint
	}
	if s.leaf == nil {
		return claims
	}
	claims["subject"], claims["issuer"] = s.subject, s.issuer
	claims["emails"], claims["organizational_units"] = texts(s.emails), texts(s.units)
	claims["serial"] = s.leaf.SerialNumber.Text(16)
	claims["not_before"], claims["not_after"] = float64(s.leaf.NotBefore.Unix()), float64(s.leaf.NotAfter.Unix())
	if len(s.commonNames) == 1 {
		claims["common_name"] = s.commonNames[0]
	}
	return claims
}

// texts returns a list as decoded JSON has it.
func texts(list []string) []any {
	all := make([]any, len(list))
	for i := range list {
		all[i] = list[i]
	}
	return all
}
