package keys

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha512" // golang-jwt finds SHA-384 and SHA-512 only if they are linked in
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

const (
	// minRSABits is the least modulus that is taken (RFC 7518, section 3.3).
	minRSABits = 2048
	// maxRSABits bounds the time of one verification, which grows with the square of the modulus.
	maxRSABits = 8192
)

// The algorithms that a key of each type may be for (RFC 7518, section 3.1; RFC 8037, section 3.1).
var (
	rsaAlgorithms   = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	p256Algorithms  = []string{"ES256"}
	p384Algorithms  = []string{"ES384"}
	p521Algorithms  = []string{"ES512"}
	eddsaAlgorithms = []string{"EdDSA"}
	// asymmetricAlgorithms are all of them.
	asymmetricAlgorithms = slices.Concat(rsaAlgorithms, p256Algorithms, p384Algorithms, p521Algorithms, eddsaAlgorithms)
)

// key is one usable key: a public one, or a secret that is shared with the issuer. It is immutable.
type key struct {
	id         string   // `kid`, empty when absent
	index      int      // its place in the document
	algorithms []string // those that it may verify
	material   any      // as golang-jwt takes it for these algorithms
}

// verify checks the signature of a token that was strictly read. golang-jwt does the cryptography; its parser would read again
// what parseToken has read, less strictly. A key never verifies with an algorithm that is not its own.
func (k *key) verify(t *token) error {
	method := jwt.GetSigningMethod(t.algorithm)
	if method == nil || !k.fits(t.algorithm) {
		return errKeyMisfit
	}
	end := strings.LastIndexByte(t.raw, '.')
	signature, err := base64.RawURLEncoding.Strict().DecodeString(t.raw[end+1:])
	if err != nil {
		return errMalformed
	}
	if err := method.Verify(t.raw[:end], signature, k.material); err != nil {
		return errSignature
	}
	return nil
}

func (k *key) fits(algorithm string) bool { return slices.Contains(k.algorithms, algorithm) }

// parseKey reads one JSON Web Key (RFC 7517, section 4), and refuses one that must not verify a signature.
// Only the members named here are read; certificates and addresses in a key mean nothing.
func parseKey(value any) (*key, error) {
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("no object")
	}
	var m jwkset.JWKMarshal
	for _, member := range []struct {
		name string
		to   func(string)
	}{
		{"kty", func(s string) { m.KTY = jwkset.KTY(s) }},
		{"kid", func(s string) { m.KID = s }},
		{"alg", func(s string) { m.ALG = jwkset.ALG(s) }},
		{"use", func(s string) { m.USE = jwkset.USE(s) }},
		{"crv", func(s string) { m.CRV = jwkset.CRV(s) }},
		{"n", func(s string) { m.N = s }},
		{"e", func(s string) { m.E = s }},
		{"x", func(s string) { m.X = s }},
		{"y", func(s string) { m.Y = s }},
	} {
		text, present, err := stringMember(object, member.name)
		if err != nil {
			return nil, err
		}
		if present {
			member.to(text)
		}
	}
	if err := checkPurpose(object, &m); err != nil {
		return nil, err
	}
	parsed, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return nil, err
	}
	return newKey(parsed)
}

func stringMember(object map[string]any, name string) (text string, present bool, err error) {
	value, present := object[name]
	if !present {
		return "", false, nil
	}
	text, ok := value.(string)
	if !ok || text == "" {
		return "", true, fmt.Errorf("%s is no string, or empty", name)
	}
	return text, true, nil
}

// checkPurpose refuses a key that is not public, or not for verifying.
func checkPurpose(object map[string]any, m *jwkset.JWKMarshal) error {
	switch m.KTY {
	case jwkset.KtyRSA, jwkset.KtyEC, jwkset.KtyOKP:
	default: // oct among them: a symmetric key that can be fetched is no secret
		return fmt.Errorf("kty is none of RSA, EC and OKP")
	}
	if _, private := object["d"]; private {
		return fmt.Errorf("its private part is published with it")
	}
	if len(m.KID) > maxKeyID {
		return fmt.Errorf("kid is longer than %d bytes", maxKeyID)
	}
	if m.USE != "" && m.USE != jwkset.UseSig {
		return fmt.Errorf("use is not sig")
	}
	if operations, present := object["key_ops"]; present {
		list, _ := operations.([]any)
		if !slices.Contains(list, any("verify")) {
			return fmt.Errorf("key_ops does not have verify")
		}
	}
	return nil
}

// newKey returns the key of a parsed JWK.
func newKey(parsed jwkset.JWK) (*key, error) {
	algorithms, err := algorithmsOf(parsed.Key())
	if err != nil {
		return nil, err
	}
	marshal := parsed.Marshal()
	if own := marshal.ALG.String(); own != "" {
		if !slices.Contains(algorithms, own) {
			return nil, fmt.Errorf("alg is none that a key of its type verifies")
		}
		algorithms = []string{own}
	}
	return &key{id: marshal.KID, algorithms: algorithms, material: parsed.Key()}, nil
}

// algorithmsOf returns the algorithms that fit the key's type and curve, and refuses a weak key.
func algorithmsOf(public any) ([]string, error) {
	switch public := public.(type) {
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("an RSA modulus of %d bits, and only %d to %d are taken", bits, minRSABits, maxRSABits)
		}
		if public.E < 3 || public.E%2 == 0 || public.N.Bit(0) == 0 {
			return nil, fmt.Errorf("an RSA key with an even modulus, or an exponent that is even or below 3")
		}
		return rsaAlgorithms, nil
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256():
			return p256Algorithms, nil
		case elliptic.P384():
			return p384Algorithms, nil
		case elliptic.P521():
			return p521Algorithms, nil
		}
	case ed25519.PublicKey:
		return eddsaAlgorithms, nil
	}
	return nil, fmt.Errorf("a key of a type or on a curve that verifies no signature here")
}
