package demo_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

// headerThreats are the rows of the table of header confusions.
var headerThreats = map[string]func(t *testing.T, e *edge, who credentials){
	"Caddy CVE-2026-30851, CVE-2026-52845, Traefik CVE-2026-54763, CVE-2026-33433, CVE-2026-88011, oauth2-proxy CVE-2025-64484": tryIdentities,
	"Oathkeeper GHSA-w9mr-28mw-j8hg, Traefik CVE-2024-45410":                                                                    tryConnection,
	"Envoy CVE-2020-25017, CVE-2021-32777, CVE-2026-26308, Istio CVE-2026-31838":                                                tryRepeated,
	"Envoy CVE-2026-73552":                 tryBytesAgainstPattern,
	"Envoy CVE-2023-27488, CVE-2024-23324": tryBytes,
	"Envoy CVE-2023-27487, CVE-2024-45806": func(t *testing.T, e *edge, who credentials) {
		tryPretences(t, e, who, "x-envoy-original-path", "x-envoy-original-host", "x-envoy-decorator-operation", "x-envoy-internal")
	},
	"Oathkeeper CVE-2026-33495, oauth2-proxy CVE-2026-40575, CVE-2026-76835, heimdall CVE-2026-57210, CVE-2026-57209, Traefik CVE-2026-35051, CVE-2026-39858": func(t *testing.T, e *edge, who credentials) {
		tryPretences(t, e, who, "X-Forwarded-Uri", "X-Forwarded-Path", "X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Method", "X-Original-URL", "X-Original-URI", "X-Rewrite-URL", "Forwarded")
		trySource(t, e, who)
	},
	"grpc-gateway CVE-2026-37236":                  tryMethods,
	"Kuadrant mcp-gateway GHSA-g53w-w6mj-hrpp":     trySwitches,
	"oauth2-proxy CVE-2026-34457":                  tryUserAgents,
	"x-envoy-auth-partial-body from the client":    tryPartialBody,
	"Envoy CVE-2026-73547":                         tryWithoutPath,
	"casbin keyMatch2 takes more than one segment": tryKeyMatch,
}

// foldName is how CGI, WSGI and their heirs see the name of a header.
func foldName(name string) string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
}

// identities returns the lines that an upstream could read as one of Kasbah's, in the spelling that they have.
func (o *outcome) identities() []string {
	var found []string
	for _, line := range o.lines {
		name, _, _ := strings.Cut(line, ":")
		if slices.Contains([]string{"x-user", "x-roles", "x-email", "x-source"}, foldName(name)) {
			found = append(found, line)
		}
	}
	slices.Sort(found)
	return found
}

// A forged identity reaches no upstream, whether Kasbah has a value for it or not, in no spelling.
func tryIdentities(t *testing.T, e *edge, who credentials) {
	alice := []string{"x-source: 127.0.0.1", "x-user: alice"}
	for _, forged := range [][]string{
		{"x-user: root"},
		{"X-USER: root", "x-user: root"},
		{"x.user: root"},
		{"X-User: root", "x.roles: admin", "X.Email: root@example.com"},
		{"x-roles: admin", "x-email: root@example.com", "x-source: 10.0.0.1"},
		{"x-user:", "x-user: root"},
		{"x-user: root,root"},
		{"x_user: root"},
		{"X_Roles: admin", "x-roles: admin"},
		{"x_user: root", "x.user: root", "x-user: root", "X_USER: root"},
	} {
		underscores := strings.Contains(strings.Join(forged, ""), "_")
		for _, to := range []struct {
			attack
			want []string
		}{
			{attack{target: "/a", headers: []string{bearer(who.alice)}}, alice},
			{attack{target: "/a", host: "public.example.com"}, nil},
			{attack{target: "/a", host: "lists.example.com", headers: []string{bearer(who.carol)}}, nil},
		} {
			a := to.with(forged...)
			o := e.try(t, a)
			if o.status == 400 && underscores { // Envoy's own answer, where it is hardened
				continue
			}
			if got := o.identities(); !o.served || !slices.Equal(got, to.want) {
				t.Errorf("%s: status %d, the upstream got %q, want %q", describe(a), o.status, got, to.want)
			}
			if got := o.values("authorization"); got != nil {
				t.Errorf("%s: the credential went on", describe(a))
			}
		}
	}
}

