package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/kasbah-authz/kasbah/policy"
)

const testMaxBody = 1 << 10

// check returns a plain CheckRequest, changed by change.
func check(change func(*authv3.AttributeContext_HttpRequest)) *authv3.CheckRequest {
	http := &authv3.AttributeContext_HttpRequest{
		Id: "42", Method: "GET", Scheme: "https", Host: "API.example.com:443", Path: "/orders/7?full=1", Protocol: "HTTP/2",
		Headers: map[string]string{"accept": "*/*"},
	}
	if change != nil {
		change(http)
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: http}}}
}

func readRequest(in *authv3.CheckRequest, now time.Time, maxBody int) (*policy.Request, error) {
	asked := attributesOf(in)
	return newRequest(&asked, now, maxBody)
}

func speaksGRPC(in *authv3.CheckRequest) bool {
	asked := attributesOf(in)
	return asked.isGRPC()
}

func raw(lines ...string) func(*authv3.AttributeContext_HttpRequest) {
	return func(http *authv3.AttributeContext_HttpRequest) {
		http.Headers = nil
		http.HeaderMap = &corev3.HeaderMap{}
		for _, line := range lines {
			name, value, _ := strings.Cut(line, "=")
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
		}
	}
}

func TestRequestCarriesWhatEnvoySays(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	in := check(raw(":authority=api.example.com", "accept=*/*", "X-Twice=one", "x-twice=two", "x-bytes=\xff"))
	in.Attributes.Source = &authv3.AttributeContext_Peer{
		Principal: "spiffe://example/ns/a", Certificate: "PEM",
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "192.0.2.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 4711},
		}}},
	}
	in.Attributes.ContextExtensions = map[string]string{"kasbah.route": "orders", "team": "blue"}
	in.Attributes.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		"envoy.filters.http.jwt_authn": {Fields: map[string]*structpb.Value{"sub": structpb.NewStringValue("alice")}},
	}}
	got, err := readRequest(in, now, testMaxBody)
	if err != nil {
		t.Fatal(err)
	}
	metadata := got.Metadata()
	got.Metadata = nil
	want := &policy.Request{
		ID: "42", Time: now, Method: "GET", Scheme: "https", Host: "api.example.com", Port: "443", Path: "/orders/7", Query: "full=1",
		Target:   "/orders/7?full=1",
		Protocol: "HTTP/2",
		Headers: policy.Headers{
			{Name: "accept", Value: "*/*"}, {Name: "x-twice", Value: "one"}, {Name: "x-twice", Value: "two"}, {Name: "x-bytes", Value: "\xff"},
		},
		Source:     policy.Peer{Address: "192.0.2.1", Port: 4711, Principal: "spiffe://example/ns/a", Certificate: "PEM"},
		RouteName:  "orders",
		Attributes: map[string]string{"kasbah.route": "orders", "team": "blue"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"envoy.filters.http.jwt_authn": map[string]any{"sub": "alice"}}, metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
}

// TestHeaderEncodingsAgree reads one request in both of Envoy's forms.
func TestHeaderEncodingsAgree(t *testing.T) {
	lines, err := readRequest(check(raw("accept=*/*", "authorization=Bearer x")), time.Time{}, testMaxBody)
	if err != nil {
		t.Fatal(err)
	}
	merged, err := readRequest(check(func(http *authv3.AttributeContext_HttpRequest) {
		http.Headers = map[string]string{"accept": "*/*", "authorization": "Bearer x", ":path": "/"}
	}), time.Time{}, testMaxBody)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"accept", "authorization", ":path", "absent"} {
		a, n := lines.Headers.Get(name)
		b, m := merged.Headers.Get(name)
		if a != b || n != m {
			t.Errorf("header %s: %q ×%d as lines, %q ×%d merged", name, a, n, b, m)
		}
	}
}

func TestRequestsThatMayNotBeSeen(t *testing.T) {
	for name, in := range map[string]*authv3.CheckRequest{
		"nil":           nil,
		"empty":         {},
		"no attributes": {Attributes: &authv3.AttributeContext{}},
		"no http":       {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}},
		"connect":       check(func(h *authv3.AttributeContext_HttpRequest) { h.Method, h.Path = "CONNECT", "" }),
		"no method":     check(func(h *authv3.AttributeContext_HttpRequest) { h.Method = "" }),
		"odd method":    check(func(h *authv3.AttributeContext_HttpRequest) { h.Method = "GET /" }),
		"no host":       check(func(h *authv3.AttributeContext_HttpRequest) { h.Host = "" }),
		"odd port":      check(func(h *authv3.AttributeContext_HttpRequest) { h.Host = "www.x:y" }),
		"dots":          check(func(h *authv3.AttributeContext_HttpRequest) { h.Path = "/a/../b" }),
		"newline":       check(raw("x=a\nb")),
		"return":        check(raw("x=a\rb")),
		"nul":           check(raw("x=a\x00b")),
		"header name":   check(raw("x y=a")),
		"many headers":  check(raw(make([]string, maxHeaders+1)...)),
	} {
		if got, err := readRequest(in, time.Time{}, testMaxBody); err == nil {
			t.Errorf("%s: newRequest = %+v, want it refused", name, got)
		}
	}
}

