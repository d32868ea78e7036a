package keys

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// authorization is the header that a bearer token comes in.
const authorization = "authorization"

// webSocketProtocol is the only header that a browser lets a script fill when it opens a WebSocket (RFC 6455, section 1.9).
const webSocketProtocol = "sec-websocket-protocol"

// place is the kind of a location.
type place uint8

const (
	inHeader place = iota
	inCookie
	inQuery
	inWebSocketProtocol
)

// location is one place of a request where a credential may be.
type location struct {
	place  place
	name   string // of the header, in lower case, of the cookie or of the parameter; what a WebSocket subprotocol begins with
	scheme string // the word before the credential in a header, in lower case; empty: the header is the credential
	hops   *hops  // who is trusted with the header; nil: the client
}

// locations are where one provider's credential may be.
type locations []location

// bearerLocations are those of a token, unless its provider says otherwise (RFC 6750, section 2.1).
var bearerLocations = locations{{name: authorization, scheme: "bearer"}}

// readLocations returns what a provider is configured with; otherwise where it says nothing.
func readLocations(configured []*configv1.Location, otherwise locations) (locations, error) {
	if len(configured) == 0 {
		return otherwise, nil
	}
	var all locations
	for i, message := range configured {
		var l location
		switch at := message.GetPlace().(type) {
		case *configv1.Location_Header:
			l = location{name: strings.ToLower(at.Header), scheme: strings.ToLower(message.GetScheme())}
			if l.name == authorization && l.scheme == "" {
				l.scheme = "bearer"
			}
		case *configv1.Location_Cookie:
			l = location{place: inCookie, name: at.Cookie}
		case *configv1.Location_Query:
			l = location{place: inQuery, name: at.Query}
		case *configv1.Location_WebsocketProtocol:
			l = location{place: inWebSocketProtocol, name: at.WebsocketProtocol}
		default:
			return nil, &policy.FieldError{Field: fmt.Sprintf("from[%d]", i), Err: errors.New("say where: header, cookie, query or websocket_protocol")}
		}
		if l.name == "" || slices.Contains(all, l) {
			return nil, &policy.FieldError{Field: fmt.Sprintf("from[%d]", i), Err: errors.New("it is empty, or there already")}
		}
		all = append(all, l)
	}
	return all, nil
}

// read returns the one credential that the request has at these locations. It returns errMissing where there is none, and
// errMalformed where there are two, which two readers could choose between in two ways (RFC 6750, section 2).
func (ls locations) read(req *policy.Request) (string, error) {
	credential, _, err := ls.find(req)
	return credential, err
}

// find is read, and says at which location the credential is.
func (ls locations) find(req *policy.Request) (string, *location, error) {
	var at *location
	found, fault := "", error(errMissing)
	for i := range ls {
		credential, err := ls[i].read(req)
		switch {
		case errors.Is(err, errMissing):
		case err != nil:
			return "", nil, err
		case fault == nil:
			return "", nil, fmt.Errorf("%w: two credentials of one kind in one request", errMalformed)
		default:
			found, at, fault = credential, &ls[i], nil
		}
	}
	return found, at, fault
}

func (l *location) read(req *policy.Request) (string, error) {
	var credential string
	var count int
	switch l.place {
	case inCookie:
		credential, count = cookie(req.Headers, l.name)
	case inQuery:
		credential, count = parameter(req.Query, l.name)
	case inWebSocketProtocol:
		credential, count = subprotocol(req.Headers, l.name)
	default:
		if l.scheme != "" {
			return schemed(req.Headers, l.name, l.scheme)
		}
		credential, count = req.Headers.Get(l.name)
	}
	switch {
	case count == 0:
		return "", errMissing
	case count == 1 && credential == "" && l.place == inCookie:
		return "", errMissing // a browser goes on sending a cookie that a server emptied when the user logged out
	case count > 1:
		return "", fmt.Errorf("%w: %d credentials where one is meant", errMalformed, count)
	case credential == "":
		return "", fmt.Errorf("%w: an empty credential", errMalformed)
	case len(credential) > maxToken:
		return "", tooLong(len(credential))
	}
	return credential, nil
}

func tooLong(length int) error {
	return fmt.Errorf("%w: a token of %d bytes, longer than the %d that are read", errMalformed, length, maxToken)
}

// schemed returns the credential that stands behind the scheme's name in a header (RFC 9110, section 11.4). It returns
// errMissing when there is none, also when the header speaks of another scheme, and errMalformed when the header has two
// readings: two lines, or a scheme that is not followed by spaces and one token.
func schemed(headers policy.Headers, name, scheme string) (string, error) {
	value, lines := headers.Get(name)
	if lines == 0 {
		return "", errMissing
	}
	if lines > 1 {
		return "", fmt.Errorf("%w: %d headers where one is meant", errMalformed, lines)
	}
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", errMissing
	}
	rest := value[len(scheme):]
	if rest != "" && isSchemeByte(rest[0]) {
		return "", errMissing // a scheme whose name only begins so
	}
	token := strings.TrimLeft(rest, " ")
	if token == "" || len(token) == len(rest) {
		return "", fmt.Errorf("%w: the scheme without a token", errMalformed)
	}
	if len(token) > maxToken {
		return "", tooLong(len(token))
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

// cookie returns the value of the first cookie of that name (RFC 6265, section 4.2.1), and how many there are.
func cookie(headers policy.Headers, name string) (value string, count int) {
	for i := range headers {
		if headers[i].Name != "cookie" {
			continue
		}
		for pair := range strings.SplitSeq(headers[i].Value, ";") {
			n, v, ok := cutCookie(pair)
			if !ok || n != name {
				continue
			}
			if count == 0 {
				value = v
			}
			count++
		}
	}
	return value, count
}

// cutCookie returns a cookie's name and value. Spaces before the equals sign, which no browser writes, are no part of the name,
// because readers take them away.
func cutCookie(pair string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(strings.Trim(pair, " \t"), "=")
	return strings.TrimRight(name, " \t"), value, ok
}

// parameter returns the value of the first query parameter of that name, and how many there are. A name counts as the
// upstream may read it: decoded. One that cannot be decoded is none of ours.
func parameter(query, name string) (value string, count int) {
	for pair := range strings.SplitSeq(query, "&") {
		written, v, _ := strings.Cut(pair, "=")
		if !isParameter(written, name) {
			continue
		}
		if count == 0 {
			value, _ = url.QueryUnescape(v) // what cannot be decoded is an empty credential, which is refused
		}
		count++
	}
	return value, count
}

func isParameter(written, name string) bool {
	if written == name {
		return true
	}
	if !strings.ContainsAny(written, "%+") {
		return false
	}
	decoded, err := url.QueryUnescape(written)
	return err == nil && decoded == name
}

// subprotocol returns what stands behind the prefix in the first offered WebSocket subprotocol that begins with it, and how
// many of them there are.
func subprotocol(headers policy.Headers, prefix string) (value string, count int) {
	for i := range headers {
		if headers[i].Name != webSocketProtocol {
			continue
		}
		for offer := range strings.SplitSeq(headers[i].Value, ",") {
			credential, ok := strings.CutPrefix(strings.Trim(offer, " \t"), prefix)
			if !ok {
				continue
			}
			if count == 0 {
				value = credential
			}
			count++
		}
	}
	return value, count
}
