package keystest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Authority issues certificates, and withdraws them. What it makes begins an hour before its time and ends a day after it.
type Authority struct {
	Now         time.Time
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// Certificate is one that an Authority has issued, with its key.
type Certificate struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// NewAuthority returns one that has signed itself.
func NewAuthority(name string, now time.Time) *Authority {
	template := authorityTemplate(name, now)
	key := newKey()
	return &Authority{Now: now, key: key, Certificate: sign(template, template, key, key)}
}

// Intermediate returns an authority that this one has issued.
func (a *Authority) Intermediate(name string) *Authority {
	key := newKey()
	return &Authority{Now: a.Now, key: key, Certificate: sign(authorityTemplate(name, a.Now), a.Certificate, key, a.key)}
}

func authorityTemplate(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// Issue returns a certificate for client authentication, with what change makes of it.
func (a *Authority) Issue(change func(*x509.Certificate)) *Certificate {
	template := leafTemplate(a.Now)
	change(template)
	key := newKey()
	return &Certificate{Certificate: sign(template, a.Certificate, key, a.key), key: key}
}

func leafTemplate(now time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial(), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
}

// IssueRaw returns a certificate in PEM that crypto/x509 itself may not be able to read.
func (a *Authority) IssueRaw(change func(*x509.Certificate)) []byte {
	template := leafTemplate(a.Now)
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, &newKey().PublicKey, a.key)
	if err != nil {
		panic(fmt.Sprintf("keystest: issuing a certificate: %v", err))
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Revoke returns a revocation list of those certificates, in DER, with what change makes of it.
func (a *Authority) Revoke(change func(*x509.RevocationList), certificates ...*x509.Certificate) []byte {
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: a.Now.Add(-time.Hour), NextUpdate: a.Now.Add(time.Hour)}
	for _, c := range certificates {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: template.ThisUpdate})
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.Certificate, a.key)
	if err != nil {
		panic(fmt.Sprintf("keystest: making a revocation list: %v", err))
	}
	return der
}

// PEM returns the authority's certificate.
func (a *Authority) PEM() []byte { return certificatePEM(a.Certificate) }

// PEM returns the certificate.
func (c *Certificate) PEM() []byte { return certificatePEM(c.Certificate) }

// KeyPEM returns its private key.
func (c *Certificate) KeyPEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		panic(fmt.Sprintf("keystest: writing a key: %v", err))
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// TLS returns the certificate as a client or a server shows it.
func (c *Certificate) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: c.key}
}

// Encoded returns the certificate as Envoy hands it on.
func (c *Certificate) Encoded() string { return EncodePEM(c.PEM()) }

// Fingerprint returns the SHA-256 of the certificate, in hexadecimal.
func (c *Certificate) Fingerprint() string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// EncodePEM percent-encodes what Envoy does of a text in PEM.
func EncodePEM(text []byte) string {
	return strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D").Replace(string(text))
}

func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(fmt.Sprintf("keystest: making a key: %v", err))
	}
	return key
}

func serial() *big.Int {
	var bytes [16]byte
	_, _ = rand.Read(bytes[:])
	bytes[0] = bytes[0]&0x7f | 1
	return new(big.Int).SetBytes(bytes[:])
}

func sign(template, issuer *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		panic(fmt.Sprintf("keystest: issuing a certificate: %v", err))
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		panic(fmt.Sprintf("keystest: reading a certificate: %v", err))
	}
	return certificate
}
