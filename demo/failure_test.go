package demo_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/kasbah-authz/kasbah/demo"
	"github.com/kasbah-authz/kasbah/keys/keystest"
)

// Without Kasbah nobody passes, and everyone is told to try again.
func TestKasbahGone(t *testing.T) {
	g := newGate(t)
	e := g.edge(t, "hardened", rawUpstream(t))
	calls := g.edge(t, "hardened, gRPC", serve(t, demo.Upstream()))
	alice := g.issuer.Token(keystest.Claims{Subject: "alice"})
	attacks := []attack{
		{target: "/a", headers: []string{bearer(alice)}},
		{target: "/", host: "public.example.com"},
		{target: "/admin", host: "public.example.com"},
		{method: "POST", target: "/a", headers: []string{bearer(alice)}, body: "{}"},
		{target: "/a"},
	}
	for i, want := range []int{200, 200, 401, 200, 401} {
		mustBe(t, e, attacks[i], e.try(t, attacks[i]), want)
	}
	g.stop()
	for _, a := range attacks {
		o := e.try(t, a)
		mustBe(t, e, a, o, 503)
		if o.header.Get("X-Kasbah-Route") != "" || o.served {
			t.Errorf("%s: somebody decided", describe(a))
		}
	}
	if got, _ := call(t, calls, "api.example.com", "/demo.Greeter/Hello", alice); got != codes.Unavailable {
		t.Errorf("gRPC: %s, want UNAVAILABLE", got)
	}
	if failed := e.stat(t, `ext_authz\.kasbah\.error$`); failed < int64(len(attacks)) {
		t.Errorf("Envoy counts %d errors for %d requests", failed, len(attacks))
	}
}

// What the tests of threats rest on: without an answer the lax Envoy lets everything pass, and the oracle sees it. So a
// single RPC error in place of a denial would have failed them.
func TestLaxEnvoyOpens(t *testing.T) {
	g := newGate(t)
	e := g.edge(t, "lax", rawUpstream(t), lax)
	g.stop()
	var attacks []attack
	for _, target := range traversals() {
		attacks = append(attacks, attack{target: target, host: "public.example.com"})
	}
	below := 0
	for _, o := range e.tryAll(t, attacks) {
		if o.served && readsBelowAdmin(o.target) {
			below++
		}
	}
	if below < 200 {
		t.Errorf("of %d traversals only %d reached /admin without a gate", len(attacks), below)
	}
	if let := e.stat(t, `ext_authz\.kasbah\.failure_mode_allowed$`); let == 0 {
		t.Error("Envoy let nothing pass for want of an answer")
	}
}

// Requests as large as Envoy takes are denied by an answer, never by an error, and those that may pass do.
func TestLargeRequests(t *testing.T) {
	g := newGate(t)
	upstream := rawUpstream(t)
	alice := bearer(g.issuer.Token(keystest.Claims{Subject: "alice"}))
	for name, changes := range map[string][]func(*bootstrap){
		"hardened": nil, "hardened, joined headers": {joinedHeaders}, "lax": {lax}, "lax, joined headers": {lax, joinedHeaders},
	} {
		t.Run(name, func(t *testing.T) {
			e := g.edge(t, name, upstream, changes...)
			limit := 30 << 10
			if strings.HasPrefix(name, "lax") {
				limit = 90 << 10
			}
			for what, large := range map[string]attack{
				"one header":          {headers: []string{"x-large: " + strings.Repeat("x", limit)}},
				"bytes that grow":     {headers: []string{"x-large: " + strings.Repeat("\xff", limit)}},
				"many headers":        {headers: manyHeaders(80, limit/80-20)},
				"a cookie":            {headers: []string{"Cookie: " + strings.Repeat("a=b; ", limit/5-10)}},
				"a body":              {body: strings.Repeat("x", 1<<20)},
				"a body cut off":      {body: strings.Repeat("x", 2<<20)},
				"a body and a header": {headers: []string{"x-large: " + strings.Repeat("\xfe", limit)}, body: strings.Repeat("\xff", 3<<20)},
				"a long path":         {target: "/" + strings.Repeat("a", 20<<10)},
				"a long query":        {target: "?" + strings.Repeat("a", 20<<10)},
			} {
				if large.body != "" {
					large.method = "POST"
				}
				denied := large.with(alice)
				denied.target = "/admin" + large.target
				mustBe(t, e, attack{target: what}, e.try(t, denied), map[bool]int{false: 403, true: 400}[what == "a long path"])
				nobody := large
				nobody.target = "/admin" + large.target
				nobody.host = "public.example.com"
				mustBe(t, e, attack{target: what}, e.try(t, nobody), map[bool]int{false: 401, true: 400}[what == "a long path"])
				if what == "a long path" {
					continue
				}
				allowed := large.with(alice)
				allowed.target = "/a" + large.target
				mustBe(t, e, attack{target: what}, e.try(t, allowed), 200)
			}
			for _, count := range []int{101, 2000} {
				a := attack{target: "/admin", headers: append(manyHeaders(count, 10), alice)}
				mustBe(t, e, attack{target: fmt.Sprint(count, " headers")}, e.try(t, a), 431)
			}
			e.noErrors(t)
		})
	}
}

