package expression_test

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/expression"
)

var (
	arrival = time.Date(2026, 5, 1, 12, 30, 0, 0, time.FixedZone("", 3600))
	ends    = time.Date(2026, 5, 1, 13, 0, 0, 0, time.UTC)
)

func request() *policy.Request {
	return &policy.Request{
		ID: "r-1", Time: arrival, Method: "GET", Scheme: "https", Host: "api.example.com", Path: "/orders/7",
		Query: "page=2&q=a+b%2Fc&twice=1&twice=2&empty=", Protocol: "HTTP/2", Size: -1,
		Headers: policy.Headers{
			{Name: "x-tenant", Value: "good"},
			{Name: "x-twice", Value: "good"},
			{Name: "x-twice", Value: "evil"},
			{Name: "x-comma", Value: "good, evil,,"},
			{Name: "user-agent", Value: "Mozilla/5.0 (KHTML, like Gecko)"},
			{Name: "date", Value: "Fri, 01 May 2026 12:00:00 GMT"},
			{Name: "x-empty", Value: ""},
			{Name: "x-bytes", Value: "evil\xff"},
			{Name: "authorization", Value: "Bearer a, Bearer b"},
		},
		Source:      policy.Peer{Address: "10.0.0.1", Port: 4711, Principal: "spiffe://a/b"},
		Destination: policy.Peer{Address: "10.0.0.2", Port: 443, Principal: "spiffe://a/api"},
		Params:      []policy.Param{{Name: "id", Value: "7"}},
		Attributes:  map[string]string{"tier": "gold", "kasbah.route": "orders"},
		Metadata: func() map[string]any {
			return map[string]any{"envoy.filters.http.geo": map[string]any{"country": "DE", "score": 0.5}}
		},
	}
}

func principal() *policy.Principal {
	return &policy.Principal{
		ID: "alice", Provider: "corp", Issuer: "https://issuer.example", Subject: "u-1",
		Roles: []string{"admin", "dev"}, Scopes: []string{"read"}, Expires: ends,
		Claims: map[string]any{
			"email": "alice@example.com", "level": json.Number("3"), "ratio": json.Number("1.5"),
			"huge": json.Number("12345678901234567890"), "over": json.Number("1e999"), "float": 2.5,
			"nothing": nil, "yes": true, "groups": []any{"a", "b"}, "mixed": []any{"a", json.Number("1")},
			"names":        []string{"n"},
			"realm_access": map[string]any{"roles": []any{"owner"}, "n": json.Number("9")},
			"bad":          "a\xff", "comma": []any{"a,b"}, "with.dot": "dotted",
			"bads": []any{"a\xff"}, "deep": map[string]any{"list": []any{map[string]any{"n": json.Number("1e999")}}},
		},
	}
}

