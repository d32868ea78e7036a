package servertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Authority is a certificate authority of the test's own.
type Authority struct {
	tb          testing.TB
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      int64
}

// NewAuthority returns a new one. Any two have one name and different keys.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{tb: tb}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = a.newKey()
	der := a.sign(template, template, &a.key.PublicKey)
	var err error
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	return a
}

// PEM returns the authority's own certificate.
func (a *Authority) PEM() string { return toPEM("CERTIFICATE", a.certificate.Raw) }

// Pool returns the authority's certificate for a client's RootCAs.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// Issue returns a certificate for those names, and its key. Names with a scheme become URI names, others DNS names.
func (a *Authority) Issue(names ...string) (certificate, key string) {
	a.tb.Helper()
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.serial), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if !strings.Contains(name, "://") {
			template.DNSNames = append(template.DNSNames, name)
			continue
		}
		parsed, err := url.Parse(name)
		if err != nil {
			a.tb.Fatal(err)
		}
		template.URIs = append(template.URIs, parsed)
	}
	private := a.newKey()
	der := a.sign(template, a.certificate, &private.PublicKey)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.tb.Fatal(err)
	}
	return toPEM("CERTIFICATE", der), toPEM("PRIVATE KEY", encoded)
}

// Client returns the settings of a client that trusts this authority for a server named "kasbah", and shows a certificate of
// shown for those names; nil shows none.
func (a *Authority) Client(shown *Authority, names ...string) *tls.Config {
	a.tb.Helper()
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: a.Pool(), ServerName: "kasbah"}
	if shown == nil {
		return config
	}
	pair, err := tls.X509KeyPair(pair(shown.Issue(names...)))
	if err != nil {
		a.tb.Fatal(err)
	}
	// Shown whatever authorities the server asks for: that the server refuses it is what tests are about.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return config
}

func pair(certificate, key string) ([]byte, []byte) { return []byte(certificate), []byte(key) }

func (a *Authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.tb.Fatal(err)
	}
	return key
}

func (a *Authority) sign(template, parent *x509.Certificate, public *ecdsa.PublicKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		a.tb.Fatal(err)
	}
	return der
}

func toPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
