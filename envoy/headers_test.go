package envoy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
)

func typeStatus(code int) typev3.StatusCode { return typev3.StatusCode(code) }

// lines are the values of a header in a check, in their order.
func lines(check *authv3.CheckRequest, name string) []string {
	var values []string
	for _, header := range check.GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
		if header.GetKey() == name {
			values = append(values, header.GetValue()+string(header.GetRawValue()))
		}
	}
	return values
}

// Identity headers reach the upstream as Kasbah set them, and in no other spelling.
func TestIdentityHeadersAreKasbahs(t *testing.T) {
	s := newSystem(t)
	s.authz.always(allow(&authv3.OkHttpResponse{
		Headers:         []*corev3.HeaderValueOption{set("x-user", "alice")},
		HeadersToRemove: []string{"x.user", "x_user", "x-roles", "X-Groups", "authorization", "x-absent"},
	}))
	for name, forged := range map[string][]string{
		"once":                  {"x-user: root"},
		"twice and in capitals": {"X-USER: root", "x-user: admin"},
		"with a dot":            {"x.user: root"},
		"others":                {"x-roles: admin", "x-groups: admin", "x-roles: more", "Authorization: Bearer x"},
		"named by Connection":   {"Connection: x-user", "x-user: root"},
		"named and closed":      {"Connection: close, x-user, x-roles"},
	} {
		response, _ := s.raw(t, get("/", forged...))
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", name, response.Status)
			continue
		}
		got := http.Header{}
		for key, values := range s.up.one(t).Header {
			switch key {
			case "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id", "X-Envoy-Expected-Rq-Timeout-Ms", "X-Envoy-External-Address":
			default:
				got[key] = values
			}
		}
		if diff := cmp.Diff(http.Header{"X-User": {"alice"}}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What a client says about itself in Envoy's own headers counts for nothing.
func TestHeadersOfOutsidersAreDropped(t *testing.T) {
	s := newSystem(t)
	s.raw(t, get("/", "x-envoy-internal: true", "x-envoy-original-path: /admin", "x-envoy-retry-on: 5xx",
		"X-Forwarded-Client-Cert: Subject=\"CN=root\"", "X-Forwarded-Proto: https", "X-Request-Id: mine", "x-envoy-auth-partial-body: false"))
	check := s.authz.one(t)
	for _, name := range []string{"x-envoy-internal", "x-envoy-original-path", "x-envoy-retry-on", "x-forwarded-client-cert", "x-envoy-auth-partial-body"} {
		if got := lines(check, name); got != nil {
			t.Errorf("Kasbah is told %s: %q", name, got)
		}
	}
	for name, forged := range map[string]string{"x-forwarded-proto": "https", "x-request-id": "mine"} {
		if got := lines(check, name); len(got) != 1 || got[0] == forged {
			t.Errorf("Kasbah is told %s: %q", name, got)
		}
	}
}

// Kasbah sees header lines as the client sent them. Envoy joins the lines of those headers that it keeps one value
// of, Authorization among them, so a comma there is a second line.
func TestRawHeaders(t *testing.T) {
	s := newSystem(t)
	s.raw(t, get("/", "X-A: 1", "X-A: 2", "x-a: 1,2", "X-B: \xff\xfe", "X-Empty:", "Cookie: a=1", "Cookie: b=2", "Authorization: Bearer a", "authorization: Bearer b"))
	check := s.authz.one(t)
	if check.GetAttributes().GetRequest().GetHttp().GetHeaders() != nil {
		t.Error("the old map of headers is filled, too")
	}
	for name, want := range map[string][]string{
		"x-a": {"1", "2", "1,2"}, "x-b": {"\xff\xfe"}, "x-empty": {""}, "cookie": {"a=1", "b=2"}, "authorization": {"Bearer a,Bearer b"},
		":path": {"/"}, ":method": {"GET"}, ":authority": {"api.example.com"},
	} {
		if diff := cmp.Diff(want, lines(check, name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// An answer that goes beyond ordinary headers is refused by Envoy, and so is one that is not well formed.
func TestAnswersAreChecked(t *testing.T) {
	s := newSystem(t)
	for name, ok := range map[string]*authv3.OkHttpResponse{
		"sets the path":         {Headers: []*corev3.HeaderValueOption{set(":path", "/admin")}},
		"sets the host":         {Headers: []*corev3.HeaderValueOption{set("host", "other")}},
		"sets Envoy's header":   {Headers: []*corev3.HeaderValueOption{set("x-envoy-retry-on", "5xx")}},
		"removes the host":      {HeadersToRemove: []string{"host"}},
		"removes the path":      {HeadersToRemove: []string{":path"}},
		"line break in a value": {Headers: []*corev3.HeaderValueOption{set("x-user", "a\r\nx-admin: 1")}},
		"NUL in a value":        {Headers: []*corev3.HeaderValueOption{set("x-user", "\x00")}},
	} {
		s.authz.always(allow(ok))
		if response, _ := s.raw(t, get("/")); response.StatusCode != http.StatusInternalServerError {
			t.Errorf("%s: %s, want 500", name, response.Status)
		}
		if seen := s.up.taken(); len(seen) != 0 {
			t.Errorf("%s: the upstream saw it", name)
		}
	}
}

// Query parameters are set as they are given: nothing is encoded, and another spelling of the name stays.
func TestQueryParameters(t *testing.T) {
	s := newSystem(t)
	for _, c := range []struct{ value, target, want string }{
		{"alice", "/q", "/q?user=alice"},
		{"alice", "/q?user=root&a=%41&user=admin", "/q?a=%41&user=alice"},
		{"alice", "/q?%75ser=root", "/q?%75ser=root&user=alice"},
		{"a%20b%26c", "/q?", "/q?user=a%20b%26c"},
		{"a&b=c", "/q", "/q?user=a&b=c"},
	} {
		s.authz.always(allow(&authv3.OkHttpResponse{QueryParametersToSet: []*corev3.QueryParameter{{Key: "user", Value: c.value}}}))
		s.raw(t, get(c.target))
		if got := s.up.one(t).RequestURI; got != c.want {
			t.Errorf("%s with %q: the upstream got %q, want %q", c.target, c.value, got, c.want)
		}
	}
}

// Bodies up to the limit reach Kasbah whole; of a longer one it gets the beginning, and the upstream all of it.
// Over HTTP/2 Envoy 1.40 does not mark a body that it cut at the limit, and gives the cut length as its size, also when the
// client stated a Content-Length. So a body of exactly the limit counts as cut.
func TestBodies(t *testing.T) {
	const limit = 1 << 20
	s := newSystem(t)
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	for name, transport := range map[string]*http.Transport{"HTTP/1.1": {}, "HTTP/2": {Protocols: &h2c}} {
		t.Cleanup(transport.CloseIdleConnections)
		for _, size := range []int{1, 100_000, limit - 1, limit, limit + 1, 3 * limit} {
			for _, known := range []bool{true, false} {
				var body io.Reader = strings.NewReader(strings.Repeat("x", size))
				if !known {
					body = io.MultiReader(body) // so that there is no Content-Length
				}
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.address+"/upload", body)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("x-envoy-auth-partial-body", "false") // a client's own word counts for nothing
				response, err := transport.RoundTrip(request)
				if err != nil {
					t.Fatalf("%s %d: %v", name, size, err)
				}
				_ = response.Body.Close()
				check := s.authz.one(t)
				got, flag := len(check.GetAttributes().GetRequest().GetHttp().GetRawBody()), lines(check, "x-envoy-auth-partial-body")
				whole := len(flag) == 1 && flag[0] == "false" && got < limit
				if response.StatusCode != http.StatusOK || got != min(size, limit) || len(flag) != 1 || whole != (size < limit) {
					t.Errorf("%s, %d bytes, length known %v: %s, the check has %d bytes, flag %q", name, size, known, response.Status, got, flag)
				}
				if seen := s.up.bodyLength(); seen != size {
					t.Errorf("%s: the upstream got %d bytes of %d", name, seen, size)
				}
			}
		}
	}
}

// bodyLength is the length of the body of the only request since the last call.
func (u *upstream) bodyLength() int {
	u.mu.Lock()
	bodies := u.bodies
	u.mu.Unlock()
	u.taken()
	if len(bodies) != 1 {
		return -1
	}
	return len(bodies[0])
}
