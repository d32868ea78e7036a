package dpop

import (
	"errors"
	"strings"
)

// Target is what a request is for, without its query, in the one form in which two of them are compared.
type Target struct {
	Scheme string // in lower case
	Host   string // in lower case, without a dot at its end
	Port   string // empty for the scheme's own
	Path   string // decoded once, without dot segments; a slash where there is none
}

// NewTarget returns the target of those parts, which are canonical but for the port.
func NewTarget(scheme, host, port, path string) Target {
	return Target{Scheme: scheme, Host: host, Port: normalPort(scheme, port), Path: path}
}

// ReadTarget reads a URL of http or https and normalises it (RFC 3986, sections 6.2.2 and 6.2.3), which RFC 9449, section 4.3, has
// a server do with `htu`. Query and fragment do not count there. An encoded slash is none, and is refused: no request that has
// one gets so far.
func ReadTarget(url string) (Target, error) {
	scheme, rest, found := strings.Cut(url, "://")
	scheme = strings.ToLower(scheme)
	if !found || scheme != "http" && scheme != "https" {
		return Target{}, errors.New("no URL of http or https")
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	host, port, err := splitAuthority(strings.ToLower(authority))
	if err != nil {
		return Target{}, err
	}
	if path, err = decodePath(path); err != nil {
		return Target{}, err
	}
	return NewTarget(scheme, host, port, removeDots(path)), nil
}

// splitAuthority splits a host from its port. What no host name has is left in it, and makes it equal to none.
func splitAuthority(authority string) (host, port string, err error) {
	end := strings.IndexByte(authority, ']') + 1 // behind an IPv6 literal, whose colons are none of a port
	if i := strings.IndexByte(authority[end:], ':'); i >= 0 {
		authority, port = authority[:end+i], authority[end+i+1:]
	}
	if strings.Trim(port, "0123456789") != "" {
		return "", "", errors.New("a port that is no number")
	}
	if host = strings.TrimSuffix(authority, "."); host == "" {
		return "", "", errors.New("no host")
	}
	return host, port, nil
}

func normalPort(scheme, port string) string {
	port = strings.TrimLeft(port, "0")
	if scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		return ""
	}
	return port
}

func decodePath(path string) (string, error) {
	if strings.IndexByte(path, '%') < 0 {
		return path, nil
	}
	var decoded strings.Builder
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			if i+2 >= len(path) {
				return "", errors.New("a percent sign that encodes nothing")
			}
			high, low := unhex(path[i+1]), unhex(path[i+2])
			if high < 0 || low < 0 {
				return "", errors.New("a percent sign that encodes nothing")
			}
			if c = byte(high<<4 | low); c == '/' {
				return "", errors.New("an encoded slash")
			}
			i += 2
		}
		decoded.WriteByte(c)
	}
	return decoded.String(), nil
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// removeDots removes dot segments (RFC 3986, section 5.2.4) of a path that is empty or begins with a slash.
func removeDots(path string) string {
	if path == "" {
		return "/"
	}
	if !strings.Contains(path, "/.") {
		return path
	}
	segments := strings.Split(path[1:], "/")
	kept := segments[:0]
	for i, segment := range segments {
		switch segment {
		case ".":
		case "..":
			if len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
		default:
			kept = append(kept, segment)
			continue
		}
		if i == len(segments)-1 {
			kept = append(kept, "") // the slash before it stays
		}
	}
	return "/" + strings.Join(kept, "/")
}
