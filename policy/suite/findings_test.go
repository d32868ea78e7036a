package suite_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy/suite"
)

// good is a suite that each broken one differs from. Lines are counted from its first.
const good = `enforcer: orders
principals:
  alice: {id: alice}
requests:
  read: GET /orders
cases:
- name: first
  principal: alice
  request: read
  want: allow
tables:
- name: t
  requests: [read]
  want: {alice: [allow]}
`

// TestFindings: each fault has its line and column, and says what would be right.
func TestFindings(t *testing.T) {
	t.Parallel()
	parse(t, good)
	tests := []struct{ name, old, new, want string }{
		{"unknown field of a suite", "enforcer: orders", "enforcer: orders\nprincipal: {}", `2:1: error: unknown field "principal"; a suite has config, enforcer, now, defaults, principals, requests, cases, tables`},
		{"unknown field of a case", "  want: allow", "  wants: allow", `10:3: error: unknown field "wants"; a case has`},
		{"unknown field of a principal", "{id: alice}", "{id: alice, role: x}", `3:22: error: unknown field "role"; a principal has like, id,`},
		{"unknown field of a request", "request: read", "request: {methd: GET}", `9:13: error: unknown field "methd"; a request has like, id,`},
		{"unknown field of a peer", "request: read", "request: {like: read, source: {ip: 1.1.1.1}}", `9:34: error: unknown field "ip"; an end of the connection has address,`},
		{"unknown field of a table", "requests: [read]", "requests: [read]\n  verdicts: []", `14:3: error: unknown field "verdicts"; a table has name, requests, want`},
		{"unknown field of a cell", "[allow]", "[{want: allow, by: x}]", `14:32: error: unknown field "by"; a cell has want, reason, rule`},
		{"unknown field of the defaults", "principals:", "defaults: {case: 1}\nprincipals:", `2:12: error: unknown field "case"; the defaults has principal, request`},
		{"repeated field", "enforcer: orders", "enforcer: orders\nenforcer: orders", `2:1: error: "enforcer" is there twice`},
		{"repeated principal", "  alice: {id: alice}", "  alice: {id: alice}\n  alice: {id: bob}", `4:3: error: "alice" is there twice`},
		{"repeated row", "{alice: [allow]}", "{alice: [allow], alice: [deny]}", `14:26: error: "alice" is there twice`},
		{"repeated case", "tables:", "- {name: first, principal: alice, request: read, want: deny}\ntables:", `11:10: error: a second case named "first"; the first is on line 7`},
		{"repeated cell", "name: t\n  requests: [read]\n  want: {alice: [allow]}", "name: t\n  requests: [read, read]\n  want: {alice: [allow, deny]}", `14:25: error: a second case named "t/alice/read"; the first is on line 14`},
		{"no enforcer", "enforcer: orders\n", "", `1:1: error: the suite does not name the enforcer that it tests`},
		{"empty enforcer", "enforcer: orders", `enforcer: ""`, `1:11: error: the text is empty`},
		{"null", "enforcer: orders", "enforcer:", `1:10: error: there is no value here; leave enforcer out, or give it one`},
		{"empty cases", "cases:\n- name: first\n  principal: alice\n  request: read\n  want: allow\ntables:\n- name: t\n  requests: [read]\n  want: {alice: [allow]}\n", "cases: []\n", `1:1: error: the suite has no case; it needs cases or tables`},
		{"no cases", "cases:\n- name: first\n  principal: alice\n  request: read\n  want: allow\ntables:\n- name: t\n  requests: [read]\n  want: {alice: [allow]}\n", "", `1:1: error: the suite has no case; it needs cases or tables`},
		{"empty table", "{alice: [allow]}", "{}", `12:3: error: the table has no case`},
		{"cases that are no list", "cases:\n- name: first\n  principal: alice\n  request: read\n  want: allow\n", "cases: {a: 1}\n", `6:8: error: expected a list, and this is a mapping`},
		{"a case that is a text", "tables:", "- first\ntables:", `11:3: error: a case is written as a mapping, and this is the text "first"`},
		{"unknown verdict", "want: allow", "want: alow", `10:9: error: "alow" is no verdict; it is allow, deny or error`},
		{"capital verdict", "want: allow", "want: Allow", `10:9: error: "Allow" is no verdict; it is allow, deny or error`},
		{"unknown verdict of a cell", "[allow]", "[yes]", `14:18: error: "yes" is no verdict; it is allow, deny or error`},
		{"no verdict", "  want: allow\n", "", `7:3: error: the case has no want`},
		{"no verdict in a cell", "[allow]", "[{rule: p}]", `14:18: error: the cell has no want`},
		{"no name", "- name: first\n  principal: alice", "- principal: alice", `7:3: error: the case has no name`},
		{"no principal", "  principal: alice\n", "", `7:3: error: the case has no principal`},
		{"no request", "  request: read\n", "", `7:3: error: the case has no request`},
		{"no table name", "- name: t\n  requests", "- requests", `12:3: error: the table has no name`},
		{"no table want", "  want: {alice: [allow]}\n", "", `12:3: error: the table has no want`},
		{"unknown principal", "principal: alice", "principal: alcie", `8:14: error: no principal is named "alcie"; there is alice, anonymous`},
		{"unknown request", "request: read", "request: reed", `9:12: error: no request is named "reed"; there is read; or write a request as "GET /path"`},
		{"unknown principal of a row", "{alice: [allow]}", "{alcie: [allow]}", `14:10: error: no principal is named "alcie"`},
		{"like nobody", "principal: alice", "principal: {like: bob}", `8:21: error: no principal is named "bob"`},
		{"like one below", "  alice: {id: alice}", "  alice: {like: bob}\n  bob: {id: bob}", `3:17: error: no principal is named "bob"; there is anonymous`},
		{"like oneself", "  alice: {id: alice}", "  alice: {like: alice}", `3:17: error: no principal is named "alice"`},
		{"anonymous redefined", "  alice: {id: alice}", "  alice: {id: alice}\n  anonymous: {id: x}", `4:3: error: anonymous is the principal whom nobody authenticated`},
		{"a principal without id", "{id: alice}", "{roles: [a]}", `8:14: error: the principal has no id; for a caller whom nobody authenticated write anonymous`},
		{"roles that are a text", "{id: alice}", "{id: alice, roles: admin}", `3:29: error: expected a list, and this is the text "admin"`},
		{"a role that is a list", "{id: alice}", "{id: alice, roles: [[a]]}", `3:30: error: expected a text, and this is a list`},
		{"expires never", "{id: alice}", "{id: alice, expires: never}", `3:31: error: "never" is no time; write it as in 2026-01-02T15:04:05Z (RFC 3339)`},
		{"odd number", "{id: alice}", "{id: alice, claims: {n: 0x10}}", `3:34: error: "0x10" is no number that JSON has`},
		{"claims that are a list", "{id: alice}", "{id: alice, claims: [a]}", `3:30: error: expected a mapping, and this is a list`},
		{"now without zone", "enforcer: orders", "enforcer: orders\nnow: 2026-01-01 00:00:00", `2:6: error: "2026-01-01 00:00:00" is no time`},
		{"row too short", "[allow]", "[]", `14:17: error: there are 0 verdicts for 1 requests`},
		{"row too long", "[allow]", "[allow, deny]", `14:17: error: there are 2 verdicts for 1 requests`},
		{"no method", "request: read", "request: {path: /a}", `9:12: error: the request's method is ""; write one such as GET`},
		{"no path", "request: read", "request: {method: GET}", `9:12: error: the request's path is ""; it begins with a slash`},
		{"line without path", "request: read", "request: GET orders", `9:12: error: "GET orders" is no request; write "GET /path" or "GET host/path"`},
		{"line with two spaces", "request: read", "request: GET /a b?c d", `9:12: error: the request's query holds ' '`},
		{"dots", "request: read", "request: GET /a/../b", `9:12: error: the request's path is "/a/../b"; policies never see one with a segment ".."`},
		{"empty segment", "request: read", "request: GET /a//b", `9:12: error: the request's path is "/a//b"; policies never see one with an empty segment`},
		{"encoded path", "request: read", "request: GET /a%2Fb", `9:12: error: the request's path is "/a%2Fb"; policies see it decoded and without a query, and never one that holds "%"`},
		{"query in path", "request: read", "request: {method: GET, path: '/a?b'}", `9:12: error: the request's path is "/a?b"; policies see it decoded`},
		{"upper host", "request: read", "request: GET Api.example.com/a", `9:12: error: the request's host is "Api.example.com"; policies see it in lower case`},
		{"host with a dot at its end", "request: read", "request: GET api./a", `9:12: error: the request's host is "api."`},
		{"host with an empty label", "request: read", "request: GET a..b/a", `9:12: error: the request's host is "a..b"`},
		{"IPv6 without its end", "request: read", "request: 'GET [::1/a'", `9:12: error: the request's host is "[::1"`},
		{"long host", "request: read", "request: GET " + strings.Repeat("a.", 128) + "a/a", `9:12: error: the request's host is "a.a.`},
		{"host with port", "request: read", "request: GET api:443/a", `9:12: error: the request's host is "api:443"`},
		{"scheme", "request: read", "request: {like: read, scheme: ftp}", `9:12: error: the request's scheme is "ftp"; it is http or https`},
		{"size", "request: read", "request: {like: read, size: 1.5}", `9:31: error: "1.5" is no whole number from -1 to`},
		{"octal port", "request: read", "request: {like: read, source: {port: 010}}", `9:40: error: "010" is no whole number from 0 to 65535`},
		{"address", "request: read", "request: {like: read, source: {address: 'a:80'}}", `9:43: error: "a:80" is no IP address`},
		{"header name", "request: read", "request: {like: read, headers: {'a b': c}}", `9:35: error: "a b" is no name of a header`},
		{"header twice", "request: read", "request: {like: read, headers: {a: b, A: c}}", `9:41: error: the header a is there twice; write several lines of one as a list`},
		{"header with a line break", "request: read", `request: {like: read, headers: {a: "b\nc"}}`, `9:38: error: the text holds the character U+000A`},
		{"header null", "request: read", "request: {like: read, headers: {a: null}}", `9:38: error: expected a text, and this is nothing`},
		{"metadata", "request: read", "request: {like: read, metadata: {a: 1}}", `9:39: error: the metadata of a namespace is a mapping, and this is the number "1"`},
		{"name with a space", "  read: GET /orders", "  read: GET /orders\n  read it: GET /a", `6:3: error: a name has no space; "read it"`},
		{"unprintable name", "name: first", `name: "a\x1b[31m"`, `7:9: error: the text begins or ends with white space, or holds a character that is not to be seen`},
		{"long name", "name: first", "name: " + strings.Repeat("n", 300), `7:9: error: the text is 300 bytes long, and at most 256 are read`},
		{"unknown reason", "want: allow", "want: deny\n  reason: because", `11:11: error: no denial has the reason "because"; an enforcer's are no_matching_policy, denied_by_policy and policy_error`},
		{"reason none", "want: allow", "want: deny\n  reason: none", `11:11: error: no denial has the reason "none"`},
		{"reason of an allow", "want: allow", "want: allow\n  reason: denied_by_policy", `11:11: error: an allow has no reason`},
		{"rule of an error", "want: allow", "want: error\n  rule: p", `11:9: error: no rule decides where the evaluation goes wrong`},
		{"empty rule", "want: allow", `want: deny` + "\n  rule: ''", `11:9: error: the rule is empty; leave it out, or for a denial by no rule write reason: no_matching_policy`},
		{"alias", "{id: alice}", "&a {id: alice}", `3:10: error: anchors and aliases are not read`},
		{"merge", "{id: alice}", "{<<: {id: alice}}", `3:11: error: a field's name is a text`},
		{"tag", "{id: alice}", "!x {id: alice}", `3:10: error: tags are not read`},
		{"tab", "  alice: {id: alice}", "\talice: {id: alice}", `:3: error: found character that cannot start any token`},
		{"unclosed", "[allow]", "[allow", `:14: error: did not find expected`},
		{"second document", good, good + "---\na: b\n", `15:1: error: a second document begins here; a suite is one document`},
		{"byte-order mark", "enforcer", "\ufeffenforcer", `1:1: error: the character U+FEFF is not allowed`},
		{"not UTF-8", "alice}", "alic\xff}", `3:19: error: byte 0xff is not UTF-8`},
		{"carriage return", "orders\n", "orders\r\r\n", `1:17: error: a carriage return that ends no line`},
		{"deep", "{id: alice}", "{id: alice, claims: {a: " + strings.Repeat("[", 70) + strings.Repeat("]", 70) + "}}", `error: lists and mappings nest more than 64 deep`},
		{"empty file", good, "", `policies/x_test.yaml: error: the file is empty; a suite needs an enforcer and cases`},
		{"comment only", good, "# nothing\n", `policies/x_test.yaml: error: the file is empty; a suite needs an enforcer and cases`},
		{"a list", good, "- a\n", `1:1: error: a suite is written as a mapping, and this is a list`},
		{"too long", good, good + strings.Repeat("# padding\n", 1<<17), `error: the file is 1310`},
		{"too many headers", "request: read", "request: {like: read, headers: {" + many("h%d: v", 257) + "}}", `9:34: error: there are 257 entries, and at most 256 are read`},
		{"too many params", "request: read", "request: {like: read, params: {" + many("h%d: v", 20_000) + "}}", `9:33: error: there are 20000 entries, and at most 256 are read`},
		{"too many lines", "request: read", "request: {like: read, headers: {a: [" + many("v", 257) + "]}}", `9:34: error: there are 257 entries, and at most 256 are read`},
		{"too many claims", "{id: alice}", "{id: alice, claims: {" + many("c%d: v", 257) + "}}", `3:30: error: there are 257 entries, and at most 256 are read`},
		{"too many claims in all", "{id: alice}", "{id: alice, claims: {" + many("c%d: v", 200) + "}}\n  bob: {like: alice, claims: {" + many("d%d: v", 200) + "}}", `4:30: error: there are 400 entries, and at most 256 are read`},
		{"too many roles", "{id: alice}", "{id: alice, roles: [" + many("r", 257) + "]}", `3:29: error: there are 257 entries, and at most 256 are read`},
		{"long path", "request: read", "request: GET /" + strings.Repeat("a", 8<<10), `policies never see one of more than 8192 bytes`},
		{"long column", "requests: [read]", "requests: [GET /" + strings.Repeat("a", 300) + "]", `13:14: error: the request is 305 bytes long, and names the cases of its column; give it a shorter name under requests`},
		{"too many principals", "  alice: {id: alice}", "  alice: {id: alice}\n  " + many("p%d: {id: x}", 1001, "\n  "), `3:3: error: there are 1002 names, and at most 1000 are read`},
		{"too many cases", "tables:", many("- {name: n%d, principal: alice, request: read, want: deny}", 10_001, "\n") + "\ntables:", `10010:3: error: there are more cases than 10000; make two suites of them`},
		{"too many cells", "requests: [read]\n  want: {alice: [allow]}", "requests: [" + many("GET /%d", 10_001) + "]\n  want: {alice: [" + many("deny", 10_001) + "]}", `error: there are more cases than 10000; make two suites of them`},
	}
	for _, test := range tests {
		if strings.Count(good, test.old) == 0 {
			t.Fatalf("%s: %q is not in the good suite", test.name, test.old)
		}
		text := strings.Replace(good, test.old, test.new, 1)
		s, findings := suite.Parse("policies/x_test.yaml", []byte(text))
		if s != nil || findings.Err() == nil {
			t.Errorf("%s: no finding", test.name)
			continue
		}
		if got := findings.Error(); !strings.Contains(got, test.want) {
			t.Errorf("%s: %s\nwant %s", test.name, got, test.want)
		}
		if len(findings) > 100 {
			t.Errorf("%s: %d findings", test.name, len(findings))
		}
	}
}

