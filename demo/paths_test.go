package demo_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// pathThreat is one row of the table of path confusions.
type pathThreat struct {
	id string
	// admin are targets that some upstream reads as below /admin. None may be served to one who may not go there.
	admin []string
	// resolved are targets that Envoy may make harmless, and that are refused where it does not.
	resolved []string
	// same are pairs of spellings that must get one verdict.
	same [][2]string
}

var pathThreats = []pathThreat{
	{id: "Envoy CVE-2019-9901, CVE-2021-29492", admin: []string{
		"/public/../admin", "/public/..%2fadmin", "/public/..%2Fadmin", "/%2Fadmin", "/%2fadmin/x", "/public/%2e%2e/admin", "/public/.%2E/admin/",
		"/public%5c..%5cadmin", "/public%5C..%5Cadmin", `/public\..\admin`, `/\admin`, `\admin`, "/%5Cadmin", "/./admin", "/%2e/admin",
	}},
	{id: "Istio CVE-2020-8595, CVE-2021-31920", admin: []string{
		"/admin?", "/admin#", "//admin", "/admin/", "/admin%2F", "/admin%2f", "/admin//", "/admin//x", "//admin//", "/admin?#",
	}, resolved: []string{"/public//../admin"}},
	{id: "Envoy CVE-2021-32779, Istio CVE-2021-39156, oauth2-proxy CVE-2026-41059", admin: []string{
		"/admin#x", "/admin#x?y=1", "/admin%23x", "/public#/../admin", "/public%23/../../admin", "/admin/x#/public",
	}},
	{id: "heimdall GHSA-r8x2-fhmf-6mxp", admin: []string{"/admin?x=1", "/admin?", "/admin/?/public", "/admin?x=/public"}},
	{id: "oauth2-proxy CVE-2025-54576", admin: []string{"/admin?next=/public", "/admin?/public", "/admin?x=^/public"}},
	{id: "OPA-envoy CVE-2026-26205", admin: []string{
		"//admin", "///admin", "//x/../admin", "//admin/x", "//admin/../admin", "//api.example.com/../admin",
		"http://api.example.com/admin", "http://public.example.com/admin",
	}, resolved: []string{"//api.example.com/admin"}},
	{id: "Oathkeeper CVE-2026-33494", admin: []string{"/public/../admin", "/public/../admin/x", "/public/x/../../admin", "/public/./../admin"}},
	{
		id:    "heimdall CVE-2026-42272, CVE-2026-42274",
		admin: []string{"/admin%2fx", "/admin%2Fx", "/public%2f..%2fadmin", "/public%2F..%2Fadmin"},
		same: [][2]string{
			{"/admin%2fx", "/admin%2Fx"},
			{"/public%2fx", "/public%2Fx"},
			{"/public/%2e%2e/admin", "/public/%2E%2E/admin"},
			{"/public%5cx", "/public%5Cx"},
			{"/%c3%a9", "/%C3%A9"},
			{"/%61dmin/%7e", "/%61dmin/%7E"},
		},
	},
	{id: "Envoy CVE-2026-73553, CVE-2026-73511, Quarkus CVE-2026-39852", admin: []string{
		"/admin;x=y", "/admin;", "/public/..;x/admin", "/public/..;/admin", "/;/admin", "/;x=y/admin", "/admin;/x", "/admin/;x", "/admin%3bx",
		"/%3b/admin", "/public/..%3b/admin", "/admin;x/y;z",
	}},
	{id: "Envoy CVE-2025-46821", admin: []string{"/admin/*", "/admin/**", "/admin/*/x", "/*/../admin", "/admin/%2a"}},
	{id: "encodings of encodings, overlong forms, controls", admin: []string{
		"/%61dmin", "/%2561dmin", "/adm%69n/x", "/public/%252e%252e/admin", "/public/..%252fadmin", "/public/%c0%ae%c0%ae/admin", "/public/..%c0%afadmin",
		"/public/..%u2215admin", "/%u0061dmin", "/admin%00", "/admin%00.png", "/admin\x00", "/\tadmin", "/admin/\x80", "/admin/%ff",
	}, resolved: []string{"/admin%0a/.."}},
}

// toAllHosts is the target as a request to one host whose policy denies /admin and allows the rest to callers who are
// known, to one with a public catch-all beside /admin, and to one where only /public is public.
func toAllHosts(target string, who credentials) []attack {
	return []attack{
		{target: target, headers: []string{bearer(who.alice)}},
		{target: target},
		{target: target, host: "public.example.com"},
		{target: target, host: "public.example.com", headers: []string{bearer(who.alice)}},
		{target: target, host: "lists.example.com"},
	}
}

