package server

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxPath is the longest path that is looked at, in bytes. A longer one is refused.
const maxPath = 8 << 10

// canonicalPath cuts Envoy's path into the path that is matched and the raw query.
//
// The path that is matched must be the path that the upstream sees, whoever reads it: Kasbah cannot change it,
// so it refuses every path that two readers could read two ways. What remains is decoded once, and no part
// of it means anything else when a careless reader decodes it again, or not at all.
func canonicalPath(raw string) (path, query string, err error) {
	path, query, _ = strings.Cut(raw, "?")
	switch {
	case path == "":
		return "", "", errors.New("the request has no path")
	case path[0] != '/':
		return "", "", errors.New("the path does not begin with a slash")
	case len(path) > maxPath:
		return "", "", fmt.Errorf("the path is longer than %d bytes", maxPath)
	}
	if path, err = decodePath(path); err != nil {
		return "", "", err
	}
	if err := checkSegments(path); err != nil {
		return "", "", err
	}
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c == '#' || c > '~' {
			return "", "", fmt.Errorf("the query holds the byte 0x%02x, which must be percent-encoded", c)
		}
	}
	return path, query, nil
}

// decodePath decodes percent encodings once and refuses every byte that somebody gives a meaning to beyond
// its own: separators that were hidden, parameters, fragments, encodings of encodings, controls.
func decodePath(raw string) (string, error) {
	plain := true
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '%':
			plain = false
		case c == '\\' || c == ';' || c == '#':
			return "", fmt.Errorf("the path holds %q, which is read in different ways", c)
		case c <= ' ' || c > '~':
			return "", fmt.Errorf("the path holds the byte 0x%02x, which must be percent-encoded", c)
		}
	}
	if plain {
		return raw, nil
	}
	var decoded strings.Builder
	decoded.Grow(len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			decoded.WriteByte(raw[i])
			continue
		}
		if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
			return "", errors.New("the path holds a percent sign that encodes nothing")
		}
		c := unhex(raw[i+1])<<4 | unhex(raw[i+2])
		if strings.IndexByte(`/\;#?%`, c) >= 0 || c < ' ' || c == 0x7f {
			return "", fmt.Errorf("the path holds %%%02X, which is read in different ways", c)
		}
		decoded.WriteByte(c)
		i += 2
	}
	if !utf8.ValidString(decoded.String()) {
		return "", errors.New("the path, decoded, is not valid UTF-8")
	}
	return decoded.String(), nil
}

// checkSegments refuses empty segments and dot segments, which some readers remove and others keep. An empty
// last segment is a slash at the end, which all keep.
func checkSegments(path string) error {
	for rest := path[1:]; ; {
		segment, tail, more := strings.Cut(rest, "/")
		switch {
		case segment == "" && more:
			return errors.New("the path holds an empty segment (//)")
		case segment == "." || segment == "..":
			return fmt.Errorf("the path holds a segment %q", segment)
		case !more:
			return nil
		}
		rest = tail
	}
}

// maxHost is the longest host name (RFC 1035, section 2.3.4), with room for an IPv6 literal's brackets.
const maxHost = 255

// canonicalHost returns the host in lower case, without port and without a trailing dot: one spelling for
// all that reach the same virtual host. A host with any other character than a name or an IP literal has
// is refused; labels are compared as bytes, so that an encoded one ("xn--…") is never another.
func canonicalHost(raw string) (string, error) {
	name, port, err := splitPort(raw)
	if err != nil {
		return "", err
	}
	if err := checkPort(port); err != nil {
		return "", err
	}
	if strings.HasPrefix(name, "[") {
		return canonicalIPv6(name)
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > maxHost {
		return "", fmt.Errorf("the host has %d bytes, and 1 to %d are read", len(name), maxHost)
	}
	lower := strings.ToLower(name)
	for label := range strings.SplitSeq(lower, ".") {
		if label == "" {
			return "", errors.New("the host has an empty label")
		}
		for i := range len(label) {
			c := label[i]
			if !isHostByte(c) {
				return "", fmt.Errorf("the host holds the byte 0x%02x, which no host name has", c)
			}
		}
	}
	return lower, nil
}

// canonicalPort returns the port of a host that canonicalHost takes, without leading zeros; empty where there is none.
func canonicalPort(raw string) string {
	_, port, _ := splitPort(raw)
	return strings.TrimLeft(port, "0")
}

func canonicalIPv6(name string) (string, error) {
	inside := name[1 : len(name)-1]
	for i := range len(inside) {
		if c := inside[i]; !isHex(c) && c != ':' && c != '.' {
			return "", fmt.Errorf("the host holds the byte 0x%02x, which no IPv6 literal has", c)
		}
	}
	return strings.ToLower(name), nil
}

func splitPort(raw string) (name, port string, err error) {
	if strings.HasPrefix(raw, "[") {
		end := strings.IndexByte(raw, ']')
		if end < 2 || end+1 < len(raw) && raw[end+1] != ':' {
			return "", "", errors.New("the host begins an IPv6 literal and does not end it")
		}
		if end+1 == len(raw) {
			return raw, "", nil
		}
		return raw[:end+1], raw[end+2:], portGiven(raw[end+2:])
	}
	name, port, given := strings.Cut(raw, ":")
	if !given {
		return name, "", nil
	}
	return name, port, portGiven(port)
}

func portGiven(port string) error {
	if port == "" {
		return errors.New("the host ends with a colon and no port")
	}
	return nil
}

func checkPort(port string) error {
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return errors.New("the host's port is not a number")
		}
	}
	if len(strings.TrimLeft(port, "0")) > len("65535") {
		return errors.New("the host's port is out of range")
	}
	return nil
}

func isHostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