// An Envoy that takes more than envoy.yaml lets it, and opens the gate on an error, is answered all the same.
func TestLargerThanAgreed(t *testing.T) {
	g := newGate(t)
	upstream := rawUpstream(t)
	alice := bearer(g.issuer.Token(keystest.Claims{Subject: "alice"}))
	for name, large := range map[string]struct {
		attack
		change func(*bootstrap)
	}{
		"headers": {
			attack{headers: []string{"x-large: " + strings.Repeat("x", 6<<20)}},
			func(b *bootstrap) { b.replace(b.manager(), "max_request_headers_kb", 8192) },
		},
		"a body": {
			attack{method: "POST", body: strings.Repeat("x", 20<<20)},
			func(b *bootstrap) {
				b.replace(b.mapping(b.extAuthz(), "with_request_body"), "max_request_bytes", 32<<20)
				b.replace(b.mapping(b.root, "static_resources", "listeners", 0), "per_connection_buffer_limit_bytes", 32<<20)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := g.edge(t, "lax, "+name, upstream, lax, large.change)
			denied := large.with(alice)
			denied.target = "/admin"
			o := e.try(t, denied)
			mustBe(t, e, attack{target: name}, o, 403)
			if o.served {
				t.Error("a denied request was served")
			}
			e.noErrors(t)
		})
	}
}

// Where Kasbah's headers would be more than Envoy takes, the request is refused, and not passed on without them.
func TestHeadersThatDoNotFit(t *testing.T) {
	g := newGate(t)
	e := g.edge(t, "hardened", rawUpstream(t))
	alice := bearer(g.issuer.Token(keystest.Claims{Subject: "alice"}))
	statuses := map[int]int{}
	for count := 80; count <= 101; count++ {
		a := attack{target: "/a", headers: append(manyHeaders(count, 10), alice, "x-user: root")}
		o := e.try(t, a)
		statuses[o.status]++
		switch o.status {
		case 200:
			if got := o.identities(); !slices.Equal(got, []string{"x-source: 127.0.0.1", "x-user: alice"}) {
				t.Errorf("%d headers: the upstream got %q", count, got)
			}
		case 431, 500:
			if o.served {
				t.Errorf("%d headers: status %d, and served", count, o.status)
			}
		default:
			t.Errorf("%d headers: status %d", count, o.status)
		}
	}
	if statuses[200] == 0 || statuses[431] == 0 {
		t.Errorf("the limit was not met: %v", statuses)
	}
	t.Logf("by status: %v", statuses)
}

func manyHeaders(count, size int) []string {
	headers := make([]string, count)
	for i := range headers {
		headers[i] = fmt.Sprintf("x-many-%d: %s", i, strings.Repeat("x", size))
	}
	return slices.Clip(headers)
}
