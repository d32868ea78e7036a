package policy

import (
	"strings"
	"time"
)

// Request is one request as every stage reads it: normalised once by the edge that received it, and not
// changed afterwards, but for Params, which routing fills, and Parsed, which validation does. A stage must not keep it past its Evaluate.
type Request struct {
	// ID is the caller's own name for the request (Envoy's x-request-id); it may be empty or repeated.
	ID string
	// Serial tells the request from every other, and is the same where it is asked about a second time, without NoWait. 0 where
	// the edge does not say.
	Serial uint64
	// Time is when the request arrived at the edge.
	Time time.Time

	Method string // as sent, case-sensitive
	Scheme string // "http" or "https"
	// Host is the canonical host: lower case, without a trailing dot and without the scheme's default port.
	Host string
	// Port is the port that was written behind the host, without leading zeros; empty where none was.
	Port string
	// Path is the canonical path: it begins with a slash, is percent-decoded once, and has one reading
	// only, because the edge refuses every path that has two. It has no query.
	Path string
	// Query is the raw text behind the first question mark, not decoded.
	Query string
	// Target is what Path and Query were read from: the path with its encodings and, with the question mark, the query, as they
	// were sent. It is for what was signed; nothing is decided by it.
	Target   string
	Protocol string // "HTTP/1.1", "HTTP/2", …
	// Size is the length of the body in bytes as its sender states it, -1 when it does not.
	Size    int64
	Headers Headers
	Body    Body

	Source, Destination Peer

	// RouteName names a route outright; empty, the route is matched by host, path and method.
	RouteName string
	// Attributes are the operator's own words on the request (Envoy's context_extensions).
	Attributes map[string]string
	// Metadata gives what earlier filters said of the request (Envoy's dynamic metadata), by namespace.
	// It is called only when an expression asks; nil when there is none.
	Metadata func() map[string]any

	// Params are the values of the wildcards of the matched route's path, set by [Pipeline.Decide].
	Params []Param

	// Parsed gives what validation read of the body: nil, a bool, int64, uint64, float64, json.Number, string, []byte,
	// time.Time, time.Duration, []any or map[string]any. It is called only when an expression asks, may be called again, and
	// its values must not be changed. It is set by [Pipeline.Decide], and nil where no body was found valid.
	Parsed func() (any, error)

	// NoWait is set by an edge that must not block. A stage that would have to wait for the network then
	// returns [ErrWouldWait] instead, and the Decision says so.
	NoWait bool
}

// Param returns the value of the path wildcard of that name.
func (r *Request) Param(name string) (string, bool) {
	for _, p := range r.Params {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}

// Param is one wildcard of a route's path and what it stood for.
type Param struct{ Name, Value string }

// Peer is one end of the connection, as the edge itself saw it; nothing in it is taken from a header.
type Peer struct {
	Address string // IP address without port; empty for a unix socket
	Port    uint32
	// Principal is the peer's verified certificate identity: its URI SAN, else DNS SAN, else subject.
	// Empty without mutual TLS.
	Principal string
	// Certificate is the peer's certificate in URL-encoded PEM, empty without mutual TLS.
	Certificate string
}

// Body is the part of the request's body that the edge was given.
type Body struct {
	Bytes []byte
	// Truncated says that the body is longer than Bytes. A truncated body is never read as if it were whole.
	Truncated bool
}

// Header is one header line. Name is lower case.
type Header struct{ Name, Value string }

// Headers are the header lines in the order in which they came, repeated ones included.
type Headers []Header

// Get returns the value of the first line of that name, and how many lines of it there are. A reader that
// means one value must refuse any count but one. Name is lower case.
func (h Headers) Get(name string) (value string, count int) {
	for i := range h {
		if h[i].Name != name {
			continue
		}
		if count == 0 {
			value = h[i].Value
		}
		count++
	}
	return value, count
}

// aliases returns the names in h, other than name itself, that a careless reader would take for name:
// those that differ from it only in writing "_" or "." for "-", as CGI and its heirs do.
func (h Headers) aliases(name string) []string {
	var found []string
	for i := range h {
		if n := h[i].Name; n != name && len(n) == len(name) && foldAlias(n) == foldAlias(name) {
			found = append(found, n)
		}
	}
	return found
}

var aliasFolder = strings.NewReplacer("_", "-", ".", "-")

func foldAlias(name string) string { return aliasFolder.Replace(strings.ToLower(name)) }
