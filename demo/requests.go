package demo

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

// expectation is one request and what must come back.
type expectation struct {
	name string
	request
	want  string                 // the status: "200", "grpc 7"
	check func(a *answer) string // what else is wrong, empty if nothing is
}

// expectations are the requests of `kasbah demo --once`: every row of the table in the design that this
// configuration can reach, and the attacks that services of this kind fell for.
func expectations(issuer *keystest.Issuer) []expectation {
	return slices.Concat(allowed(issuer), denied(issuer), forged(issuer), ambiguous(issuer), spoofed(issuer), calls(issuer))
}

func allowed(issuer *keystest.Issuer) []expectation {
	alice := issuer.Token(keystest.Claims{Subject: "alice"})
	bob := issuer.Token(keystest.Claims{Subject: "bob"})
	carol := issuer.Token(keystest.Claims{Subject: "carol", Roles: []string{"admin"}})
	dave := issuer.Token(keystest.Claims{Subject: "dave", Extra: map[string]any{"tenant": "blue moon"}})
	return []expectation{
		{"a public route asks for nobody", request{method: "GET", path: "/healthz"}, "200", nil},
		{"a reader reads", request{method: "GET", path: "/orders/7", token: alice}, "200", upstreamSees("x-user", "alice")},
		{"the credential stops at the gate", request{method: "GET", path: "/orders/7", token: alice}, "200", upstreamSees("authorization", "")},
		{"a claim that the token lacks is no header", request{method: "GET", path: "/orders/7", token: alice}, "200", upstreamSees("x-email", "")},
		{"a query is not part of the path", request{method: "GET", path: "/orders/7?x=/admin", token: alice}, "200", nil},
		{"a role of a role", request{method: "GET", path: "/orders/7", token: bob}, "200", upstreamSees("x-user", "bob")},
		{"a writer writes", request{method: "POST", path: "/orders", token: bob, headers: []string{"Content-Length: 0"}}, "200", nil},
		{"a role in the token", request{method: "DELETE", path: "/orders/7", token: carol}, "200", upstreamSees("x-roles", "admin")},
		{"an ES256 token", request{method: "GET", path: "/orders/7", token: issuer.Token(keystest.Claims{Algorithm: "ES256"})}, "200", nil},
		{"an EdDSA token", request{method: "GET", path: "/orders/7", token: issuer.Token(keystest.Claims{Algorithm: "EdDSA"})}, "200", nil},
		{"query parameters, and a client's own of those names", request{method: "GET", path: "/reports/2026?tenant=red&%74enant=red", token: dave}, "200", func(a *answer) string {
			if a.seen.Query != "tenant=blue%20moon&year=2026" && a.seen.Query != "year=2026&tenant=blue%20moon" {
				return fmt.Sprintf("the upstream saw the query %q", a.seen.Query)
			}
			return ""
		}},
		{"a header on the response", request{method: "GET", path: "/orders/7", token: alice}, "200", func(a *answer) string {
			if got := a.header.Get("X-Served-To"); got != "alice" {
				return fmt.Sprintf("x-served-to is %q", got)
			}
			return ""
		}},
	}
}

func denied(issuer *keystest.Issuer) []expectation {
	alice := issuer.Token(keystest.Claims{Subject: "alice"})
	mallory := issuer.Token(keystest.Claims{Subject: "mallory"})
	return []expectation{
		{"no credential", request{method: "GET", path: "/orders/7"}, "401", challenged("Bearer", false)},
		{"another scheme", request{method: "GET", path: "/orders/7", headers: []string{"Authorization: Basic YTpi"}}, "401", challenged("Bearer", false)},
		{"a method that no rule allows", request{method: "DELETE", path: "/orders/7", token: alice}, "403", nil},
		{"a rule that denies", request{method: "GET", path: "/orders/secret", token: alice}, "403", nil},
		{"a caller whom no rule knows", request{method: "GET", path: "/orders/7", token: mallory}, "403", nil},
		{"no route", request{method: "GET", path: "/nowhere", token: alice}, "403", nil},
		{"a method of no route", request{method: "POST", path: "/healthz", headers: []string{"Content-Length: 0"}}, "403", nil},
		{"keys that were never fetched", request{method: "GET", path: "/partner/x", token: issuer.Token(keystest.Claims{Extra: map[string]any{"iss": "http://partner:9"}})}, "503", func(a *answer) string {
			if a.header.Get("Retry-After") == "" {
				return "no Retry-After"
			}
			return ""
		}},
	}
}

// forged sends one token of every kind of forgery.
func forged(issuer *keystest.Issuer) []expectation {
	var all []expectation
	for _, kind := range keystest.Forgeries() {
		token := issuer.Forge(kind, keystest.Claims{Subject: "alice"})
		if strings.ContainsAny(token, "\r\n") {
			continue // no client can send it; the tests of package keys do
		}
		all = append(all, expectation{
			"a forged token: " + strings.ReplaceAll(kind.String(), "_", " "),
			request{method: "GET", path: "/orders/7", token: token},
			"401", challenged("Bearer", true),
		})
	}
	return all
}

