package suite_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy/suite"
)

// TestHostileSuites: a file of the largest size costs bounded memory, and time that does not stop the tests, whatever it
// holds. What this must catch is a square or a product of the file's size.
func TestHostileSuites(t *testing.T) {
	const room = 1 << 20
	fill := func(text string) string { return strings.Repeat(text, room*9/10/len(text)) }
	head := "enforcer: e\nprincipals:\n  p: {id: p, claims: {" + many("c%d: v", 256) + "}}\n"
	for name, text := range map[string]string{
		"lists in lists":       "a: " + fill("["),
		"mappings in mappings": "a: " + fill("{a: "),
		"sequences":            fill("- "),
		"one long text":        "a: " + fill("a"),
		"one long line":        "enforcer: e\ncases: [{name: n, principal: anonymous, want: deny, request: 'GET /" + fill("a") + "'}]",
		"keys":                 "enforcer: e\nrequests: {r: {headers: {" + many("h%d: v", 80_000) + "}}}",
		"unknown names":        head + "principals: {" + many("q%d: {id: x}", 900) + "}\ncases:\n" + fill("- {principal: x}\n")[:room*4/5],
		"clones":               head + "cases:\n" + many("- {name: n%d, principal: {like: p, claims: {c0: w}}, request: GET /, want: deny}", 9_999, "\n"),
		"a long column":        "enforcer: e\nprincipals: {" + many("q%d: {id: x}", 1000) + "}\ntables: [{name: t, requests: ['GET /" + strings.Repeat("a", 8000) + "'], want: {" + many("q%d: [deny]", 1000) + "}}]",
		"anchors":              "a: &a [x, x]\n" + fill("b: [*a, *a]\n"),
		"comments":             fill("# a\n"),
		"tables":               "enforcer: e\ntables:\n" + fill("- {name: t, requests: [GET /], want: {anonymous: [deny]}}\n"),
	} {
		if len(text) > room {
			t.Fatalf("%s: %d bytes are refused unread", name, len(text))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s, findings := suite.Parse("x_test.yaml", []byte(text))
		runtime.ReadMemStats(&after)
		allocated := (after.TotalAlloc - before.TotalAlloc) >> 20
		if (s == nil) != (len(findings) > 0) || len(findings) > 100 {
			t.Errorf("%s: %d findings", name, len(findings))
		}
		if allocated > 1024 {
			t.Errorf("%s: %d MiB", name, allocated)
		}
	}
}
