package server

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unsafe"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

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

// newRequest reads a CheckRequest, once, into the request that every stage sees. Its error says why the
// request may not be seen at all: it has no HTTP attributes, or more than one reading. It keeps strings of the
// CheckRequest and copies nothing that no stage asks for.
func newRequest(check *authv3.CheckRequest, now time.Time, maxBody int) (*policy.Request, error) {
	attributes := check.GetAttributes()
	http := attributes.GetRequest().GetHttp()
	if http == nil {
		return nil, errors.New("the check has no HTTP attributes, or is not a message that can be read")
	}
	path, query, err := canonicalPath(http.GetPath())
	if err != nil {
		return nil, err
	}
	host, err := canonicalHost(http.GetHost())
	if err != nil {
		return nil, err
	}
	headers, err := newHeaders(http)
	if err != nil {
		return nil, err
	}
	if !isToken(http.GetMethod()) {
		return nil, errors.New("the method is not a token (RFC 9110, section 9.1)")
	}
	req := &policy.Request{
		ID: http.GetId(), Time: now,
		Method: http.GetMethod(), Scheme: strings.ToLower(http.GetScheme()), Host: host, Path: path, Query: query,
		Protocol: http.GetProtocol(), Size: http.GetSize(),
		Headers:     headers,
		Source:      newPeer(attributes.GetSource()),
		Destination: newPeer(attributes.GetDestination()),
		RouteName:   attributes.GetContextExtensions()[routeExtension],
		Attributes:  attributes.GetContextExtensions(),
	}
	req.Body = newBody(http, headers, maxBody)
	if metadata := attributes.GetMetadataContext().GetFilterMetadata(); len(metadata) > 0 {
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

// newHeaders reads the headers in either of Envoy's forms: one line each, as bytes (encode_raw_headers), or
// a map in which repeated lines are already joined by commas. Pseudo-headers are left out: the attributes
// have them.
func newHeaders(http *authv3.AttributeContext_HttpRequest) (policy.Headers, error) {
	lines := http.GetHeaderMap().GetHeaders()
	if count := len(lines) + len(http.GetHeaders()); count > maxHeaders {
		return nil, fmt.Errorf("the request has %d header lines, more than %d", count, maxHeaders)
	}
	headers := make(policy.Headers, 0, len(lines)+len(http.GetHeaders()))
	for _, line := range lines {
		value := line.GetValue()
		if raw := line.GetRawValue(); len(raw) > 0 {
			// No copy: nobody changes a message that was received, and it lives as long as its strings do.
			value = unsafe.String(unsafe.SliceData(raw), len(raw)) //nolint:gosec // see above
		}
		headers = append(headers, policy.Header{Name: line.GetKey(), Value: value})
	}
	for name, value := range http.GetHeaders() {
		headers = append(headers, policy.Header{Name: name, Value: value})
	}
	kept := headers[:0]
	for _, header := range headers {
		if strings.HasPrefix(header.Name, ":") {
			continue
		}
		if !isToken(header.Name) {
			return nil, errors.New("a header's name is not a token (RFC 9110, section 5.1)")
		}
		if i := strings.IndexAny(header.Value, "\r\n\x00"); i >= 0 {
			return nil, fmt.Errorf("header %s holds the byte 0x%02x", header.Name, header.Value[i])
		}
		header.Name = strings.ToLower(header.Name)
		kept = append(kept, header)
	}
	return kept, nil
}

// newBody takes the body and finds out whether it is whole. Envoy's flag is believed only when it says that
// something is missing: over HTTP/2 Envoy cuts a body at its own limit, calls it whole and gives what is left as its
// size, so that a body of just the largest length is whole only if its sender stated that length.
func newBody(http *authv3.AttributeContext_HttpRequest, headers policy.Headers, maxBody int) policy.Body {
	body := policy.Body{Bytes: http.GetRawBody()}
	if text := http.GetBody(); text != "" {
		body.Bytes = []byte(text)
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
	body.Truncated = flagged || full || have < stated || have < http.GetSize() || lengths > 1
	return body
}

func newPeer(peer *authv3.AttributeContext_Peer) policy.Peer {
	socket := peer.GetAddress().GetSocketAddress()
	return policy.Peer{
		Address:     socket.GetAddress(),
		Port:        socket.GetPortValue(),
		Principal:   peer.GetPrincipal(),
		Certificate: peer.GetCertificate(),
	}
}

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alphanumeric && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// isGRPC reports whether the caller speaks gRPC, and so wants a gRPC status rather than a body. It is asked of
// requests too that may not be seen.
func isGRPC(check *authv3.CheckRequest) bool {
	http := check.GetAttributes().GetRequest().GetHttp()
	contentType := http.GetHeaders()["content-type"]
	for _, line := range http.GetHeaderMap().GetHeaders() {
		if line.GetKey() == "content-type" {
			contentType = line.GetValue() + string(line.GetRawValue())
		}
	}
	rest, ok := strings.CutPrefix(strings.ToLower(contentType), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}