// ambiguous sends paths that Envoy, Kasbah and an upstream could read differently.
func ambiguous(issuer *keystest.Issuer) []expectation {
	alice := issuer.Token(keystest.Claims{Subject: "alice"})
	var all []expectation
	for path, want := range map[string]string{
		"/public/..%2forders/7":  "400", // Envoy refuses encoded slashes
		"/orders%5c7":            "400",
		"/orders;x=y/7":          "400", // Kasbah refuses the rest
		"/orders/7;x":            "400",
		"/orders/%252e%252e":     "400",
		"/orders/%00":            "400",
		"/orders/%3f":            "400",
		"/healthz/../orders/7":   "401", // Envoy resolves these, and decides about the path that results
		"/healthz/%2e%2e/orders": "401",
		"//orders/7":             "401",
	} {
		all = append(all, expectation{"an ambiguous path, " + path, request{method: "GET", path: path}, want, nil})
	}
	slices.SortFunc(all, func(a, b expectation) int { return strings.Compare(a.path, b.path) })
	all = append(all,
		expectation{"dots resolved, then decided", request{method: "GET", path: "/healthz/../orders/7", token: alice}, "200", func(a *answer) string {
			if a.seen.Path != "/orders/7" {
				return "the upstream saw " + a.seen.Path
			}
			return ""
		}},
		expectation{"another spelling of the host", request{method: "GET", path: "/orders/7", host: "API.Example.com.:0443"}, "401", nil},
	)
	return all
}

// spoofed sends headers that only Kasbah may set.
func spoofed(issuer *keystest.Issuer) []expectation {
	alice := issuer.Token(keystest.Claims{Subject: "alice"})
	forgedUser := []string{"X-User: mallory", "x-user: mallory", "X-Roles: admin"}
	return []expectation{
		{"a forged identity on a public route", request{method: "GET", path: "/healthz", headers: forgedUser}, "200", upstreamSees("x-user", "")},
		{"a forged identity on a protected route", request{method: "GET", path: "/orders/7", token: alice, headers: forgedUser}, "200", upstreamSees("x-user", "alice")},
		{"a forged role", request{method: "GET", path: "/orders/7", token: alice, headers: forgedUser}, "200", upstreamSees("x-roles", "")},
		{"a forged identity in another spelling", request{method: "GET", path: "/healthz", headers: []string{"X.User: mallory"}}, "200", upstreamSees("x.user", "")},
		{"a header with an underscore", request{method: "GET", path: "/healthz", headers: []string{"X_User: mallory"}}, "400", nil},
		{"a header that the next hop should drop", request{method: "GET", path: "/orders/7", token: alice, headers: []string{"Connection: x-user"}}, "200", upstreamSees("x-user", "alice")},
		{"two Authorization headers", request{method: "GET", path: "/orders/7", token: alice, headers: []string{"Authorization: Bearer x"}}, "401", challenged("Bearer", true)},
	}
}

func calls(issuer *keystest.Issuer) []expectation {
	alice := issuer.Token(keystest.Claims{Subject: "alice"})
	mallory := issuer.Token(keystest.Claims{Subject: "mallory"})
	return []expectation{
		{"gRPC, allowed", request{method: "POST", path: "/demo.Greeter/Hello", token: alice, grpc: true}, "grpc 0", nil},
		{"gRPC, no credential", request{method: "POST", path: "/demo.Greeter/Hello", grpc: true}, "grpc 16", nil},
		{"gRPC, expired", request{method: "POST", path: "/demo.Greeter/Hello", token: issuer.Forge(keystest.Expired, keystest.Claims{}), grpc: true}, "grpc 16", nil},
		{"gRPC, not allowed", request{method: "POST", path: "/demo.Greeter/Hello", token: mallory, grpc: true}, "grpc 7", nil},
		{"gRPC, an ambiguous path", request{method: "POST", path: "/demo.Greeter/Hello;x", grpc: true}, "grpc 3", nil},
		{"gRPC, keys never fetched", request{method: "POST", path: "/partner/x", token: issuer.Token(keystest.Claims{Extra: map[string]any{"iss": "http://partner:9"}}), grpc: true}, "grpc 14", nil},
	}
}

// upstreamSees demands that the upstream saw that header once and with that value, or not at all where it is empty.
func upstreamSees(name, value string) func(*answer) string {
	return func(a *answer) string {
		if !a.served {
			return "the upstream did not answer"
		}
		got := a.seen.Headers[name]
		if value == "" && len(got) == 0 || len(got) == 1 && got[0] == value && value != "" {
			return ""
		}
		return fmt.Sprintf("the upstream saw %s: %q", name, got)
	}
}

// challenged demands a WWW-Authenticate of that scheme, and RFC 6750's error where a credential was sent.
func challenged(scheme string, invalid bool) func(*answer) string {
	return func(a *answer) string {
		got := a.header.Get("Www-Authenticate")
		if !strings.HasPrefix(got, scheme) || strings.Contains(got, `error="invalid_token"`) != invalid {
			return fmt.Sprintf("the challenge is %q", got)
		}
		return ""
	}
}