func TestValue(t *testing.T) {
	t.Parallel()
	tests := map[string]any{
		`request.id`: "r-1", `request.method`: "GET", `request.scheme`: "https", `request.host`: "api.example.com",
		`request.path`: "/orders/7", `request.protocol`: "HTTP/2", `request.size`: int64(-1),
		`request.time`:                arrival.UTC(),
		`request.params.id`:           "7",
		`request.params`:              map[string]any{"id": "7"},
		`request.query.page`:          "2",
		`request.query["q"]`:          "a b/c",
		`request.query.empty`:         "",
		`request.headers["x-tenant"]`: "good", `request.headers["X-Tenant"]`: "good",
		`request.headers["user-agent"]`:                  "Mozilla/5.0 (KHTML, like Gecko)",
		`request.headers.date`:                           "Fri, 01 May 2026 12:00:00 GMT",
		`request.headers["x-empty"]`:                     "",
		`request.header_values["x-twice"]`:               []any{"good", "evil"},
		`request.header_values["x-comma"]`:               []any{"good", "evil"},
		`request.header_values["user-agent"]`:            []any{"Mozilla/5.0 (KHTML, like Gecko)"},
		`request.header_values["x-empty"]`:               []any{},
		`"evil" in request.header_values["x-twice"]`:     true,
		`"x-twice" in request.headers`:                   true,
		`"X-TWICE" in request.headers`:                   true,
		`"x-none" in request.headers`:                    false,
		`has(request.headers.date)`:                      true,
		`has(request.headers.nope)`:                      false,
		`has(request.query.twice)`:                       true,
		`size(request.headers)`:                          int64(8),
		`request.headers.exists(n, n == "x-tenant")`:     true,
		`principal.id`:                                   "alice",
		`principal.provider`:                             "corp",
		`principal.issuer`:                               "https://issuer.example",
		`principal.subject`:                              "u-1",
		`principal.roles`:                                []any{"admin", "dev"},
		`principal.scopes[0]`:                            "read",
		`principal.claims.email`:                         "alice@example.com",
		`principal.claims.level`:                         int64(3),
		`principal.claims.level + 1`:                     int64(4),
		`principal.claims.ratio`:                         1.5,
		`principal.claims.ratio > 1`:                     true,
		`principal.claims.huge`:                          12345678901234567890.0,
		`principal.claims.nothing`:                       nil,
		`principal.claims.yes`:                           true,
		`principal.claims.names`:                         []any{"n"},
		`principal.claims.realm_access.roles`:            []any{"owner"},
		`"owner" in principal.claims.realm_access.roles`: true,
		`principal.claims["with.dot"]`:                   "dotted",
		`principal.claims.realm_access`:                  map[string]any{"roles": []any{"owner"}, "n": int64(9)},
		`principal.anonymous`:                            false,
		`principal.expires`:                              ends,
		`principal.expires - request.time`:               90 * time.Minute,
		`principal.expires > request.time`:               true,
		`source.address`:                                 "10.0.0.1",
		`source.port`:                                    int64(4711),
		`source.principal`:                               "spiffe://a/b",
		`destination.address`:                            "10.0.0.2",
		`destination.port`:                               int64(443),
		`destination.principal`:                          "spiffe://a/api",
		`attributes.tier`:                                "gold",
		`attributes["kasbah.route"]`:                     "orders",
		`metadata["envoy.filters.http.geo"].country`:     "DE",
		`request.path.startsWith("/orders/")`:            true,
		`request.path.matches("^/orders/[0-9]+$")`:       true,
		`request.host.split(".")[0]`:                     "api",
		`request.method in ["GET", "HEAD"]`:              true,
		`principal.roles.exists(r, r == "admin")`:        true,
		`principal.roles.map(r, "role:" + r)`:            []any{"role:admin", "role:dev"},
		`request.headers.map(n, size(n) > 0).all(x, x)`:  true,
		`b"ab"`:                           []byte("ab"),
		`7u`:                              uint64(7),
		`request.time.getHours()`:         int64(11),
		`request.time.getHours("+02:00")`: int64(13),
		`{"a": {"b": [1, 2]}}`:            map[string]any{"a": map[string]any{"b": []any{int64(1), int64(2)}}},
		`request.headers["x-twice"] == "evil" || true`:      true,
		`request.header_values.all(n, n != "x-twice")`:      false,
		`principal.claims.groups.join("-")`:                 "a-b",
		`request.path.replace("/", ":")`:                    ":orders:7",
		`metadata["envoy.filters.http.geo"]["score"] < 0.6`: true,
	}
	for _, source := range slices.Sorted(maps.Keys(tests)) {
		e, err := expression.Compile(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		got, err := e.Value(request(), principal())
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if diff := cmp.Diff(tests[source], got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", source, diff)
		}
		if e.Source() != source {
			t.Errorf("Source of %s: %s", source, e.Source())
		}
	}
}

func TestValueErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		`request.headers["x-twice"]`:                           `header "x-twice" has several values; use request.header_values`,
		`request.headers["x-twice"] == "evil"`:                 `header "x-twice" has several values`,
		`request.headers["x-comma"] == "evil"`:                 `header "x-comma" has several values`,
		`request.headers["x-comma"] != "evil"`:                 `header "x-comma" has several values`,
		`request.headers[request.method] == "x"`:               `no such key`,
		`request.headers.authorization`:                        `header "authorization" has several values`,
		`request.headers`:                                      `has several values`,
		`request.headers["x-twice"] in ["good"]`:               `has several values`,
		`!(request.headers["x-twice"] in ["evil"])`:            `has several values`,
		`[request.headers["x-twice"]] != ["evil"]`:             `has several values`,
		`{"a": request.headers["x-twice"]} != {"a": "evil"}`:   `has several values`,
		`request.headers["x-twice"] == "evil" ? false : true`:  `has several values`,
		`!request.headers["x-twice"].startsWith("evil")`:       `has several values`,
		`principal.claims.bads == ["a"]`:                       `not valid UTF-8`,
		`principal.claims.bads != ["a"]`:                       `not valid UTF-8`,
		`principal.claims.deep != {"list": [{"n": 1}]}`:        `too large`,
		`principal.claims.deep == {"list": [{"n": 1}]}`:        `too large`,
		`principal.claims != {}`:                               ``,
		`!("b" in principal.claims.bads)`:                      `not valid UTF-8`,
		`request.header_values["x-bytes"] != ["a"]`:            `not valid UTF-8`,
		`request.headers["x-bytes"]`:                           `not valid UTF-8`,
		`request.headers["x-bytes"].matches("^evil.*$")`:       `not valid UTF-8`,
		`request.headers["x-bytes"] == "evil"`:                 `not valid UTF-8`,
		`request.header_values["x-bytes"].exists(v, v=="x")`:   `not valid UTF-8`,
		`request.headers.nope`:                                 `no such key: nope`,
		`request.headers["nope"] + "x"`:                        `no such key: nope`,
		`request.query.twice`:                                  `query parameter "twice" is repeated`,
		`request.query.twice == "1"`:                           `query parameter "twice" is repeated`,
		`request.query.nope`:                                   `no such key: nope`,
		`principal.claims.bad`:                                 `not valid UTF-8`,
		`principal.claims.bad == "a"`:                          `not valid UTF-8`,
		`principal.claims.over`:                                `too large`,
		`principal.claims.over > 1`:                            `too large`,
		`principal.claims.email.x`:                             `no such key: x`,
		`principal.claims.groups.x`:                            `a list has no keys`,
		`principal.claims.groups[5]`:                           `index out of bounds`,
		`int(principal.claims.email)`:                          `does not have the form`,
		`1 / (request.size + 1)`:                               `division by zero`,
		`type(request.path)`:                                   `no plain value`,
		`{1: 2}`:                                               `no string`,
		`principal.claims.level.startsWith("3")`:               `no such overload`,
		`request.headers.all(n, request.headers[n] != "evil")`: `has several values`,
	}
	for _, source := range slices.Sorted(maps.Keys(tests)) {
		e, err := expression.Compile(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		got, err := e.Value(request(), principal())
		if err == nil || !strings.Contains(err.Error(), tests[source]) {
			t.Errorf("%s: %v, %v; want the error %q", source, got, err, tests[source])
		}
		if err != nil && strings.Contains(err.Error(), "alice@") {
			t.Errorf("%s: the error quotes a claim: %v", source, err)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		source, message string
		line, column    int
	}{
		{`request.pth`, `unknown variable "request.pth"; did you mean request.path?`, 1, 1},
		{`request.heders["x"] == "y"`, `did you mean request.headers?`, 1, 1},
		{"true &&\n  principal.role == \"x\"", `unknown variable "principal.role"; did you mean principal.roles?`, 2, 3},
		{`claims.email`, `did you mean principal.claims?`, 1, 1},
		{`path`, `unknown variable "path"; did you mean request.path?`, 1, 1},
		{`request`, `"request" alone is no value; name one of its fields, as in request.id`, 1, 1},
		{`bodi.amount > 3`, `unknown variable "bodi.amount"`, 1, 1},
		{`request.route_name`, `unknown variable "request.route_name"`, 1, 1},
		{`now()`, `unknown function "now"`, 1, 1},
		{`request.path +`, `Syntax error`, 1, 15},
		{``, ``, 1, 1},
		{`request.path.foo`, `does not support field selection`, 1, 13},
		{`request.size + "x"`, `no matching overload`, 1, 14},
		{`request.path.matches(request.query.q)`, `must be a literal`, 1, 21},
		{`request.path.matches("(")`, `invalid`, 1, 22},
		{`request.path.matches("(x{100}){100}")`, ``, 1, 0},
		{`request.path.replace("a", request.path)`, `literal of at most 64 bytes`, 1, 21},
		{`principal.roles.join(request.path)`, `literal of at most 64 bytes`, 1, 21},
		{`"%s".format([1])`, `format is not available`, 1, 12},
		{`request.time.getHours(request.query.tz)`, `time zone must be a literal`, 1, 22},
		{`timestamp("yesterday") < request.time`, `invalid`, 1, 11},
		{`request.headers != {"a": "b"}`, `request.headers can only be asked for its keys`, 1, 8},
		{`{} == request.query`, `request.query can only be asked for its keys`, 1, 14},
		{`[request.headers] == []`, `can only be asked`, 1, 9},
		{`(true ? request.headers : request.params)["a"]`, `can only be asked`, 1, 16},
		{`dyn(request.headers) == {}`, `can only be asked`, 1, 12},
		{`request.headers in [{"a": "b"}]`, `can only be asked`, 1, 8},
		{`principal.roles.map(r, request.header_values) == []`, `can only be asked`, 1, 31},
		{`[1].all(a, [1].all(b, [1].all(c, true)))`, `nest`, 1, 0},
		{strings.Repeat("(", 100) + "1" + strings.Repeat(")", 100), ``, 0, 0},
		{`"` + strings.Repeat("x", 5000) + `"`, ``, 0, 0},
	}
	for _, test := range tests {
		e, err := expression.Compile(test.source)
		if err == nil {
			t.Errorf("%.60s: compiled to %v", test.source, e)
			continue
		}
		var syntax *expression.SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%.60s: %T is no SyntaxError: %v", test.source, err, err)
			continue
		}
		if !strings.Contains(err.Error(), test.message) {
			t.Errorf("%.60s: %q; want %q", test.source, err, test.message)
		}
		if test.column > 0 && (syntax.Line != test.line || syntax.Column != test.column) {
			t.Errorf("%.60s: %d:%d; want %d:%d (%v)", test.source, syntax.Line, syntax.Column, test.line, test.column, err)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		source, value string
		ok            bool
		fault         string
	}{
		{source: `principal.id`, value: "alice", ok: true},
		{source: `principal.roles`, value: "admin,dev", ok: true},
		{source: `principal.claims.groups`, value: "a,b", ok: true},
		{source: `principal.roles.filter(r, r == "dev")`, value: "dev", ok: true},
		{source: `principal.roles.filter(r, r == "x")`},
		{source: `principal.claims.level`, value: "3", ok: true},
		{source: `principal.claims.ratio`, value: "1.5", ok: true},
		{source: `principal.claims.huge`, value: "12345678901234567000", ok: true},
		{source: `principal.claims.yes`, value: "true", ok: true},
		{source: `7u`, value: "7", ok: true},
		{source: `principal.claims.nothing`},
		{source: `principal.claims.nope`},
		{source: `principal.claims.nope.deeper`},
		{source: `"x-" + principal.claims.nope`},
		{source: `request.headers["nope"]`},
		{source: `request.headers[request.path]`},
		{source: `request.headers["x-empty"]`},
		{source: `null`},
		{source: `""`},
		{source: `request.time`, value: "2026-05-01T11:30:00Z", ok: true},
		{source: `principal.expires - request.time`, value: "5400s", ok: true},
		{source: `request.headers["x-twice"]`, fault: "several values"},
		{source: `request.headers["x-bytes"]`, fault: "UTF-8"},
		{source: `principal.claims.realm_access`, fault: "is a map"},
		{source: `request.params`, fault: "is a map"},
		{source: `principal.claims.mixed`, fault: "item 2 of the list is a number"},
		{source: `principal.claims.comma`, fault: "holds a comma"},
		{source: `b"x"`, fault: "is a bytes"},
		{source: `0.0 / 0.0`, fault: "no finite number"},
		{source: `principal.claims.groups[7]`, fault: "index out of bounds"},
	}
	for _, test := range tests {
		e, err := expression.Compile(test.source)
		if err != nil {
			t.Errorf("%s: %v", test.source, err)
			continue
		}
		value, ok, err := e.Text(request(), principal())
		if value != test.value || ok != test.ok || (err != nil) != (test.fault != "") {
			t.Errorf("%s: %q, %v, %v; want %q, %v, error %q", test.source, value, ok, err, test.value, test.ok, test.fault)
		}
		if err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: %v; want %q", test.source, err, test.fault)
		}
	}
}

