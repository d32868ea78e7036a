package keystest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
)

// Signer signs requests (RFC 9421). It is told what it signs, component by component, and knows nothing of requests, so that a test
// compares two readings of one.
type Signer struct {
	KeyID     string
	Algorithm string
	private   any
}

// NewSigner makes a key for an algorithm of RFC 9421.
func NewSigner(keyID, algorithm string) (*Signer, error) {
	s := &Signer{KeyID: keyID, Algorithm: algorithm}
	var err error
	switch algorithm {
	case "ed25519":
		_, s.private, err = ed25519.GenerateKey(rand.Reader)
	case "ecdsa-p256-sha256":
		s.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ecdsa-p384-sha384":
		s.private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "rsa-pss-sha512", "rsa-v1_5-sha256":
		s.private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "hmac-sha256":
		s.private = []byte(rand.Text() + rand.Text())
	default:
		err = fmt.Errorf("no algorithm %q", algorithm)
	}
	return s, err
}

// Secret is the key of hmac-sha256.
func (s *Signer) Secret() string { return string(s.private.([]byte)) } //nolint:forcetypeassert // of no other algorithm

// PEM is the public key of another algorithm.
func (s *Signer) PEM() string {
	der, err := x509.MarshalPKIXPublicKey(s.private.(crypto.Signer).Public()) //nolint:forcetypeassert // of no other algorithm
	if err != nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// Component is one line of what is signed: its name as it stands in Signature-Input, with quotes, and its value.
type Component struct{ ID, Value string }

// Sign returns the two headers of a signature with the label "sig". The parameters are those behind the components, such as
// `;created=1;keyid="a"`.
func (s *Signer) Sign(parameters string, components ...Component) (input, signature string, err error) {
	var base strings.Builder
	ids := make([]string, len(components))
	for i, c := range components {
		ids[i] = c.ID
		fmt.Fprintf(&base, "%s: %s\n", c.ID, c.Value)
	}
	list := "(" + strings.Join(ids, " ") + ")" + parameters
	fmt.Fprintf(&base, "%q: %s", "@signature-params", list)
	value, err := s.sign([]byte(base.String()))
	return "sig=" + list, "sig=:" + base64.StdEncoding.EncodeToString(value) + ":", err
}

func (s *Signer) sign(base []byte) ([]byte, error) {
	switch private := s.private.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(private, base), nil
	case *ecdsa.PrivateKey:
		size := private.Params().BitSize / 8
		digest256, digest384 := sha256.Sum256(base), sha512.Sum384(base)
		digest := digest256[:]
		if size == 48 {
			digest = digest384[:]
		}
		r, v, err := ecdsa.Sign(rand.Reader, private, digest)
		if err != nil {
			return nil, err
		}
		return append(r.FillBytes(make([]byte, size)), v.FillBytes(make([]byte, size))...), nil
	case *rsa.PrivateKey:
		if s.Algorithm == "rsa-v1_5-sha256" {
			digest := sha256.Sum256(base)
			return rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, digest[:])
		}
		digest := sha512.Sum512(base)
		return rsa.SignPSS(rand.Reader, private, crypto.SHA512, digest[:], &rsa.PSSOptions{SaltLength: 64})
	case []byte:
		mac := hmac.New(sha256.New, private)
		mac.Write(base)
		return mac.Sum(nil), nil
	}
	return nil, fmt.Errorf("no key of %q", s.Algorithm)
}

// ContentDigest returns the header of that name for a body (RFC 9530).
func ContentDigest(body string) string {
	sum := sha256.Sum256([]byte(body))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}