// What the client names in Connection, the next hop would drop.
func tryConnection(t *testing.T, e *edge, who credentials) {
	for _, line := range []string{"Connection: x-user", "Connection: close, X-User", "Connection: keep-alive, x-user, x-source", "Connection: x-user\r\nConnection: x-source", "Proxy-Connection: x-user"} {
		a := attack{target: "/a", headers: []string{bearer(who.alice), line}}
		o := e.try(t, a)
		if got := o.identities(); !o.served || !slices.Equal(got, []string{"x-source: 127.0.0.1", "x-user: alice"}) {
			t.Errorf("%s: status %d, the upstream got %q", describe(a), o.status, got)
		}
		for _, value := range o.values("connection") {
			if strings.Contains(strings.ToLower(value), "x-") {
				t.Errorf("%s: the upstream is told %q", describe(a), value)
			}
		}
	}
	a := attack{target: "/a", headers: []string{"Connection: authorization", bearer(who.alice)}}
	if o := e.try(t, a); o.status != 401 && o.status != 200 {
		t.Errorf("%s: status %d", describe(a), o.status)
	}
}

// A rule about a header sees every value of it, or the request is denied.
func tryRepeated(t *testing.T, e *edge, who credentials) {
	for _, headers := range [][]string{
		{"x-tenant: evil"},
		{"x-tenant: good", "x-tenant: evil"},
		{"x-tenant: evil", "x-tenant: good"},
		{"x-tenant: good,evil"},
		{"x-tenant: good, evil"},
		{"x-tenant: good", "X-TENANT: evil"},
		{"x-tenant: good", "x-tenant: good"},
		{"x-tenant:", "x-tenant: evil"},
		{"x-tenant:  evil "},
		{},
	} {
		a := attack{target: "/t", host: "tenants.example.com", headers: append([]string{bearer(who.alice)}, headers...)}
		mustBe(t, e, a, e.try(t, a), 403)
	}
	for _, headers := range [][]string{
		{bearer(who.alice), bearer("x")},
		{bearer("x"), bearer(who.alice)},
		{bearer(who.alice), bearer(who.alice)},
		{bearer(who.alice) + ", Bearer x"},
		{bearer(who.alice) + ",x"},
		{"Authorization: Basic YTpi", bearer(who.alice)},
		{bearer(who.alice), "Authorization:"},
		{bearer(who.alice) + " " + who.alice},
	} {
		a := attack{target: "/a", headers: headers}
		if o := e.try(t, a); o.status != 401 && !(o.status == 200 && headers[len(headers)-1] == "Authorization:") {
			t.Errorf("%d credentials: status %d", len(headers), o.status)
		}
	}
}

// A byte that the pattern of a rule cannot match does not lead past the rule.
func tryBytesAgainstPattern(t *testing.T, e *edge, who credentials) {
	for _, value := range []string{"evil\xff", "evil\x80x", "evil\xc0\xaf", "evil\xed\xa0\x80"} {
		a := attack{target: "/t", host: "tenants.example.com", headers: []string{bearer(who.alice), "x-tenant: " + value}}
		mustBe(t, e, a, e.try(t, a), 403)
	}
}

// A header that is no text changes no verdict.
func tryBytes(t *testing.T, e *edge, who credentials) {
	for _, junk := range []string{"x-junk: \xff", "x-junk: \xc3\x28\xfe", "Cookie: \xff=\xff", "User-Agent: \x80", "Referer: \xed\xa0\x80"} {
		for status, a := range map[int]attack{
			403: {target: "/admin", headers: []string{bearer(who.alice), junk}},
			401: {target: "/a", headers: []string{junk}},
			200: {target: "/a", host: "public.example.com", headers: []string{junk}},
		} {
			mustBe(t, e, a, e.try(t, a), status)
		}
	}
	a := attack{target: "/a", headers: []string{"Authorization: Bearer \xff"}}
	mustBe(t, e, a, e.try(t, a), 401)
}

