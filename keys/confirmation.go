package keys

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
)

// confirmation is what a token is bound to (RFC 7800, section 3).
type confirmation struct {
	key         string // `jkt`, the thumbprint of a key (RFC 9449, section 6.1)
	certificate string // `x5t#S256`, that of a certificate (RFC 8705, section 3.1)
}

// readConfirmation reads `cnf`. One that is there and says anything else is an error: whoever issued the token meant it to be good
// for somebody alone, and it is not known for whom.
func readConfirmation(claims map[string]any) (confirmation, error) {
	var to confirmation
	value, present := claims["cnf"]
	members, ok := value.(map[string]any)
	if present && (!ok || len(members) == 0) {
		return to, fmt.Errorf("%w: it is no object, or empty", errConfirmation)
	}
	for name, value := range members {
		text, _ := value.(string)
		if len(text) != base64.RawURLEncoding.EncodedLen(sha256.Size) || !canonical(text) {
			return to, fmt.Errorf("%w: a member of it is no SHA-256 in base64url", errConfirmation)
		}
		switch name {
		case "jkt":
			to.key = text
		case "x5t#S256":
			to.certificate = text
		default:
			return to, fmt.Errorf("%w: a member of it is none of jkt and x5t#S256", errConfirmation)
		}
	}
	// What an introspection server says of a token's kind (RFC 9449, section 6.2).
	if kind, _ := claims["token_type"].(string); strings.EqualFold(kind, schemeDPoP) && to.key == "" {
		return to, fmt.Errorf("%w: token_type is DPoP, and jkt is absent", errConfirmation)
	}
	return to, nil
}

// holdCertificate refuses a token that is bound to another certificate than the one which the other end of Envoy's connection has
// shown, and Envoy handed on in percent-encoded PEM. Envoy has had it prove that the certificate is its own.
func holdCertificate(shown, thumbprint string) error {
	switch {
	case shown == "":
		return fmt.Errorf("%w: the token is bound to a certificate, and Envoy hands none on", errProof)
	case len(shown) > maxCertificate:
		return badProof(certificateTooLong(len(shown)))
	}
	text, err := url.PathUnescape(shown) // in which a plus is a plus
	if err != nil {
		return fmt.Errorf("%w: the certificate is not percent-encoded", errProof)
	}
	blocks, err := readPEM([]byte(text), "CERTIFICATE", true)
	if err != nil || len(blocks) != 1 {
		return fmt.Errorf("%w: what Envoy hands on is not one certificate in PEM", errProof)
	}
	if sum := sha256.Sum256(blocks[0]); base64.RawURLEncoding.EncodeToString(sum[:]) != thumbprint {
		return fmt.Errorf("%w: the token is bound to another certificate", errProof)
	}
	return nil
}
