package server

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/kasbah-authz/kasbah/policy"
)

const (
	// routeExtension is the context extension by which Envoy's route names ours.
	routeExtension = "kasbah.route"
	// partialBody is the header by which Envoy says whether the body that it sent is a part only.
	partialBody = "x-envoy-auth-partial-body"
	// maxHeaders is how many header lines are looked at; Envoy's own default limit is 100.
	maxHeaders = 1000
)

// attributes are what Envoy says of a request, as it says it: nothing of it is checked yet, or brought into one form.
type attributes struct {
	http bool // whether there are attributes of an HTTP request at all

	id, method, path, host, scheme, protocol string
	size                                     int64
	headers                                  policy.Headers // pseudo-headers included
	rawBody                                  []byte
	body                                     string

	source, destination policy.Peer
	extensions          map[string]string
	metadata            map[string]*structpb.Struct
}

// newRequest reads the attributes, once, into the request that every stage sees. Its error says why the
// request may not be seen at all: it has no HTTP attributes, or more than one reading. It keeps the strings and the headers
// of the attributes and copies nothing that no stage asks for.
func newRequest(asked *attributes, now time.Time, maxBody int) (*policy.Request, error) {
	if !asked.http {
		return nil, errors.New("the check has no HTTP attributes, or is not a message that can be read")
	}
	path, query, err := canonicalPath(asked.path)
	if err != nil {
		return nil, err
	}
	host, err := canonicalHost(asked.host)
	if err != nil {
		return nil, err
	}
	headers, err := newHeaders(asked.headers)
	if err != nil {
		return nil, err
	}
	if !isToken(asked.method) {
		return nil, errors.New("the method is not a token (RFC 9110, section 9.1)")
	}
	req := &policy.Request{
		ID: asked.id, Time: now,
		Method: asked.method, Scheme: strings.ToLower(asked.scheme), Host: host, Port: canonicalPort(asked.host), Path: path, Query: query,
		Target:   asked.path,
		Protocol: asked.protocol, Size: asked.size,
		Headers:     headers,
		Source:      asked.source,
		Destination: asked.destination,
		RouteName:   asked.extensions[routeExtension],
		Attributes:  asked.extensions,
	}
	req.Body = newBody(asked, headers, maxBody)
	if metadata := asked.metadata; len(metadata) > 0 {
		req.Metadata = func() map[string]any {
			all := make(map[string]any, len(metadata))
			for namespace, fields := range metadata {
				all[namespace] = fields.AsMap()
			}
			return all
		}
	}
	return req, nil
}

// newHeaders checks the headers, in place, and leaves the pseudo-headers out: the attributes have them.
func newHeaders(headers policy.Headers) (policy.Headers, error) {
	if len(headers) > maxHeaders {
		return nil, fmt.Errorf("the request has %d header lines, more than %d", len(headers), maxHeaders)
	}
	kept := headers[:0]
	for _, header := range headers {
		if strings.HasPrefix(header.Name, ":") {
			continue
		}
		if !isToken(header.Name) {
			return nil, errors.New("a header's name is not a token (RFC 9110, section 5.1)")
		}
		for _, c := range [...]byte{'\r', '\n', 0} { // each far quicker looked for than all at once
			if strings.IndexByte(header.Value, c) >= 0 {
				return nil, fmt.Errorf("header %s holds the byte 0x%02x", header.Name, c)
			}
		}
		header.Name = strings.ToLower(header.Name)
		kept = append(kept, header)
	}
	return kept, nil
}

// newBody takes the body and finds out whether it is whole. Envoy's flag is believed only when it says that
// something is missing: over HTTP/2 Envoy cuts a body at its own limit, calls it whole and gives what is left as its
// size, so that a body of just the largest length is whole only if its sender stated that length.
func newBody(asked *attributes, headers policy.Headers, maxBody int) policy.Body {
	body := policy.Body{Bytes: asked.rawBody}
	if asked.body != "" {
		body.Bytes = []byte(asked.body)
	}
	have := int64(len(body.Bytes))
	flag, flags := headers.Get(partialBody)
	flagged := flags > 1 || flags == 1 && flag != "false"
	stated := int64(-1)
	length, lengths := headers.Get("content-length")
	if lengths == 1 {
		if n, err := strconv.ParseInt(length, 10, 64); err == nil {
			stated = n
		}
	}
	full := have > int64(maxBody) || have == int64(maxBody) && stated != have
	body.Truncated = flagged || full || have < stated || have < asked.size || lengths > 1
	return body
}

// tokenBytes are the characters of a token.
var tokenBytes = func() (is [256]bool) {
	for _, c := range []byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!#$%&'*+-.^_`|~") {
		is[c] = true
	}
	return is
}()

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if !tokenBytes[s[i]] {
			return false
		}
	}
	return s != ""
}

// isGRPC reports whether the caller speaks gRPC, and so wants a gRPC status rather than a body. It is asked of
// requests too that may not be seen.
func (a *attributes) isGRPC() bool {
	contentType, _ := a.headers.Get("content-type")
	const grpc = "application/grpc"
	if len(contentType) < len(grpc) || !strings.EqualFold(contentType[:len(grpc)], grpc) {
		return false
	}
	rest := contentType[len(grpc):]
	return rest == "" || rest[0] == '+' || rest[0] == ';'
}
