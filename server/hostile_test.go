package server_test

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/server/servertest"
)

// change is a NewCheck option that changes the HTTP attributes.
func change(do func(http *authv3.AttributeContext_HttpRequest)) func(*authv3.CheckRequest) {
	return func(check *authv3.CheckRequest) { do(check.Attributes.Request.Http) }
}

// TestHostileChecks: a check that nobody's Envoy sends is denied in a CheckResponse like any other. All are for the public
// route, so that no other rule is what denies them.
func TestHostileChecks(t *testing.T) {
	s := startOrders(t, nil)
	public := func(options ...func(*authv3.CheckRequest)) *authv3.CheckRequest {
		return servertest.NewCheck("GET", "/healthz", options...)
	}
	manyLines := change(func(h *authv3.AttributeContext_HttpRequest) {
		h.HeaderMap = &corev3.HeaderMap{Headers: make([]*corev3.HeaderValue, 50_000)}
		for i := range h.HeaderMap.Headers {
			h.HeaderMap.Headers[i] = &corev3.HeaderValue{Key: "x"}
		}
	})
	for name, in := range map[string]*authv3.CheckRequest{
		"nothing":            {},
		"no request":         {Attributes: &authv3.AttributeContext{}},
		"no HTTP attributes": {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Time: timestamppb.Now()}}},
		"empty attributes":   {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{}}}},
		"CONNECT":            public(change(func(h *authv3.AttributeContext_HttpRequest) { h.Method, h.Path = "CONNECT", "" })),
		"no host":            public(servertest.Host("")),
		"odd host":           public(servertest.Host("a b")),
		"OPTIONS *":          servertest.NewCheck("OPTIONS", "*"),
		"absolute path":      servertest.NewCheck("GET", "http://api.example.com/healthz"),
		"odd method":         servertest.NewCheck("GE T", "/healthz"),
		"a long path":        servertest.NewCheck("GET", "/healthz/"+strings.Repeat("a", 100_000)),
		"50,000 lines":       public(manyLines),
		"a line without a name": public(servertest.Lines, change(func(h *authv3.AttributeContext_HttpRequest) {
			h.HeaderMap.Headers = append(h.HeaderMap.Headers, &corev3.HeaderValue{})
		})),
		"a header named by bytes": public(servertest.Lines, servertest.Header("x\x01", "1")),
		"a header that ends":      public(servertest.Lines, servertest.Header("x", "1\r\nx-user: root")),
		"another route, unknown": public(func(in *authv3.CheckRequest) {
			in.Attributes.ContextExtensions = map[string]string{"kasbah.route": "nowhere"}
		}),
	} {
		response := s.Check(in)
		if got := servertest.Status(response); got < 400 {
			t.Errorf("%s: status %d, want a denial: %v", name, got, response)
		}
		if got := s.Status(public()); got != 200 {
			t.Fatalf("after %s, a plain request gets %d", name, got)
		}
	}
	for name, in := range map[string]*authv3.CheckRequest{
		"bytes that are no UTF-8": public(servertest.Lines, servertest.Header("x", "\xff\xfe"), servertest.Header("cookie", "\x80")),
		"nobody's addresses": public(func(in *authv3.CheckRequest) {
			in.Attributes.Source = &authv3.AttributeContext_Peer{Address: &corev3.Address{}}
		}),
		"metadata with nothing": public(func(in *authv3.CheckRequest) {
			in.Attributes.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"x": {}}}
		}),
		"a huge id":         public(change(func(h *authv3.AttributeContext_HttpRequest) { h.Id = strings.Repeat("i", 100_000) })),
		"a size below zero": public(change(func(h *authv3.AttributeContext_HttpRequest) { h.Size = -1 << 62 })),
	} {
		if got := s.Status(in); got != 200 {
			t.Errorf("%s: status %d on a public route, want 200", name, got)
		}
	}
	if got := s.Metrics()["kasbah_panics_total"]; got != 0 {
		t.Errorf("%v panics", got)
	}
}