func (p pathThreat) try(t *testing.T, e *edge, who credentials) {
	for _, target := range p.admin {
		if !readsBelowAdmin(target) {
			t.Errorf("the row is of no use: nobody reads %q as below /admin", target)
		}
		for _, a := range toAllHosts(target, who) {
			mustDeny(t, e, a, e.try(t, a))
		}
	}
	for _, target := range p.resolved {
		for _, a := range toAllHosts(target, who) {
			if o := e.try(t, a); !o.served || readsBelowAdmin(o.target) {
				mustDeny(t, e, a, o)
			}
		}
	}
	for _, pair := range p.same {
		for _, host := range []string{"api.example.com", "public.example.com", "lists.example.com"} {
			first := e.try(t, attack{target: pair[0], host: host, headers: []string{bearer(who.alice)}})
			second := e.try(t, attack{target: pair[1], host: host, headers: []string{bearer(who.alice)}})
			if first.status != second.status {
				t.Errorf("%s: %q is %d, and %q is %d", host, pair[0], first.status, pair[1], second.status)
			}
		}
	}
}

// traversals are spellings of the way from /public to /admin: dots, separators and ends in every combination, in the
// manner of the wfuzz list that Istio is tested with.
func traversals() []string {
	dots := []string{
		"..", ".", "%2e%2e", "%2E%2e", ".%2e", "%2e.", "%252e%252e", "%c0%ae%c0%ae", "%uff0e%uff0e", "..;", "..;x=y", "%2e%2e;", "..%00", "..%09", "..%20", "...",
		"", "x/..", "%2e%2e%2f%2e%2e", "..%5c..",
	}
	separators := []string{"/", "//", `\`, "%2f", "%2F", "%5c", "%5C", "%252f", "%255c", "%c0%af", "%c1%9c", "%u2215", "/./", "/;/", `/\`}
	ends := []string{"admin", "%61dmin/x", "admin;x", "admin%00", "admin#x"}
	var all []string
	for _, dot := range dots {
		for _, separator := range separators {
			for _, end := range ends {
				all = append(all, "/public"+separator+dot+separator+end)
			}
		}
	}
	return all
}

func tryTraversals(t *testing.T, e *edge, who credentials) {
	var attacks []attack
	for i, target := range traversals() {
		a := attack{target: target, host: "public.example.com"}
		if i%2 == 0 { // half of them each, to bound the time
			a = attack{target: target, headers: []string{bearer(who.alice)}}
		}
		attacks = append(attacks, a)
	}
	statuses := map[int]int{}
	for i, o := range e.tryAll(t, attacks) {
		statuses[o.status]++
		if o.served && readsBelowAdmin(o.target) {
			t.Errorf("%q: the upstream got %q", attacks[i].target, o.target)
		}
		if !o.served && !refused(o) {
			t.Errorf("%q: status %d", attacks[i].target, o.status)
		}
	}
	if len(attacks) < 1000 {
		t.Errorf("only %d traversals were made", len(attacks))
	}
	t.Logf("%s: %d traversals, by status: %v", e.name, len(attacks), statuses)
}

// tryGenerated sends requests made of the pieces that paths are made of, and of the headers that pretend to be paths.
// Whatever reaches the upstream without a credential that may, no upstream reads as below /admin.
func tryGenerated(t *testing.T, edges []*edge, who credentials) {
	piece := rapid.SampledFrom([]string{
		"/", "/", "/", "//", `\`, "%2f", "%5C", "%252f", ".", "..", "%2e", "%2E%2e", ";", ";x=1", "%3b", "admin", "admin", "%61dmin", "%2561dmin", "ADMIN",
		"public", "a", "?", "#", "%23", "%3F", "%00", "%", "%2", "*", "~", "%c0%af", "%ff", "\x80", "%20", "x=y", "&", "@", ":", "http://api.example.com",
	})
	plain := rapid.SampledFrom([]string{"/a", "/public", "/b%20c", "/administrator", "?x=/admin", "&y", "/~x", "/ADMIN", "/admin", "/.."})
	header := rapid.SampledFrom([]string{
		"X-Forwarded-Uri: /public", "X-Original-URL: /public", "X-Rewrite-URL: /public", "x-envoy-original-path: /public", "X-Forwarded-Prefix: /admin",
		"Connection: authorization", "Connection: close, x-user", "X-User: carol", "x-user: carol", "X-Roles: admin", "X-HTTP-Method-Override: GET", "X-Forwarded-Host: public.example.com",
		"x-envoy-auth-partial-body: false", "X-Junk: \xff", "User-Agent: kube-probe/1.30",
	})
	host := rapid.SampledFrom([]string{"api.example.com", "public.example.com", "lists.example.com", "PUBLIC.example.com.", "public.example.com:80"})
	sent, served := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(piece, 1, 10)
		if rapid.Bool().Draw(t, "plain") { // else next to nothing would be served
			parts = rapid.SliceOfN(plain, 1, 4)
		}
		target := strings.Join(parts.Draw(t, "pieces"), "")
		if target[0] != '/' && rapid.Bool().Draw(t, "rooted") {
			target = "/" + target
		}
		a := attack{
			method:  rapid.SampledFrom([]string{"GET", "GET", "POST", "HEAD", "OPTIONS", "get"}).Draw(t, "method"),
			target:  target,
			host:    host.Draw(t, "host"),
			headers: rapid.SliceOfNDistinct(header, 0, 3, rapid.ID).Draw(t, "headers"),
		}
		if rapid.Bool().Draw(t, "alice") {
			a = a.with(bearer(who.alice))
		}
		for _, e := range edges {
			o := e.try(t, a)
			sent++
			if !o.served {
				if !refused(o) && o.status != 426 {
					t.Fatalf("%s: %s: status %d", e.name, describe(a), o.status)
				}
				continue
			}
			served++
			if o.header.Get("X-Kasbah-Route") == "elsewhere" {
				continue // an absolute target named a host where nothing is protected
			}
			if readsBelowAdmin(o.target) {
				t.Fatalf("%s: %s: the upstream got %q", e.name, describe(a), o.target)
			}
			if got := o.values("x-user"); len(got) > 1 || len(got) == 1 && got[0] != "alice" {
				t.Fatalf("%s: %s: the upstream got x-user %q", e.name, describe(a), got)
			}
		}
	})
	if served < 20 || served > sent-20 {
		t.Errorf("of %d generated requests %d were served: that tests nothing", sent, served)
	}
	t.Logf("%d generated requests, %d served, none below /admin", sent, served)
}

// hostThreat is one row of the table of host confusions. The host admin.example.com is protected; all others are public.
type hostThreat struct {
	id     string
	hosts  []string
	route  string // the route that decides, as its responses say
	status []int
}

var hostThreats = []hostThreat{
	{
		"Istio CVE-2021-39155, heimdall CVE-2026-42273",
		[]string{
			"admin.example.com", "ADMIN.example.com", "Admin.Example.COM", "admin.example.com.", "admin.example.com:443", "admin.example.com:0443", "admin.example.com:80",
			"ADMIN.EXAMPLE.COM.:00443",
		},
		"",
		[]int{401},
	},
	{
		"Traefik CVE-2022-23632, CVE-2026-88877, CVE-2026-40912",
		[]string{
			"admin.example.com:x", "www.x:y", "admin.example.com:", "admin.example.com:80:80", "admin.example.com..", ".admin.example.com", "x@admin.example.com", "admin.example.com/",
			"admin.example.com:99999999", "admin%2eexample.com", "admin.example.com\\", "admin.example.com,elsewhere.example.com", "[::1", "[admin.example.com]", "admin.example.com\x80",
		},
		"",
		[]int{400, 401},
	},
	{
		"x-net-idna CVE-2026-39821", // an encoded label is another label, whatever it would decode to
		[]string{"xn--admin-.example.com", "xn--admin.example.com", "XN--ADMIN-.example.com"}, "elsewhere", []int{200},
	},
}

func (h hostThreat) try(t *testing.T, e *edge) {
	for _, host := range h.hosts {
		a := attack{target: "/", host: host}
		o := e.try(t, a)
		if !slices.Contains(h.status, o.status) || o.served != (o.status == 200) || o.served && o.header.Get("X-Kasbah-Route") != h.route {
			t.Errorf("host %q: status %d, served %v by route %q, want %v %s", host, o.status, o.served, o.header.Get("X-Kasbah-Route"), h.status, h.route)
		}
	}
	for _, line := range []string{"Host: elsewhere.example.com", "host: admin.example.com"} {
		a := attack{target: "/", host: "admin.example.com", headers: []string{line}}
		mustDeny(t, e, a, e.try(t, a))
	}
}
