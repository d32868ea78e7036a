package dpop

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
)

// Thumbprint returns the SHA-256 thumbprint of a public key's JWK (RFC 7638), in base64url. It is that of the key and not of a
// text: a JWK that is written in another way has the same.
func Thumbprint(public any) (string, error) {
	var members string // those that are required, in the order of their names and without spaces
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		point, err := public.Bytes() // 0x04, then x and y, each as long as the curve's field
		if err != nil {
			return "", fmt.Errorf("a point that is none of its curve: %w", err)
		}
		half := len(point) / 2
		members = fmt.Sprintf(`{"crv":%q,"kty":"EC","x":%q,"y":%q}`, public.Params().Name, encode(point[1:1+half]), encode(point[1+half:]))
	case ed25519.PublicKey:
		members = fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":%q}`, encode(public))
	case *rsa.PublicKey:
		members = fmt.Sprintf(`{"e":%q,"kty":"RSA","n":%q}`, encode(big.NewInt(int64(public.E)).Bytes()), encode(public.N.Bytes()))
	default:
		return "", errors.New("a key of a type that has no thumbprint here")
	}
	sum := sha256.Sum256([]byte(members))
	return encode(sum[:]), nil
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }
