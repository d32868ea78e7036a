package keys

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"
)

// revocationList is the certificates that one authority has withdrawn.
type revocationList struct {
	file               string
	thisUpdate, update time.Time
	serials            map[string]struct{}
}

// addLists reads the revocation lists of one file, in PEM or DER.
func (a *authorities) addLists(path string, issuers []*x509.Certificate, read func(path string) ([]byte, error)) error {
	data, err := read(path)
	if err != nil {
		return err
	}
	blocks := [][]byte{data}
	if len(data) == 0 || data[0] != 0x30 { // a SEQUENCE, as DER begins
		if blocks, err = readPEM(data, "X509 CRL", false); err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
	}
	if a.lists == nil {
		a.lists = map[issuerKey]*revocationList{}
	}
	for i, block := range blocks {
		list, issuer, err := readRevocationList(block, issuers)
		if err != nil {
			return fmt.Errorf("reading list %d of %s: %w", i+1, path, err)
		}
		list.file = path
		if other := a.lists[keyOf(issuer)]; other != nil {
			return fmt.Errorf("reading list %d of %s: a second list of one authority; the first is in %s", i+1, path, other.file)
		}
		a.lists[keyOf(issuer)] = list
	}
	return nil
}

// readRevocationList reads one list (RFC 5280, section 5) and finds the authority that has signed it.
func readRevocationList(der []byte, issuers []*x509.Certificate) (*revocationList, *x509.Certificate, error) {
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, nil, err
	}
	var issuer *x509.Certificate
	for _, authority := range issuers {
		if bytes.Equal(authority.RawSubject, parsed.RawIssuer) && parsed.CheckSignatureFrom(authority) == nil {
			issuer = authority
		}
	}
	switch {
	case len(parsed.Raw) != len(der):
		return nil, nil, errors.New("something stands behind it")
	case issuer == nil:
		return nil, nil, errors.New("no authority of ca_file has signed it")
	case parsed.NextUpdate.IsZero():
		return nil, nil, errors.New("it has no nextUpdate")
	case critical(parsed.Extensions):
		return nil, nil, errors.New("it has a critical extension, as have lists of changes and lists of some certificates only; a whole list is needed")
	}
	list := &revocationList{thisUpdate: parsed.ThisUpdate, update: parsed.NextUpdate, serials: make(map[string]struct{}, len(parsed.RevokedCertificateEntries))}
	for _, entry := range parsed.RevokedCertificateEntries {
		if critical(entry.Extensions) {
			return nil, nil, errors.New("an entry has a critical extension, as have lists of several authorities' certificates")
		}
		list.serials[entry.SerialNumber.String()] = struct{}{}
	}
	return list, issuer, nil
}

// critical reports whether there is an extension that must not be passed over (RFC 5280, sections 5.2 and 5.3). None of those that
// are critical says what we know how to follow; those of x509 itself, a number and the issuer's key, are not.
func critical(extensions []pkix.Extension) bool {
	for _, extension := range extensions {
		if extension.Critical || extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 27}) { // a list of changes, however it is marked
			return true
		}
	}
	return false
}
