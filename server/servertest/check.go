package servertest

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
)

// NewCheck returns what Envoy asks of a plain request for the host api.example.com, changed by the options in order.
func NewCheck(method, path string, options ...func(*authv3.CheckRequest)) *authv3.CheckRequest {
	check := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{
			Id: "req-1", Method: method, Path: path, Scheme: "https", Host: "api.example.com", Protocol: "HTTP/1.1",
			Headers: map[string]string{":method": method, ":path": path, ":authority": "api.example.com", ":scheme": "https", "accept": "*/*"},
		},
	}}}
	for _, option := range options {
		option(check)
	}
	return check
}

// Lines turns the headers so far into the form that Envoy uses with encode_raw_headers, and has those that follow
// added in it: a line each, as bytes.
func Lines(check *authv3.CheckRequest) {
	http := check.Attributes.Request.Http
	http.HeaderMap = &corev3.HeaderMap{}
	for name, value := range http.Headers {
		http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
	}
	http.Headers = nil
}

// Header adds a header line. Where the headers are a map, lines of one name are joined by a comma, as Envoy does.
func Header(name, value string) func(*authv3.CheckRequest) {
	return func(check *authv3.CheckRequest) {
		http := check.Attributes.Request.Http
		if http.HeaderMap != nil {
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
			return
		}
		if before, ok := http.Headers[name]; ok {
			value = before + "," + value
		}
		http.Headers[name] = value
	}
}

// Bearer adds a token.
func Bearer(token string) func(*authv3.CheckRequest) { return Header("authorization", "Bearer "+token) }

// Host sets the host.
func Host(host string) func(*authv3.CheckRequest) {
	return func(check *authv3.CheckRequest) { check.Attributes.Request.Http.Host = host }
}

// Status returns 200 for an allow, the HTTP status of a denial, and 0 for a response that is neither, or both.
func Status(response *authv3.CheckResponse) int {
	ok := codes.Code(response.GetStatus().GetCode()) == codes.OK
	switch {
	case ok && response.GetOkResponse() != nil:
		return 200
	case !ok && response.GetDeniedResponse() != nil:
		return int(response.GetDeniedResponse().GetStatus().GetCode())
	}
	return 0
}
