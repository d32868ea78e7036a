package keys

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// contentEncryptions are how the content of an encrypted token may be encrypted (RFC 7518, section 5.1): all of them are
// authenticated.
var contentEncryptions = []jose.ContentEncryption{jose.A128GCM, jose.A192GCM, jose.A256GCM, jose.A128CBC_HS256, jose.A192CBC_HS384, jose.A256CBC_HS512}

// maxDecryptionBits bounds the time of one decryption, which anyone can ask for and which grows with the cube of the modulus.
const maxDecryptionBits = 4096

// decryptionKey is a private key that tokens are encrypted for.
type decryptionKey struct {
	id        string // the token's `kid`; empty: that of a token without one
	algorithm jose.KeyAlgorithm
	private   any // *rsa.PrivateKey or *ecdsa.PrivateKey
	digest    [sha256.Size]byte
}

// decryptionKeys reads a provider's keys.
func decryptionKeys(messages []*configv1.DecryptionKey, files Files) ([]decryptionKey, error) {
	var all []decryptionKey
	for i, message := range messages {
		field := fmt.Sprintf("jwt.decryption[%d]", i)
		if files.Secret == nil {
			return nil, &policy.FieldError{Field: field + ".key", Err: errors.New("secrets are not read here")}
		}
		text, err := files.Secret(message.GetKey())
		if err != nil {
			return nil, &policy.FieldError{Field: field + ".key", Err: err}
		}
		private, err := readDecryptionKey(text, message.GetAlgorithm())
		if err != nil {
			return nil, &policy.FieldError{Field: field + ".key", Err: err}
		}
		for _, other := range all {
			if other.id == message.GetId() {
				return nil, &policy.FieldError{Field: field + ".id", Err: errors.New("each of several keys needs an id of its own, which is the token's kid")}
			}
		}
		all = append(all, decryptionKey{message.GetId(), jose.KeyAlgorithm(message.GetAlgorithm()), private, sha256.Sum256([]byte(text))})
	}
	return all, nil
}

func readDecryptionKey(text, algorithm string) (any, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("it is not one private key in PEM (PKCS #8)")
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it is no private key in PEM (PKCS #8); openssl pkcs8 -topk8 -nocrypt makes one of an older form")
	}
	switch private := private.(type) {
	case *rsa.PrivateKey:
		if bits := private.N.BitLen(); bits < minRSABits || bits > maxDecryptionBits {
			return nil, fmt.Errorf("an RSA modulus of %d bits, and only %d to %d are taken", bits, minRSABits, maxDecryptionBits)
		}
		if strings.HasPrefix(algorithm, "RSA-") {
			return private, nil
		}
	case *ecdsa.PrivateKey:
		if strings.HasPrefix(algorithm, "ECDH-") {
			return private, nil
		}
	}
	return nil, fmt.Errorf("it is a key of another type than %s needs", algorithm)
}

// isEncrypted reports whether a credential has the five parts of an encrypted token (RFC 7516, section 7.1).
func isEncrypted(raw string) bool { return strings.Count(raw, ".") == 4 }

// decrypt returns the token inside of an encrypted one. Its header is read as strictly as that of a signed token, and no key
// is used before everything that it says has been agreed to.
func decrypt(raw string, keys []decryptionKey) (*token, error) {
	first, _, _ := strings.Cut(raw, ".")
	for i, part := range strings.Split(raw, ".") {
		if !canonical(part) {
			return nil, fmt.Errorf("%w: part %d is no canonical base64url", errMalformed, i+1)
		}
	}
	text, err := decodePart(first)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	outer := &token{raw: raw}
	nested, err := outer.readEncryptedHeader(text)
	if err != nil {
		return nil, fmt.Errorf("%w: header: %w", errMalformed, err)
	}
	if !nested {
		return nil, fmt.Errorf("%w: cty does not say that there is a token inside (RFC 7519, section 5.2)", errMalformed)
	}
	for _, key := range keys {
		if key.id != outer.keyID || string(key.algorithm) != outer.algorithm {
			continue
		}
		message, err := jose.ParseEncryptedCompact(raw, []jose.KeyAlgorithm{key.algorithm}, contentEncryptions)
		if err != nil {
			return nil, fmt.Errorf("%w: no encrypted token that can be read, with a content encryption that is accepted", errMalformed)
		}
		inside, err := message.Decrypt(key.private)
		if err != nil {
			return nil, errUndecryptable // whatever it was: a caller must not learn from where it failed
		}
		return parseToken(string(inside))
	}
	return nil, errDecryptionKey
}

// readEncryptedHeader reads the members of an encrypted token's header that matter, and reports whether its content is a
// token. Compression is refused: what comes out is not bounded by what came in.
func (t *token) readEncryptedHeader(text string) (nested bool, err error) {
	header, err := decodeObject(text, maxHeaderDepth)
	if err != nil {
		return false, err
	}
	for _, name := range []string{"crit", "zip", "p2c", "p2s"} {
		if _, ok := header[name]; ok {
			return false, fmt.Errorf("%s is not supported", name)
		}
	}
	cty, _ := header["cty"].(string)
	delete(header, "cty")
	return mediaType(cty) == "jwt", t.readMembers(header)
}