// TestEncodingsGiveOneVerdict asks each question in both of Envoy's forms of headers.
func TestEncodingsGiveOneVerdict(t *testing.T) {
	issuer := testIssuer(t)
	s := startOrders(t, nil)
	good, admin := issuer.Token(alice), issuer.Token(keystest.Claims{Subject: "carol", Roles: []string{"admin", "auditor"}})
	type test struct {
		method, path string
		headers      []string // name, value, …
		want         int
	}
	tests := map[string]test{
		"public":                {"GET", "/healthz", nil, 200},
		"no credential":         {"GET", "/orders/7", nil, 401},
		"alice reads":           {"GET", "/orders/7", []string{"authorization", "Bearer " + good}, 200},
		"alice deletes":         {"DELETE", "/orders/7", []string{"authorization", "Bearer " + good}, 403},
		"an admin deletes":      {"DELETE", "/orders/7", []string{"authorization", "bearer " + admin}, 200},
		"forged identity":       {"GET", "/healthz", []string{"x-user", "root", "x_roles", "admin"}, 200},
		"two tokens":            {"GET", "/orders/7", []string{"authorization", "Bearer " + good, "authorization", "Bearer " + admin}, 401},
		"a token twice":         {"GET", "/orders/7", []string{"authorization", "Bearer " + good, "authorization", "Bearer " + good}, 401},
		"basic":                 {"GET", "/orders/7", []string{"authorization", "Basic YTpi"}, 401},
		"gRPC caller":           {"POST", "/orders/7", []string{"content-type", "application/grpc", "authorization", "Bearer " + good}, 403},
		"unknown route":         {"GET", "/elsewhere", nil, 403},
		"dot segments":          {"GET", "/orders/../healthz", nil, 400},
		"query":                 {"GET", "/reports/2026?tenant=evil&%74enant=evil", []string{"authorization", "Bearer " + good}, 200},
		"a header with a break": {"GET", "/healthz", []string{"x", "a\nb"}, 400},
	}
	for _, forgery := range keystest.Forgeries() {
		if forgery != keystest.InvalidUTF8 {
			tests["forged: "+forgery.String()] = test{"GET", "/orders/7", []string{"authorization", "Bearer " + issuer.Forge(forgery, alice)}, 0}
		}
	}
	for name, test := range tests {
		var responses [2]*authv3.CheckResponse
		for i, first := range []func(*authv3.CheckRequest){servertest.Lines, func(*authv3.CheckRequest) {}} {
			options := []func(*authv3.CheckRequest){first}
			for j := 0; j < len(test.headers); j += 2 {
				options = append(options, servertest.Header(test.headers[j], test.headers[j+1]))
			}
			responses[i] = s.Check(servertest.NewCheck(test.method, test.path, options...))
			got := servertest.Status(responses[i])
			if test.want != 0 && got != test.want || test.want == 0 && (got < 400 || got > 401) {
				t.Errorf("%s, form %d: status %d, want %d", name, i, got, test.want)
			}
		}
		if diff := cmp.Diff(anonymous(responses[0]), anonymous(responses[1]), protocmp.Transform()); diff != "" {
			t.Errorf("%s: the forms differ (-lines +map):\n%s", name, diff)
		}
	}
}

// anonymous is the response without what is new with every decision.
func anonymous(response *authv3.CheckResponse) *authv3.CheckResponse {
	id := response.GetDynamicMetadata().GetFields()["decision_id"].GetStringValue()
	delete(response.DynamicMetadata.Fields, "decision_id")
	if denied := response.GetDeniedResponse(); denied != nil && id != "" {
		denied.Body = strings.ReplaceAll(denied.Body, id, "ID")
		for _, header := range denied.Headers {
			header.Header.Value = strings.ReplaceAll(header.Header.Value, id, "ID")
		}
	}
	return response
}
