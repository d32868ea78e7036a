package keys

import (
	"fmt"
	"strings"

	"github.com/kasbah-authz/kasbah/policy"
)

// maxToken is the longest credential that is looked at, in bytes. Envoy's own limit on all headers together
// is 60 KiB.
const maxToken = 8 << 10

// authorization is the header that a bearer token comes in.
const authorization = "authorization"

// bearer returns the bearer token of the Authorization header (RFC 6750, section 2.1). It returns errMissing
// when there is none, also when the header speaks of another scheme, and errMalformed when the header
// has two readings: two lines, or a Bearer scheme that is not followed by spaces and one token.
func bearer(headers policy.Headers) (string, error) {
	value, lines := headers.Get(authorization)
	if lines == 0 {
		return "", errMissing
	}
	if lines > 1 {
		return "", fmt.Errorf("%w: %d Authorization headers", errMalformed, lines)
	}
	const scheme = "bearer"
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", errMissing
	}
	rest := value[len(scheme):]
	if rest != "" && isSchemeByte(rest[0]) {
		return "", errMissing // a scheme whose name only begins with Bearer
	}
	token := strings.TrimLeft(rest, " ")
	if token == "" || len(token) == len(rest) {
		return "", fmt.Errorf("%w: the Bearer scheme without a token", errMalformed)
	}
	if len(token) > maxToken {
		return "", fmt.Errorf("%w: a token of %d bytes, longer than the %d that are read", errMalformed, len(token), maxToken)
	}
	return token, nil
}

// isSchemeByte reports whether c can be a part of a scheme's name (a tchar of RFC 9110, section 5.6.2).
func isSchemeByte(c byte) bool {
	switch {
	case 'a' <= c|0x20 && c|0x20 <= 'z', isDigit(c):
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