// TestBodyIsWholeOrTruncated shows when a body counts as whole. A client's own flag never makes it so.
func TestBodyIsWholeOrTruncated(t *testing.T) {
	for _, test := range []struct {
		name      string
		headers   []string
		size      int64
		bytes     int
		truncated bool
	}{
		{"none", nil, 0, 0, false},
		{"whole", []string{"x-envoy-auth-partial-body=false"}, 10, 10, false},
		{"whole, of unknown size", []string{"x-envoy-auth-partial-body=false"}, -1, 10, false},
		{"flagged", []string{"x-envoy-auth-partial-body=true"}, 10, 10, true},
		{"flagged oddly", []string{"x-envoy-auth-partial-body=False"}, 10, 10, true},
		{"client's flag beside Envoy's", []string{"x-envoy-auth-partial-body=false", "x-envoy-auth-partial-body=true"}, 10, 10, true},
		{"client's flag twice", []string{"x-envoy-auth-partial-body=false", "x-envoy-auth-partial-body=false"}, 10, 10, true},
		{"shorter than stated", []string{"x-envoy-auth-partial-body=false"}, 11, 10, true},
		{"not forwarded", nil, 10, 0, true},
		{"as long as is looked at, of unknown size", []string{"x-envoy-auth-partial-body=false"}, -1, testMaxBody, true},
		{"as long as is looked at, and as stated", []string{"x-envoy-auth-partial-body=false", fmt.Sprintf("content-length=%d", testMaxBody)}, testMaxBody, testMaxBody, false},
		{"cut over HTTP/2", []string{"x-envoy-auth-partial-body=false"}, testMaxBody, testMaxBody, true},
		{"cut over HTTP/2, length stated", []string{"x-envoy-auth-partial-body=false", "content-length=3145728"}, testMaxBody, testMaxBody, true},
		{"shorter than its content-length", []string{"content-length=11"}, -1, 10, true},
		{"two lengths", []string{"content-length=10", "content-length=10"}, 10, 10, true},
		{"longer than looked at", []string{"x-envoy-auth-partial-body=false"}, -1, testMaxBody + 1, true},
	} {
		for _, packed := range []bool{true, false} {
			in := check(raw(test.headers...))
			http := in.Attributes.Request.Http
			http.Size = test.size
			if packed {
				http.RawBody = []byte(strings.Repeat("b", test.bytes))
			} else {
				http.Body = strings.Repeat("b", test.bytes)
			}
			req, err := readRequest(in, time.Time{}, testMaxBody)
			if err != nil {
				t.Fatal(err)
			}
			if req.Body.Truncated != test.truncated || len(req.Body.Bytes) != test.bytes {
				t.Errorf("%s (packed %t): %d bytes, truncated %t; want %d, %t",
					test.name, packed, len(req.Body.Bytes), req.Body.Truncated, test.bytes, test.truncated)
			}
		}
	}
}

func TestGRPCCallers(t *testing.T) {
	for value, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "application/grpc; charset=utf-8": true, "Application/GRPC": true,
		"": false, "application/json": false, "application/grpcx": false, "application/grpc-web": false, "text/plain": false,
	} {
		merged := check(func(h *authv3.AttributeContext_HttpRequest) { h.Headers["content-type"] = value })
		for _, in := range []*authv3.CheckRequest{check(raw("content-type=" + value)), merged} {
			if got := speaksGRPC(in); got != want {
				t.Errorf("isGRPC(%q) = %t, want %t", value, got, want)
			}
		}
	}
}

// TestProtocolOfUnseenRequests: a request that is refused unread is still answered in its own protocol.
func TestProtocolOfUnseenRequests(t *testing.T) {
	if speaksGRPC(nil) || speaksGRPC(&authv3.CheckRequest{}) {
		t.Error("nothing is taken for gRPC")
	}
}

// FuzzRequest feeds every field that a client can fill.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "example.com", "/orders?x=1", "x-user", "mallory", []byte("body"), int64(4))
	f.Add("CONNECT", "example.com:443", "", ":path", "\xff", []byte(nil), int64(-1))
	f.Add("GET", "[::1]:80", "/..%2f", "", "\r\n", []byte{0}, int64(1<<62))
	f.Fuzz(func(t *testing.T, method, host, path, name, value string, body []byte, size int64) {
		in := check(raw(name + "=" + value))
		http := in.Attributes.Request.Http
		http.Method, http.Host, http.Path, http.RawBody, http.Size = method, host, path, body, size
		before := proto.Clone(in)
		req, err := readRequest(in, time.Time{}, testMaxBody)
		if !proto.Equal(before, in) {
			t.Error("the CheckRequest was changed")
		}
		if err != nil {
			return
		}
		if again, err := readRequest(in, time.Time{}, testMaxBody); err != nil || !cmp.Equal(req, again) {
			t.Errorf("read twice, it differs: %v, %v", again, err)
		}
		for _, h := range req.Headers {
			if strings.ContainsAny(h.Value, "\r\n\x00") || h.Name != strings.ToLower(h.Name) || strings.HasPrefix(h.Name, ":") {
				t.Errorf("header %s passed", fmt.Sprintf("%q: %q", h.Name, h.Value))
			}
		}
	})
}
