package keystest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
)

// The algorithms that the issuer signs with (RFC 7518, section 3.1; RFC 8037, section 3.1).
const (
	rs256 = "RS256"
	es256 = "ES256"
	eddsa = "EdDSA"
)

// signingKey is one private key with the name and the public form that it is published under.
type signingKey struct {
	id        string // the key's thumbprint (RFC 7638), so that no two keys share a name
	algorithm string
	private   crypto.Signer
	public    map[string]any // the public key as a JWK, without alg, kid and use
}

// keyRing holds one signing key of each algorithm, all of one generation.
type keyRing map[string]*signingKey

func newKeyRing() (keyRing, error) {
	ring := keyRing{}
	for _, algorithm := range []string{rs256, es256, eddsa} {
		key, err := newSigningKey(algorithm)
		if err != nil {
			return nil, err
		}
		ring[algorithm] = key
	}
	return ring, nil
}

func newSigningKey(algorithm string) (*signingKey, error) {
	key := &signingKey{algorithm: algorithm}
	switch algorithm {
	case rs256:
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, fmt.Errorf("generating an RSA key: %w", err)
		}
		key.private, key.public = private, rsaPublic(&private.PublicKey)
	case es256:
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("generating a P-256 key: %w", err)
		}
		if key.public, err = ecPublic(&private.PublicKey); err != nil {
			return nil, err
		}
		key.private = private
	case eddsa:
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("generating an Ed25519 key: %w", err)
		}
		key.private, key.public = private, map[string]any{"kty": "OKP", "crv": "Ed25519", "x": encode(public)}
	default:
		return nil, fmt.Errorf("no key for the algorithm %q: it would be RS256, ES256 or EdDSA", algorithm)
	}
	key.id = thumbprint(key.public)
	return key, nil
}

func rsaPublic(key *rsa.PublicKey) map[string]any {
	return map[string]any{
		"kty": "RSA",
		"n":   encode(key.N.Bytes()),
		"e":   encode(big.NewInt(int64(key.E)).Bytes()),
	}
}

func ecPublic(key *ecdsa.PublicKey) (map[string]any, error) {
	point, err := key.Bytes() // 0x04, then x and y, each as long as the curve's field
	if err != nil {
		return nil, fmt.Errorf("encoding a P-256 key: %w", err)
	}
	half := (len(point) - 1) / 2
	return map[string]any{
		"kty": "EC", "crv": "P-256",
		"x": encode(point[1 : 1+half]),
		"y": encode(point[1+half:]),
	}, nil
}

// thumbprint is the SHA-256 of the key's required members in lexical order (RFC 7638, section 3), which is
// the order in which encoding/json writes a map.
func thumbprint(public map[string]any) string {
	sum := sha256.Sum256(mustJSON(public))
	return encode(sum[:])
}

// jwk is the key as the key set publishes it.
func (k *signingKey) jwk() map[string]any {
	published := map[string]any{"kid": k.id, "alg": k.algorithm, "use": "sig"}
	for name, value := range k.public {
		published[name] = value
	}
	return published
}

// sign returns the signature over the text (RFC 7515, section 5.1). The keys are the issuer's own, so that
// a failure is a fault of the platform, and there is nobody who could act on it.
func (k *signingKey) sign(text string) []byte {
	digest := sha256.Sum256([]byte(text))
	switch private := k.private.(type) {
	case *rsa.PrivateKey:
		signature, err := rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, digest[:])
		if err != nil {
			panic(fmt.Sprintf("keystest: signing with RSA: %v", err))
		}
		return signature
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
		if err != nil {
			panic(fmt.Sprintf("keystest: signing with P-256: %v", err))
		}
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		return signature
	case ed25519.PrivateKey:
		return ed25519.Sign(private, []byte(text))
	}
	panic(fmt.Sprintf("keystest: a key of type %T cannot sign", k.private))
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// mustJSON is for values that the issuer made itself, or took as [Claims] from a test.
func mustJSON(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("keystest: a claim that is no JSON: %v", err))
	}
	return text
}
