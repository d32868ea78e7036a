package keys

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// maxToken is the longest credential that is looked at, in bytes. Envoy's own limit on all headers together
// is 60 KiB.
const maxToken = 8 << 10

const (
	// maxHeaderDepth and maxClaimsDepth are how many objects and arrays a token's two objects may hold inside
	// one another, themselves included.
	maxHeaderDepth = 16
	maxClaimsDepth = 64
	// maxKeyID is the longest `kid`, in bytes.
	maxKeyID = 256
)

// token is a JSON Web Token in compact form (RFC 7515, section 7.1), read strictly and not verified.
type token struct {
	raw       string
	algorithm string // `alg`
	keyID     string // `kid`, empty when absent
	typ       string // `typ` in lower case without "application/", empty when absent
	issuer    string // `iss`, empty when it is absent or no string
	claims    map[string]any
	size      int // bytes of the claims' text
}

// parseToken takes the one strict look at a token. It refuses, with errMalformed, whatever two readers could
// read two ways, and every extension that it does not know.
func parseToken(raw string) (*token, error) {
	header, claims, err := split(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	t := &token{raw: raw, size: len(claims)}
	if _, err := t.readHeader(header); err != nil {
		return nil, fmt.Errorf("%w: header: %w", errMalformed, err)
	}
	t.claims, err = decodeObject(claims, maxClaimsDepth)
	if err != nil {
		return nil, fmt.Errorf("%w: claims: %w", errMalformed, err)
	}
	t.issuer, _ = t.claims["iss"].(string)
	return t, nil
}

// split returns the text of a token's first two parts.
func split(raw string) (header, claims string, err error) {
	first := strings.IndexByte(raw, '.')
	last := strings.LastIndexByte(raw, '.')
	if first == last || strings.IndexByte(raw[first+1:last], '.') >= 0 {
		return "", "", fmt.Errorf("not three parts")
	}
	parts := [...]string{raw[:first], raw[first+1 : last], raw[last+1:]}
	for i, part := range parts {
		if !canonical(part) {
			return "", "", fmt.Errorf("part %d is no canonical base64url", i+1)
		}
	}
	if header, err = decodePart(parts[0]); err != nil {
		return "", "", err
	}
	if claims, err = decodePart(parts[1]); err != nil {
		return "", "", err
	}
	return header, claims, nil
}

// decodePart decodes a part that is canonical already.
func decodePart(part string) (string, error) {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return "", fmt.Errorf("no base64url")
	}
	return string(data), nil
}

// canonical reports whether part is base64url without padding (RFC 7515, section 2) and the only spelling
// of its bytes: encoding/base64 skips line breaks, and without Strict ignores unused bits at the end.
func canonical(part string) bool {
	for i := range len(part) {
		if sextets[part[i]] == 0 {
			return false
		}
	}
	if part == "" {
		return true
	}
	last := sextets[part[len(part)-1]] - 1
	switch len(part) % 4 {
	case 1:
		return false
	case 2:
		return last&0b1111 == 0
	case 3:
		return last&0b11 == 0
	}
	return true
}

// sextets holds, for each letter of the base64url alphabet, its value and one, and 0 for every other byte.
var sextets = func() (table [256]byte) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range len(alphabet) {
		table[alphabet[i]] = byte(i + 1)
	}
	return table
}()

// readHeader reads the members that matter, and returns all. `jku`, `x5u`, `jwk` and `x5c` are not looked at.
func (t *token) readHeader(text string) (map[string]any, error) {
	header, err := decodeObject(text, maxHeaderDepth)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"crit", "b64"} { // RFC 7515, section 4.1.11; RFC 7797
		if _, ok := header[name]; ok {
			return nil, fmt.Errorf("%s names an extension, and none is supported", name)
		}
	}
	return header, t.readMembers(header)
}

func (t *token) readMembers(header map[string]any) error {
	var ok bool
	if t.algorithm, ok = header["alg"].(string); !ok {
		return fmt.Errorf("alg is absent or no string")
	}
	if kid, present := header["kid"]; present {
		if t.keyID, ok = kid.(string); !ok || t.keyID == "" || len(t.keyID) > maxKeyID {
			return fmt.Errorf("kid is no string of 1 to %d bytes", maxKeyID)
		}
	}
	if typ, present := header["typ"]; present {
		if t.typ, ok = typ.(string); !ok || t.typ == "" {
			return fmt.Errorf("typ is no string, or empty")
		}
		t.typ = mediaType(t.typ)
	}
	if cty, present := header["cty"]; present { // a token inside the token (RFC 7519, section 5.2)
		if text, ok := cty.(string); !ok || mediaType(text) == "jwt" {
			return fmt.Errorf("cty says that the claims are a token themselves")
		}
	}
	return nil
}

// mediaType returns a `typ` or `cty` in the form in which two of them are compared (RFC 7515, section 4.1.9).
func mediaType(text string) string {
	return strings.TrimPrefix(strings.ToLower(text), "application/")
}
