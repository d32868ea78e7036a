package keys

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// authorities verify certificates. They are immutable.
type authorities struct {
	roots, between *x509.CertPool
	lists          map[issuerKey]*revocationList // nil: nothing is asked about revocation
}

// issuerKey names who signs: a name alone may be that of several keys.
type issuerKey struct{ subject, key string }

func keyOf(c *x509.Certificate) issuerKey {
	return issuerKey{string(c.RawSubject), string(c.RawSubjectPublicKeyInfo)}
}

// verify finds a chain from the certificate to an authority of which nothing is withdrawn. It returns how long that holds.
func (a *authorities) verify(leaf *x509.Certificate, more []*x509.Certificate, now time.Time) (time.Time, error) {
	options := x509.VerifyOptions{
		Roots: a.roots, Intermediates: a.between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(more) > 0 {
		options.Intermediates = a.between.Clone()
	}
	for _, certificate := range more {
		options.Intermediates.AddCert(certificate)
	}
	chains, err := leaf.Verify(options)
	if err != nil {
		return time.Time{}, chainFault(err)
	}
	var fault error
	for _, chain := range chains {
		until, err := a.current(chain, now)
		if err == nil {
			return until, nil
		}
		if fault == nil || errors.Is(err, errCertificateRevoked) {
			fault = err
		}
	}
	return time.Time{}, fault
}

// current returns until when nothing in a chain needs another look.
func (a *authorities) current(chain []*x509.Certificate, now time.Time) (time.Time, error) {
	until := chain[0].NotAfter
	for _, certificate := range chain {
		until = earlier(until, certificate.NotAfter)
	}
	if a.lists == nil {
		return until.Add(time.Second), nil
	}
	until = until.Add(time.Second)
	for i, certificate := range chain[:len(chain)-1] {
		list := a.lists[keyOf(chain[i+1])]
		if list == nil {
			return time.Time{}, unknownRevocation("no list of crl_files is of an authority in the certificate's chain")
		}
		if _, revoked := list.serials[certificate.SerialNumber.String()]; revoked {
			return time.Time{}, errCertificateRevoked
		}
		if now.Before(list.thisUpdate) || !now.Before(list.update) {
			return time.Time{}, unknownRevocation("now is not between thisUpdate and nextUpdate of " + list.file)
		}
		until = earlier(until, list.update)
	}
	return until, nil
}

// unknownRevocation is the error where nobody can say whether a certificate is withdrawn.
func unknownRevocation(why string) error {
	return &policy.StageError{Reason: policy.Unavailable, Err: errors.New("looking for the certificate's revocation: " + why)}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// chainFault says in our own words why there is no chain: those of x509 quote names of the certificate.
func chainFault(err error) error {
	var invalid x509.CertificateInvalidError
	switch {
	case !errors.As(err, &invalid):
		return fmt.Errorf("%w: none of them has issued it", errUntrusted)
	case invalid.Reason == x509.IncompatibleUsage:
		return fmt.Errorf("%w: it is not for client authentication", errUntrusted)
	case invalid.Reason == x509.Expired:
		return fmt.Errorf("%w: a certificate of an authority has expired, or is not valid yet", errUntrusted)
	}
	return fmt.Errorf("%w: its chain breaks the rule %d of crypto/x509", errUntrusted, invalid.Reason)
}

// newAuthorities reads the authorities and their lists. A file that is missing, empty or holds anything else is an error: the
// alternative would be to trust anyone, or nobody. Without authorities it returns nil.
func newAuthorities(message *configv1.ClientCertificate, read func(path string) ([]byte, error)) (*authorities, error) {
	if message.GetCaFile() == "" {
		if len(message.GetCrlFiles()) > 0 {
			return nil, &policy.FieldError{Field: "client_certificate.crl_files", Err: errors.New("they need a ca_file")}
		}
		return nil, nil
	}
	a := &authorities{roots: x509.NewCertPool(), between: x509.NewCertPool()}
	list, err := readAuthorities(message.GetCaFile(), read)
	if err != nil {
		return nil, &policy.FieldError{Field: "client_certificate.ca_file", Err: err}
	}
	for _, authority := range list {
		if issued(authority, list) {
			a.between.AddCert(authority)
		} else {
			a.roots.AddCert(authority)
		}
	}
	if a.roots.Equal(x509.NewCertPool()) {
		return nil, &policy.FieldError{Field: "client_certificate.ca_file", Err: errors.New("each authority of it was issued by another one of it, and a chain would end nowhere")}
	}
	for i, path := range message.GetCrlFiles() {
		if err := a.addLists(path, list, read); err != nil {
			return nil, &policy.FieldError{Field: fmt.Sprintf("client_certificate.crl_files[%d]", i), Err: err}
		}
	}
	return a, nil
}

func readAuthorities(path string, read func(path string) ([]byte, error)) ([]*x509.Certificate, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	blocks, err := readPEM(data, "CERTIFICATE", false)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	var list []*x509.Certificate
	for i, block := range blocks {
		authority, err := x509.ParseCertificate(block)
		if err != nil {
			return nil, fmt.Errorf("reading certificate %d of %s: %w", i+1, path, err)
		}
		if !authority.BasicConstraintsValid || !authority.IsCA {
			return nil, fmt.Errorf("certificate %d of %s is not that of an authority", i+1, path)
		}
		list = append(list, authority)
	}
	return list, nil
}

// issued reports whether another one of the authorities has issued this one: then a chain does not end with it, and the other
// can withdraw it.
func issued(authority *x509.Certificate, list []*x509.Certificate) bool {
	return slices.ContainsFunc(list, func(other *x509.Certificate) bool {
		return keyOf(other) != keyOf(authority) && bytes.Equal(authority.RawIssuer, other.RawSubject) && authority.CheckSignatureFrom(other) == nil
	})
}
