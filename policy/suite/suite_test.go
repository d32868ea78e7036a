package suite_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/suite"
)

// parse reads a suite that must be good.
func parse(t testing.TB, text string) *suite.Suite {
	t.Helper()
	s, findings := suite.Parse("policies/orders_test.yaml", []byte(text))
	if s == nil || len(findings) > 0 {
		t.Fatalf("%v\nin\n%s", findings, text)
	}
	return s
}

const everyField = `config: ../kasbah.yaml
enforcer: orders
now: 2026-03-04T05:06:07Z
defaults:
  principal: {issuer: https://issuer.example, claims: {from: default}}
  request: {host: api.example.com, headers: {x-from: default}}
principals:
  alice:
    id: alice
    provider: corp
    subject: sub-1
    tenant: acme
    roles: [reader, writer]
    scopes: [orders]
    claims: {tenant: acme, level: 3, ratio: 0.5, on: true, none: null, day: 2026-01-02, list: [1, a], map: {a: 1e3}}
    expires: 2026-03-04T06:00:00+01:00
requests:
  read: GET /orders/7?a=b
  whole:
    id: r-1
    time: 2026-01-01T00:00:00.5Z
    method: POST
    scheme: http
    host: other.example.com
    path: /orders/7
    query: a=b&c=d
    protocol: HTTP/2
    size: 12
    headers: {X-A: b, x-many: [c, d], x-number: 0123}
    params: {id: "7"}
    attributes: {tier: gold}
    metadata: {envoy.filters.http.jwt: {level: 3, list: [1.5], map: {n: 2}}}
    source: {address: 10.0.0.1, port: 443, principal: spiffe://a/b, certificate: pem}
    destination: {address: "::1", port: 80, principal: spiffe://c/d, certificate: pem}
    body: {amount: 20, items: [a]}
cases:
- name: all
  principal: alice
  request: whole
  want: deny
  reason: no_matching_policy
- {name: overridden, want: allow, rule: "p, alice", principal: {like: alice, roles: [], claims: {tenant: other}}, request: {like: whole, headers: {x-many: e, x-new: f}, params: {id: "8", more: x}, attributes: {tier: tin}, source: {port: 1}}}
- {name: short, want: error, reason: policy_error, principal: anonymous, request: GET other.example.com/x}
tables:
- name: t
  requests: [read, DELETE /orders, {method: PUT, path: /a}]
  want:
    alice: [allow, deny, {want: deny, reason: denied_by_policy, rule: "policy.csv:3"}]
`

func TestEveryField(t *testing.T) {
	t.Parallel()
	s := parse(t, everyField)
	if s.Enforcer != "orders" || s.ConfigPath() != "kasbah.yaml" || len(s.Cases) != 6 {
		t.Fatalf("%+v, configuration %s", s, s.ConfigPath())
	}
	number := func(text string) any { return json.Number(text) }
	alice := &policy.Principal{
		ID: "alice", Provider: "corp", Issuer: "https://issuer.example", Subject: "sub-1", Tenant: "acme",
		Roles: []string{"reader", "writer"}, Scopes: []string{"orders"},
		Claims: map[string]any{
			"from": "default", "tenant": "acme", "level": number("3"), "ratio": number("0.5"), "on": true, "none": nil, "day": "2026-01-02",
			"list": []any{number("1"), "a"}, "map": map[string]any{"a": number("1e3")},
		},
		Expires: time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC),
	}
	whole := &policy.Request{
		ID: "r-1", Time: time.Date(2026, 1, 1, 0, 0, 0, 500_000_000, time.UTC), Method: "POST", Scheme: "http", Host: "other.example.com",
		Path: "/orders/7", Query: "a=b&c=d", Protocol: "HTTP/2", Size: 12,
		Headers: policy.Headers{
			{Name: "x-from", Value: "default"},
			{Name: "x-a", Value: "b"},
			{Name: "x-many", Value: "c"},
			{Name: "x-many", Value: "d"},
			{Name: "x-number", Value: "0123"},
			{Name: "content-type", Value: "application/json"},
		},
		Body:   policy.Body{Bytes: []byte(`{"amount":20,"items":["a"]}`)},
		Params: []policy.Param{{Name: "id", Value: "7"}}, Attributes: map[string]string{"tier": "gold"},
		Source:      policy.Peer{Address: "10.0.0.1", Port: 443, Principal: "spiffe://a/b", Certificate: "pem"},
		Destination: policy.Peer{Address: "::1", Port: 80, Principal: "spiffe://c/d", Certificate: "pem"},
	}
	checkEveryFieldSet(t, *alice, nil)
	checkEveryFieldSet(t, *s.Cases[0].Request, map[string]string{
		"RouteName": "it chooses the route, before any enforcer", "NoWait": "it says how to answer, not what is asked",
		"Serial": "it tells attempts apart", "Port": "it is for credentials, which a suite has none of", "Target": "it is for credentials, too",
	})
	compare(t, "all: principal", s.Cases[0].Principal, alice)
	compare(t, "all: request", s.Cases[0].Request, whole)
	compare(t, "all: metadata", s.Cases[0].Request.Metadata(), map[string]any{
		"envoy.filters.http.jwt": map[string]any{"level": 3.0, "list": []any{1.5}, "map": map[string]any{"n": 2.0}},
	})
	body, err := s.Cases[0].Request.Parsed()
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "all: body", body, map[string]any{"amount": number("20"), "items": []any{"a"}})
	compare(t, "all: want", s.Cases[0].Want, suite.Want{Verdict: suite.Deny, Reason: "no_matching_policy"})

	other := *alice
	other.Roles, other.Claims = []string{}, map[string]any{}
	for key, value := range alice.Claims {
		other.Claims[key] = value
	}
	other.Claims["tenant"] = "other"
	compare(t, "overridden: principal", s.Cases[1].Principal, &other)
	changed := *whole
	changed.Headers = policy.Headers{
		{Name: "x-from", Value: "default"},
		{Name: "x-a", Value: "b"},
		{Name: "x-number", Value: "0123"},
		{Name: "content-type", Value: "application/json"},
		{Name: "x-many", Value: "e"},
		{Name: "x-new", Value: "f"},
	}
	changed.Params = []policy.Param{{Name: "id", Value: "8"}, {Name: "more", Value: "x"}}
	changed.Attributes, changed.Source.Port = map[string]string{"tier": "tin"}, 1
	compare(t, "overridden: request", s.Cases[1].Request, &changed)

	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	compare(t, "short: principal", s.Cases[2].Principal, &policy.Principal{})
	compare(t, "short: request", s.Cases[2].Request, &policy.Request{
		Time: now, Method: "GET", Scheme: "https", Host: "other.example.com", Path: "/x", Protocol: "HTTP/1.1", Size: -1,
		Headers: policy.Headers{{Name: "x-from", Value: "default"}},
	})
	for i, want := range []struct {
		name string
		suite.Want
	}{
		{"t/alice/read", suite.Want{Verdict: suite.Allow}},
		{"t/alice/DELETE /orders", suite.Want{}},
		{"t/alice/PUT /a", suite.Want{Reason: "denied_by_policy", Rule: "policy.csv:3"}},
	} {
		got := s.Cases[3+i]
		compare(t, "table", got.Want, want.Want)
		if got.Name != want.name || got.Principal.ID != "alice" || got.Line != 48 || got.File != s.File {
			t.Errorf("cell %d is %q of %s at %s", i, got.Name, got.Principal.ID, got.Position)
		}
	}
	if read := s.Cases[3].Request; read.Path != "/orders/7" || read.Query != "a=b" || read.Host != "api.example.com" {
		t.Errorf("read is %+v", read)
	}
}