// No header makes another path, host or method of the request.
func tryPretences(t *testing.T, e *edge, who credentials, names ...string) {
	for _, name := range names {
		for _, value := range []string{"/public", "https://lists.example.com/public", "public.example.com", "GET", "https", "host=public.example.com;proto=https"} {
			line := name + ": " + value
			for status, a := range map[int]attack{
				403: {target: "/admin", headers: []string{bearer(who.alice), line}},
				401: {target: "/admin", host: "lists.example.com", headers: []string{line}},
			} {
				mustBe(t, e, a, e.try(t, a), status)
			}
		}
		a := attack{target: "/public", host: "lists.example.com", headers: []string{name + ": /admin"}}
		mustBe(t, e, a, e.try(t, a), 200)
	}
	a := attack{target: "/", host: "admin.example.com", headers: []string{"X-Forwarded-Host: elsewhere.example.com", "X-Host: elsewhere.example.com"}}
	mustBe(t, e, a, e.try(t, a), 401)
}

// The client's address is that of its connection.
func trySource(t *testing.T, e *edge, who credentials) {
	for _, line := range []string{
		"X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 6.6.6.6, 127.0.0.2", "X-Real-IP: 6.6.6.6", "x-envoy-external-address: 6.6.6.6", "Forwarded: for=6.6.6.6",
		"True-Client-IP: 6.6.6.6", "CF-Connecting-IP: 6.6.6.6", "X-Forwarded-For: \xff",
	} {
		a := attack{target: "/a", headers: []string{bearer(who.alice), line}}
		if o := e.try(t, a); !o.served || !slices.Equal(o.values("x-source"), []string{"127.0.0.1"}) {
			t.Errorf("%s: status %d, the source is %q", describe(a), o.status, o.values("x-source"))
		}
	}
}

// The method is the one in the request's first line.
func tryMethods(t *testing.T, e *edge, _ credentials) {
	for _, name := range []string{"X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method", "X-Forwarded-Method"} {
		write := attack{method: "DELETE", target: "/x", host: "methods.example.com", headers: []string{name + ": GET"}}
		mustBe(t, e, write, e.try(t, write), 401)
		read := attack{target: "/x", host: "methods.example.com", headers: []string{name + ": DELETE"}}
		if o := e.try(t, read); !o.served || o.method != "GET" {
			t.Errorf("%s: status %d, the upstream got %s", describe(read), o.status, o.method)
		}
	}
	for _, method := range []string{"get", "GETT", "Get", "PROPFIND", "TRACE", "QUERY"} {
		a := attack{method: method, target: "/x", host: "methods.example.com"}
		mustDeny(t, e, a, e.try(t, a))
	}
}

// No header switches the checks off.
func trySwitches(t *testing.T, e *edge, who credentials) {
	for _, line := range []string{
		"kasbah.route: open", "kasbah-route: open", "x-kasbah-route: open", "router-key: internal", "mcp-init-host: open", "x-ext-authz-check-result: allowed", "x-envoy-auth-skip: true",
		"x-envoy-internal: true", "x-internal: true", "x-debug: 1", "x-authenticated-user: carol", "x-forwarded-user: carol", "x-auth-request-user: carol", "x-forwarded-client-cert: Subject=\"CN=carol\"",
		"x-b3-sampled: 1", "baggage: kasbah.route=open", "content-type: application/grpc", "content-type: application/grpc-web",
	} {
		a := attack{target: "/admin", host: "public.example.com", headers: []string{line}}
		o := e.try(t, a)
		if o.served || o.status != 401 && o.header.Get("Grpc-Status") != "16" {
			t.Errorf("%s: status %d", describe(a), o.status)
		}
		a = attack{target: "/admin", headers: []string{bearer(who.alice), line}}
		if o = e.try(t, a); o.served || o.status != 403 && o.header.Get("Grpc-Status") != "7" {
			t.Errorf("%s: status %d", describe(a), o.status)
		}
	}
}

// A health check is known by nothing that a client can say.
func tryUserAgents(t *testing.T, e *edge, _ credentials) {
	for _, agent := range []string{"kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0", "Envoy/HC", "grpc_health_probe"} {
		for _, target := range []string{"/", "/healthz", "/ping", "/ready", "/grpc.health.v1.Health/Check"} {
			a := attack{target: target, headers: []string{"User-Agent: " + agent}}
			mustBe(t, e, a, e.try(t, a), 401)
		}
	}
}

// The client cannot say that a body is whole, or that it is not.
func tryPartialBody(t *testing.T, e *edge, who credentials) {
	for _, value := range []string{"true", "false", "", "false, true"} {
		line := "x-envoy-auth-partial-body: " + value
		for status, a := range map[int]attack{
			403: {method: "POST", target: "/admin", headers: []string{bearer(who.alice), line}, body: "{}"},
			200: {method: "POST", target: "/a", headers: []string{bearer(who.alice), line}, body: "{}"},
		} {
			mustBe(t, e, a, e.try(t, a), status)
		}
	}
}