// many returns a text so many times, with its number, joined.
func many(format string, count int, between ...string) string {
	texts := make([]string, count)
	for i := range texts {
		texts[i] = strings.ReplaceAll(format, "%d", fmt.Sprint(i))
	}
	return strings.Join(texts, append(between, ", ")[0])
}

// TestManyRows: the bound on cases is one of all tables and rows together.
func TestManyRows(t *testing.T) {
	t.Parallel()
	text := func(rows, tables int) string {
		columns, cells := many("GET /%d", 100), many("deny", 100)
		var b strings.Builder
		b.WriteString("enforcer: e\nprincipals: {" + many("p%d: {id: x}", rows) + "}\ntables:\n")
		for table := range tables {
			fmt.Fprintf(&b, "- {name: t%d, requests: [%s], want: {%s}}\n", table, columns, many("p%d: ["+cells+"]", rows))
		}
		return b.String()
	}
	for _, test := range []struct {
		rows, tables int
		good         bool
	}{{100, 1, true}, {50, 2, true}, {101, 1, false}, {51, 2, false}} {
		s, findings := suite.Parse("x_test.yaml", []byte(text(test.rows, test.tables)))
		if (s != nil) != test.good || s == nil && !strings.Contains(findings.Error(), "there are more cases than 10000") {
			t.Errorf("%d rows in %d tables: %.300v", test.rows, test.tables, findings)
		}
	}
}

// TestAllFindings: one reading says all that is wrong, in the order of the file, up to a bound.
func TestAllFindings(t *testing.T) {
	t.Parallel()
	_, findings := suite.Parse("s_test.yaml", []byte("enforcer: e\ncases:\n- {name: a, principal: x, request: y, want: z}\n- {name: a}\n"))
	if len(findings) != 7 {
		t.Errorf("%d findings:\n%v", len(findings), findings)
	}
	for i := 1; i < len(findings); i++ {
		if a, b := findings[i-1], findings[i]; a.Line > b.Line || a.Line == b.Line && a.Column > b.Column {
			t.Errorf("%v before %v", a, b)
		}
	}
	_, findings = suite.Parse("s_test.yaml", []byte("enforcer: e\ncases:\n"+strings.Repeat("- {name: a}\n", 500)))
	if len(findings) != 100 || !strings.Contains(findings.Error(), "there are more findings") {
		t.Errorf("%d findings", len(findings))
	}
}
