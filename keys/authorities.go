package keys

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// maxAuthorities is the greatest number of certificates of one file of authorities.
const maxAuthorities = 1000

// authorities are who vouches for certificates, and which of these they have withdrawn. The zero authorities leave the first
// to Envoy and know of none of the second.
type authorities struct {
	roots  *x509.CertPool                  // nil: Envoy has verified the chain
	lists  map[string]*x509.RevocationList // by the issuer's name, as it is encoded
	gone   map[string]map[string]bool      // the withdrawn serial numbers, by the same
	digest [sha256.Size]byte               // of the files
}

// readAuthorities reads the files of a provider. One that is missing, empty or cannot be read whole is an error: nothing here
// is ever taken for "no authority is demanded".
func readAuthorities(message *configv1.ClientCertificate, read func(path string) ([]byte, error)) (*authorities, error) {
	a := &authorities{}
	if message.GetCaFile() == "" {
		if len(message.GetCrlFiles()) > 0 {
			return nil, &policy.FieldError{Field: "client_certificate.crl_files", Err: errors.New("a list is believed by its signature, for which ca_file is needed")}
		}
		return a, nil
	}
	data, err := read(message.GetCaFile())
	if err != nil {
		return nil, &policy.FieldError{Field: "client_certificate.ca_file", Err: err}
	}
	trusted, err := readCertificates(data)
	if err != nil {
		return nil, &policy.FieldError{Field: "client_certificate.ca_file", Err: err}
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%d:%s", len(data), data)
	a.roots = x509.NewCertPool()
	for _, certificate := range trusted {
		a.roots.AddCert(certificate)
	}
	for i, path := range message.GetCrlFiles() {
		field := fmt.Sprintf("client_certificate.crl_files[%d]", i)
		data, err := read(path)
		if err != nil {
			return nil, &policy.FieldError{Field: field, Err: err}
		}
		if err := a.addList(data, trusted); err != nil {
			return nil, &policy.FieldError{Field: field, Err: err}
		}
		fmt.Fprintf(sum, "%d:%s", len(data), data)
	}
	copy(a.digest[:], sum.Sum(nil))
	return a, nil
}

// readCertificates reads a file of certificates in PEM, whole.
func readCertificates(data []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for rest := data; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			if strings.Contains(string(rest), "-----BEGIN") {
				return nil, errors.New("a block that is not whole")
			}
			break
		}
		if block.Type != "CERTIFICATE" || len(all) == maxAuthorities {
			return nil, fmt.Errorf("only certificates belong here, %d at the most", maxAuthorities)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d cannot be read: %w", len(all)+1, err)
		}
		if !certificate.IsCA {
			return nil, fmt.Errorf("certificate %d is not that of an authority", len(all)+1)
		}
		all = append(all, certificate)
	}
	if len(all) == 0 {
		return nil, errors.New("no certificate in PEM")
	}
	return all, nil
}

// addList reads a list of withdrawn certificates (RFC 5280, section 5), in PEM or DER, that one of the authorities signed.
func (a *authorities) addList(data []byte, trusted []*x509.Certificate) error {
	der := data
	if block, rest := pem.Decode(data); block != nil {
		if block.Type != "X509 CRL" || strings.TrimSpace(string(rest)) != "" {
			return errors.New("not one list (X509 CRL) in PEM")
		}
		der = block.Bytes
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return errors.New("no list of withdrawn certificates in PEM or DER")
	}
	signed := false
	for _, authority := range trusted {
		signed = signed || string(authority.RawSubject) == string(list.RawIssuer) && list.CheckSignatureFrom(authority) == nil
	}
	if !signed {
		return errors.New("the list is signed by none of the authorities of ca_file")
	}
	if list.NextUpdate.IsZero() {
		return errors.New("the list does not say when the next one comes, so that it could never be out of date")
	}
	if a.lists == nil {
		a.lists, a.gone = map[string]*x509.RevocationList{}, map[string]map[string]bool{}
	}
	issuer := string(list.RawIssuer)
	if a.lists[issuer] != nil {
		return errors.New("a second list of one issuer")
	}
	gone := make(map[string]bool, len(list.RevokedCertificateEntries))
	for _, entry := range list.RevokedCertificateEntries {
		gone[serial(entry.SerialNumber)] = true
	}
	a.lists[issuer], a.gone[issuer] = list, gone
	return nil
}

func serial(number *big.Int) string { return number.Text(16) }

// check refuses a certificate that no authority vouches for, or that one has withdrawn. It returns until when that is known;
// the zero time for ever. A list whose time is over is no answer: its certificates are neither good nor withdrawn.
func (a *authorities) check(leaf *x509.Certificate, now time.Time) (until time.Time, err error) {
	if a.roots == nil {
		return time.Time{}, nil
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: a.roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return time.Time{}, errUntrusted
	}
	if len(a.lists) == 0 {
		return time.Time{}, nil
	}
	list := a.lists[string(leaf.RawIssuer)]
	if list == nil || !now.Before(list.NextUpdate) {
		return time.Time{}, &policy.StageError{Reason: policy.Unavailable, Err: errNoList}
	}
	if a.gone[string(leaf.RawIssuer)][serial(leaf.SerialNumber)] {
		return time.Time{}, errCertificateRevoked
	}
	return list.NextUpdate, nil
}

var errNoList = errors.New("there is no list of withdrawn certificates of this issuer, or its next update is overdue")