// A request without a path is denied, and the next one is decided as ever.
func tryWithoutPath(t *testing.T, e *edge, who credentials) {
	for _, a := range []attack{
		{method: "CONNECT", target: "public.example.com:443", host: "public.example.com:443"},
		{method: "CONNECT", target: "/admin", host: "public.example.com"},
		{method: "OPTIONS", target: "*", host: "api.example.com"},
		{method: "OPTIONS", target: "*", host: "lists.example.com"},
		{method: "GET", target: "?x", host: "api.example.com"},
		{method: "GET", target: "", host: "api.example.com"},
	} {
		mustDeny(t, e, a, e.try(t, a))
	}
	a := attack{target: "/a", headers: []string{bearer(who.alice)}}
	mustBe(t, e, a, e.try(t, a), 200)
}

// A pattern for one segment takes no more than one.
func tryKeyMatch(t *testing.T, e *edge, who credentials) {
	for _, target := range []string{"/users/1%2f2", "/users/1%2F2", "/users/..", "/users/%2e%2e", "/users/1%0a", "/users/1/2", "/users/", "/users/1?", "/users/1;x", "/users//1/2"} {
		a := attack{target: target, host: "users.example.com", headers: []string{bearer(who.alice)}}
		if target == "/users/1?" {
			mustBe(t, e, a, e.try(t, a), 200) // a query is not part of the path
			continue
		}
		mustDeny(t, e, a, e.try(t, a))
	}
}

// subject is a token with one odd character in one of the claims that are injected.
type subject struct {
	header, value, token string
	injected             bool // whether it may be: as it stands, or not at all
}

// hostileSubjects are tokens with every character from 0 to 255 in each injected claim, and what would be a second
// header line. The issuer vouches for them: it is nobody's fault but must be nobody's loss.
func hostileSubjects(t *testing.T, issuer *keystest.Issuer) []subject {
	t.Helper()
	var all []subject
	add := func(header, value string, extra map[string]any, injected bool) {
		token := issuer.Token(keystest.Claims{Subject: "alice", Algorithm: "ES256", Extra: extra})
		all = append(all, subject{header, value, token, injected})
	}
	for c := rune(0); c < 256; c++ {
		value := "a" + string(c) + "b"
		printable := 0x20 <= c && c <= 0x7e
		add("x-user", value, map[string]any{"sub": value}, printable)
		add("x-email", value, map[string]any{"email": value}, printable)
		add("x-roles", value, map[string]any{"roles": []string{value}}, printable && c != ',')
	}
	for _, value := range []string{
		"alice\r\nx-roles: admin", "alice\nx-roles: admin", "alice\r\n\r\nGET /admin HTTP/1.1", "a\u2028b", "аlice", "alice\u0000", " alice", "alice ", strings.Repeat("a", 5000),
	} {
		add("x-user", value, map[string]any{"sub": value}, false)
		add("x-email", value, map[string]any{"email": value}, false)
	}
	return all
}

func trySubjects(t *testing.T, e *edge, subjects []subject) {
	attacks := make([]attack, len(subjects))
	for i, s := range subjects {
		attacks[i] = attack{target: "/a", headers: []string{bearer(s.token)}}
	}
	usual := e.try(t, attack{target: "/a", headers: []string{bearer(subjects['a'*3].token)}})
	injected := 0
	for i, o := range e.tryAll(t, attacks) {
		s := subjects[i]
		if !s.injected {
			if !refused(o) {
				t.Errorf("%s %q: status %d, the upstream got %q", s.header, s.value, o.status, o.identities())
			}
			continue
		}
		injected++
		if !o.served || !slices.Equal(o.values(s.header), []string{s.value}) {
			t.Errorf("%s %q: status %d, the upstream got %q", s.header, s.value, o.status, o.values(s.header))
		}
		if names := len(o.lines); names > len(usual.lines)+1 {
			t.Errorf("%s %q: the upstream got %d lines, %d are usual: %q", s.header, s.value, names, len(usual.lines), o.lines)
		}
	}
	if want := 3*95 - 1; injected != want {
		t.Errorf("%d values may be injected, want %d: the test has lost some", injected, want)
	}
}
