package signature

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
)

// Request is what may be covered of a request.
type Request struct {
	Method string
	Scheme string // in lower case
	// Authority is the host in lower case, with the port where it is not the scheme's own.
	Authority string
	// Target is the path and, with its question mark, the query, both as they were sent.
	Target string
	// Lines returns the values of a header's lines, in order. Its name is in lower case.
	Lines func(name string) []string
}

// Base returns what is signed (RFC 9421, section 2.5). The error says what the signature covers that cannot be read in one way.
func (s *Signature) Base(req *Request) ([]byte, error) {
	var b strings.Builder
	for i := range s.components {
		c := &s.components[i]
		value, err := c.of(req)
		if err != nil {
			return nil, err
		}
		if strings.ContainsAny(value, "\r\n") { // or a value could be read as more components
			return nil, errors.New("a component has a line break")
		}
		b.WriteString(c.text + ": " + value + "\n")
	}
	b.WriteString(`"@signature-params": ` + s.params)
	return []byte(b.String()), nil
}

// of returns the component's value.
func (c *component) of(req *Request) (string, error) {
	path, query, _ := strings.Cut(req.Target, "?")
	switch c.name {
	case "@method":
		return req.Method, nil
	case "@target-uri":
		return req.Scheme + "://" + req.Authority + req.Target, nil
	case "@authority":
		return req.Authority, nil
	case "@scheme":
		return req.Scheme, nil
	case "@request-target":
		return req.Target, nil
	case "@path":
		return path, nil
	case "@query":
		return "?" + query, nil
	case "@query-param":
		return parameter(query, c.value)
	}
	return c.header(req.Lines(c.name))
}

// header returns the value of a header that has one line, or of all its lines as bytes (RFC 9421, section 2.1). Several lines
// without that are refused: who joins them reads another value than who takes the first.
func (c *component) header(lines []string) (string, error) {
	if len(lines) == 0 {
		return "", errors.New("a header is covered that the request does not have")
	}
	if c.param != "bs" {
		if len(lines) > 1 {
			return "", errors.New("a header is covered of which there are two lines")
		}
		return strings.Trim(lines[0], " \t"), nil
	}
	encoded := make([]string, len(lines))
	for i, line := range lines {
		encoded[i] = ":" + base64.StdEncoding.EncodeToString([]byte(strings.Trim(line, " \t"))) + ":"
	}
	return strings.Join(encoded, ", "), nil
}

// parameter returns the value of the one query parameter of that name, both percent-encoded anew (RFC 9421, section 2.2.8).
func parameter(query, name string) (string, error) {
	found, value := 0, ""
	for pair := range strings.SplitSeq(query, "&") {
		n, v, _ := strings.Cut(pair, "=")
		n, err := url.QueryUnescape(n)
		if err != nil {
			return "", errors.New("the query cannot be decoded")
		}
		if encode(n) != name {
			continue
		}
		found++
		if v, err = url.QueryUnescape(v); err != nil {
			return "", errors.New("the query cannot be decoded")
		}
		value = encode(v)
	}
	if found != 1 {
		return "", errors.New("a query parameter is covered that the request does not have just once")
	}
	return value, nil
}

// encode percent-encodes what is none of the characters that a form leaves alone, spaces too.
func encode(text string) string {
	text = url.QueryEscape(text) // which leaves ~ and not *
	return strings.NewReplacer("+", "%20", "~", "%7E", "%2A", "*").Replace(text)
}