func TestTextFitsInjection(t *testing.T) {
	t.Parallel()
	e, err := expression.Compile("principal.id")
	if err != nil {
		t.Fatal(err)
	}
	injection := policy.Injection{Name: "x-user", Value: e.Text}
	if value, ok, err := injection.Value(request(), principal()); value != "alice" || !ok || err != nil {
		t.Errorf("%q, %v, %v", value, ok, err)
	}
}

func TestStrings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		source string
		want   []string
		fault  string
	}{
		{source: `principal.roles`, want: []string{"admin", "dev"}},
		{source: `principal.roles + ["x"]`, want: []string{"admin", "dev", "x"}},
		{source: `principal.claims.realm_access.roles`, want: []string{"owner"}},
		{source: `principal.claims.email`, want: []string{"alice@example.com"}},
		{source: `principal.claims.nope`},
		{source: `principal.claims.nothing`},
		{source: `""`},
		{source: `principal.claims.comma`, want: []string{"a,b"}},
		{source: `principal.claims.mixed`, fault: "item 2"},
		{source: `principal.claims.level`, fault: "a list of strings is meant"},
		{source: `principal.claims.realm_access`, fault: "is a map"},
		{source: `principal.claims.bad`, fault: "UTF-8"},
	}
	for _, test := range tests {
		e, err := expression.Compile(test.source)
		if err != nil {
			t.Errorf("%s: %v", test.source, err)
			continue
		}
		got, err := e.Strings(request(), principal())
		if test.fault != "" {
			if err == nil || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("%s: %v, %v; want the error %q", test.source, got, err, test.fault)
			}
			continue
		}
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, %v; want %v", test.source, got, err, test.want)
		}
	}
	bad := &policy.Principal{Provider: "p", Roles: []string{"ok", "\xff"}}
	e, err := expression.Compile("principal.roles")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.Strings(request(), bad); err == nil {
		t.Errorf("a role that is not UTF-8: %q", got)
	}
	if got, _, err := e.Text(request(), bad); err == nil {
		t.Errorf("a role that is not UTF-8: %q", got)
	}
}

func TestNobody(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]any{
		`principal.anonymous`: true, `principal.id`: "", `principal.expires`: nil, `principal.roles`: []any{},
		`principal.claims`: map[string]any{}, `metadata`: map[string]any{}, `attributes`: map[string]any{},
		`has(principal.claims.email)`: false, `request.headers`: map[string]any{}, `request.query`: map[string]any{},
		`request.header_values`: map[string]any{}, `principal.expires == null`: true,
	} {
		e, err := expression.Compile(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		for _, who := range []*policy.Principal{nil, {}} {
			got, err := e.Value(&policy.Request{}, who)
			if err != nil || !cmp.Equal(want, got) {
				t.Errorf("%s for %v: %#v, %v; want %#v", source, who, got, err, want)
			}
		}
	}
	e, err := expression.Compile(`principal.expires > request.time`)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.Value(&policy.Request{}, nil); err == nil {
		t.Errorf("comparing no end with a time: %v", got)
	}
}