func compare(t *testing.T, what string, got, want any) {
	t.Helper()
	options := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Metadata" || p.Last().String() == ".Parsed" }, cmp.Ignore())
	if diff := cmp.Diff(want, got, options); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// checkEveryFieldSet makes sure that a field that is added to the core's nouns is added to suites, too.
func checkEveryFieldSet(t *testing.T, noun any, without map[string]string) {
	t.Helper()
	value := reflect.ValueOf(noun)
	for i := range value.NumField() {
		name := value.Type().Field(i).Name
		if without[name] == "" && value.Field(i).IsZero() {
			t.Errorf("%T.%s cannot be written in a suite", noun, name)
		}
	}
}

func TestPrincipalDefaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]policy.Principal{
		"{id: a}":                          {ID: "a", Subject: "a", Provider: "test"},
		"{subject: s}":                     {ID: "s", Subject: "s", Provider: "test"},
		"{id: a, subject: s, provider: p}": {ID: "a", Subject: "s", Provider: "p"},
		"{like: shared, id: b}":            {ID: "b", Subject: "b", Provider: "test"}, // not the subject that follows from shared's id
		"anonymous":                        {},
	} {
		s := parse(t, "enforcer: e\nprincipals: {shared: {id: s}}\ncases:\n- {name: n, principal: "+text+", request: GET /, want: deny}\n")
		compare(t, text, s.Cases[0].Principal, &want)
		if s.Cases[0].Principal.Anonymous() != (text == "anonymous") {
			t.Errorf("%s is anonymous: %t", text, s.Cases[0].Principal.Anonymous())
		}
		if time := s.Cases[0].Request.Time; time.IsZero() || !time.Equal(parse(t, everyFieldWithoutNow()).Cases[2].Request.Time) {
			t.Errorf("a request without a time is of %v", time)
		}
	}
}

func everyFieldWithoutNow() string {
	return strings.Replace(everyField, "now: 2026-03-04T05:06:07Z\n", "", 1)
}

func TestConfigPath(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		"":                           "policies/kasbah.yaml",
		"config: a/b.yaml\n":         "policies/a/b.yaml",
		"config: /etc/x/../a.yaml\n": "/etc/a.yaml",
	} {
		s := parse(t, config+"enforcer: e\ncases: [{name: n, principal: anonymous, request: GET /, want: deny}]\n")
		if got := s.ConfigPath(); got != filepath.FromSlash(want) {
			t.Errorf("%q: %s; want %s", config, got, want)
		}
	}
}

func TestNoEnforcer(t *testing.T) {
	t.Parallel()
	s := parse(t, everyField)
	for want, finding := range map[string]*policy.Finding{
		`policies/orders_test.yaml:2:11: error: kasbah.yaml has no enforcer "orders"; there is a, b`: s.NoEnforcer([]string{"b", "a"}),
		`policies/orders_test.yaml:2:11: error: kasbah.yaml has no enforcer "orders"; there is none`: s.NoEnforcer(nil),
		`policies/orders_test.yaml:1:9: error: gone`:                                                 s.NoConfig("gone"),
	} {
		if finding.Error() != want {
			t.Errorf("%s; want %s", finding, want)
		}
	}
}

func TestVerdictNames(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprint(suite.Verdict(0), suite.Allow, suite.Error, suite.Verdict(9)); got != "deny allow error verdict(9)" {
		t.Error(got)
	}
}
