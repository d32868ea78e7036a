package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
)

// HMAC is the algorithm of a shared secret; the others have a public key (RFC 9421, section 3.3).
const HMAC = "hmac-sha256"

const (
	minRSA, maxRSA = 2048, 8192 // bits
	minSecret      = 32         // bytes
)

// Key verifies the signatures of one algorithm. Its zero value verifies none.
type Key struct {
	algorithm string
	digest    [sha256.Size]byte // of the algorithm and the key itself
	verify    func(base, signature []byte) bool
}

// Digest tells the key from others, whatever it is called.
func (k *Key) Digest() [sha256.Size]byte { return k.digest }

func digest(algorithm string, key []byte) [sha256.Size]byte {
	return sha256.Sum256(append([]byte(algorithm+" "), key...))
}

// Algorithm is the key's one algorithm.
func (k *Key) Algorithm() string { return k.algorithm }

// Verify reports whether it is the signature of that base.
func (k *Key) Verify(base, signature []byte) bool {
	return k.verify != nil && k.verify(base, signature)
}

// Secret returns a shared key of those bytes.
func Secret(secret []byte) (*Key, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("the secret has %d bytes, and %d or more are needed", len(secret), minSecret)
	}
	return &Key{HMAC, digest(HMAC, secret), func(base, signature []byte) bool {
		mac := hmac.New(sha256.New, secret)
		mac.Write(base)
		return hmac.Equal(mac.Sum(nil), signature)
	}}, nil
}

// PublicKey returns a key of an algorithm. It is DER, a SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7), and must fit.
func PublicKey(algorithm string, der []byte) (*Key, error) {
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("the public key cannot be read")
	}
	k := &Key{algorithm: algorithm, digest: digest(algorithm, der)}
	switch public := parsed.(type) {
	case ed25519.PublicKey:
		if algorithm == "ed25519" {
			k.verify = func(base, signature []byte) bool { return ed25519.Verify(public, base, signature) }
		}
	case *ecdsa.PublicKey:
		k.verify = verifyECDSA(algorithm, public)
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minRSA || bits > maxRSA {
			return nil, fmt.Errorf("the RSA key has %d bits, and %d to %d are accepted", bits, minRSA, maxRSA)
		}
		k.verify = verifyRSA(algorithm, public)
	}
	if k.verify == nil {
		return nil, fmt.Errorf("the public key is not for %s", algorithm)
	}
	return k, nil
}

// verifyECDSA returns nil where the key is not for the algorithm. A signature is two numbers of the curve's length.
func verifyECDSA(algorithm string, public *ecdsa.PublicKey) func(base, signature []byte) bool {
	var digest func(base []byte) []byte
	size := 0
	switch {
	case algorithm == "ecdsa-p256-sha256" && public.Curve == elliptic.P256():
		size = 32
		digest = func(base []byte) []byte { sum := sha256.Sum256(base); return sum[:] }
	case algorithm == "ecdsa-p384-sha384" && public.Curve == elliptic.P384():
		size = 48
		digest = func(base []byte) []byte { sum := sha512.Sum384(base); return sum[:] }
	default:
		return nil
	}
	return func(base, signature []byte) bool {
		if len(signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(public, digest(base), r, s)
	}
}

// verifyRSA returns nil where the key is not for the algorithm.
func verifyRSA(algorithm string, public *rsa.PublicKey) func(base, signature []byte) bool {
	switch algorithm {
	case "rsa-pss-sha512":
		options := &rsa.PSSOptions{SaltLength: sha512.Size} // section 3.3.1
		return func(base, signature []byte) bool {
			sum := sha512.Sum512(base)
			return rsa.VerifyPSS(public, crypto.SHA512, sum[:], signature, options) == nil
		}
	case "rsa-v1_5-sha256":
		return func(base, signature []byte) bool {
			sum := sha256.Sum256(base)
			return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature) == nil
		}
	}
	return nil
}
