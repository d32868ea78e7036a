package suite_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/suite"
)

// quoted writes a text as YAML. JSON's texts are YAML's.
func quoted(text string) string {
	data, err := json.Marshal(text)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func list(texts []string) string {
	written := make([]string, len(texts))
	for i, text := range texts {
		written[i] = quoted(text)
	}
	return "[" + strings.Join(written, ", ") + "]"
}

// anyLine draws a text that a header may have.
func anyLine() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`[ -~é☂]{0,12}`),
		rapid.SampledFrom([]string{"", " ", "null", "true", "0123", "1e3", "~", "a: b", "- a", "# a", "{", "]", "'", `"`, `\`, "*a", "&a", "!a", "%", "a #b", "2026-01-02", "<<", "like"}),
	)
}

func anyName() *rapid.Generator[string] { return rapid.StringMatching(`[a-z][a-z0-9-]{0,8}`) }

func anyPrincipal(t *rapid.T) *policy.Principal {
	texts := rapid.SliceOfN(anyLine(), 0, 3)
	p := &policy.Principal{
		ID: rapid.StringMatching(`[!-~]{1,8}`).Draw(t, "id"), Subject: rapid.StringMatching(`[!-~]{1,8}`).Draw(t, "subject"), Provider: anyName().Draw(t, "provider"),
		Issuer: anyLine().Draw(t, "issuer"), Tenant: anyLine().Draw(t, "tenant"), Roles: texts.Draw(t, "roles"), Scopes: texts.Draw(t, "scopes"), Claims: map[string]any{},
		Expires: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "expires"), 0).UTC(),
	}
	for range rapid.IntRange(0, 4).Draw(t, "claims") {
		p.Claims[anyLine().Draw(t, "claim")] = anyValue(t, 2)
	}
	return p
}

// anyValue draws what JSON has, as a verified token would.
func anyValue(t *rapid.T, depth int) any {
	kinds := 4
	if depth > 0 {
		kinds = 6
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return json.Number(rapid.SampledFrom([]string{"0", "-1", "9007199254740993", "1.5", "1e3", "-2.5E-3", "123456789012345678901234567890"}).Draw(t, "number"))
	case 3:
		return anyLine().Draw(t, "text")
	case 4:
		values := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			values = append(values, anyValue(t, depth-1))
		}
		return values
	}
	values := map[string]any{}
	for range rapid.IntRange(0, 3).Draw(t, "length") {
		values[anyLine().Draw(t, "key")] = anyValue(t, depth-1)
	}
	return values
}

func writePrincipal(p *policy.Principal) string {
	claims, err := json.Marshal(p.Claims)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("{id: %s, subject: %s, tenant: %s, provider: %s, issuer: %s, roles: %s, scopes: %s, expires: %s, claims: %s}",
		quoted(p.ID), quoted(p.Subject), quoted(p.Tenant), quoted(p.Provider), quoted(p.Issuer), list(p.Roles), list(p.Scopes), p.Expires.Format(time.RFC3339), claims)
}

func anyRequest(t *rapid.T) *policy.Request {
	req := &policy.Request{
		ID: anyLine().Draw(t, "id"), Time: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "time"), 0).UTC(),
		Method: rapid.SampledFrom([]string{"GET", "POST", "X-CUSTOM", "get"}).Draw(t, "method"), Scheme: rapid.SampledFrom([]string{"http", "https"}).Draw(t, "scheme"),
		Host: rapid.SampledFrom([]string{"", "a", "api.example.com", "[::1]", "10.0.0.1"}).Draw(t, "host"), Path: "/" + rapid.StringMatching(`([a-z0-9 é~*:]{1,4}/){0,3}`).Draw(t, "path"),
		Query: rapid.StringMatching(`[!"$-~]{0,12}`).Draw(t, "query"), Protocol: anyLine().Draw(t, "protocol"), Size: rapid.Int64Range(-1, 1<<53).Draw(t, "size"),
	}
	names := rapid.SliceOfNDistinct(anyName(), 0, 4, rapid.ID[string])
	for _, name := range names.Draw(t, "headers") {
		for range rapid.IntRange(1, 3).Draw(t, "lines") {
			req.Headers = append(req.Headers, policy.Header{Name: name, Value: anyLine().Draw(t, "value")})
		}
	}
	for _, name := range names.Draw(t, "params") {
		req.Params = append(req.Params, policy.Param{Name: name, Value: anyLine().Draw(t, "value")})
	}
	for _, peer := range []*policy.Peer{&req.Source, &req.Destination} {
		*peer = policy.Peer{
			Address: rapid.SampledFrom([]string{"", "10.0.0.1", "::1", "fe80::1%eth0"}).Draw(t, "address"), Port: rapid.Uint32Range(0, 65535).Draw(t, "port"),
			Principal: anyLine().Draw(t, "peer"), Certificate: anyLine().Draw(t, "certificate"),
		}
	}
	return req
}

func writeRequest(req *policy.Request) string {
	var headers, params []string
	for i := 0; i < len(req.Headers); {
		name := req.Headers[i].Name
		var lines []string
		for ; i < len(req.Headers) && req.Headers[i].Name == name; i++ {
			lines = append(lines, req.Headers[i].Value)
		}
		headers = append(headers, strings.ToUpper(name)+": "+list(lines))
	}
	for _, p := range req.Params {
		params = append(params, quoted(p.Name)+": "+quoted(p.Value))
	}
	peer := func(p policy.Peer) string {
		return fmt.Sprintf("{address: %s, port: %d, principal: %s, certificate: %s}", quoted(p.Address), p.Port, quoted(p.Principal), quoted(p.Certificate))
	}
	return fmt.Sprintf("{id: %s, time: %s, method: %s, scheme: %s, host: %s, path: %s, query: %s, protocol: %s, size: %d, headers: {%s}, params: {%s}, source: %s, destination: %s}",
		quoted(req.ID), req.Time.Format(time.RFC3339), req.Method, req.Scheme, quoted(req.Host), quoted(req.Path), quoted(req.Query), quoted(req.Protocol), req.Size,
		strings.Join(headers, ", "), strings.Join(params, ", "), peer(req.Source), peer(req.Destination))
}

// TestWhatIsWrittenIsAsked: any principal and any request that is written, in the case itself or under a name, is the one
// that the enforcer is asked about.
func TestWhatIsWrittenIsAsked(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, req := anyPrincipal(t), anyRequest(t)
		text := "enforcer: e\nprincipals: {p: " + writePrincipal(p) + "}\nrequests: {r: " + writeRequest(req) + "}\ncases:\n" +
			"- {name: by name, principal: p, request: r, want: deny}\n" +
			"- {name: like, principal: {like: p}, request: {like: r}, want: deny}\n" +
			"- {name: in place, principal: " + writePrincipal(p) + ", request: " + writeRequest(req) + ", want: deny}\n" +
			"tables: [{name: t, requests: [r], want: {p: [deny]}}]\n"
		s, findings := suite.Parse("x_test.yaml", []byte(text))
		if s == nil || len(s.Cases) != 4 {
			t.Fatalf("%v\nin\n%s", findings, text)
		}
		for _, c := range s.Cases {
			if diff := cmp.Diff(p, c.Principal); diff != "" {
				t.Fatalf("%s (-want +got):\n%s\nof\n%s", c.Name, diff, text)
			}
			if diff := cmp.Diff(req, c.Request); diff != "" {
				t.Fatalf("%s (-want +got):\n%s\nof\n%s", c.Name, diff, text)
			}
		}
	})
}

// TestLikeChangesNobodyElse: what a case writes over a shared principal or request is seen in that case alone, whatever
// the order of the cases.
func TestLikeChangesNobodyElse(t *testing.T) {
	t.Parallel()
	changes := []string{
		"principal: {like: p, claims: {a: changed}}, request: r", "principal: {like: p, roles: [changed]}, request: r", "principal: {like: p, id: changed}, request: r",
		"principal: p, request: {like: r, headers: {a: changed}}", "principal: p, request: {like: r, headers: {new: [changed, changed]}}",
		"principal: p, request: {like: r, params: {a: changed}}", "principal: p, request: {like: r, params: {new: changed}}",
		"principal: p, request: {like: r, attributes: {a: changed}}", "principal: p, request: {like: r, metadata: {a: {a: changed}}}",
		"principal: p, request: {like: r, metadata: {new: {a: changed}}}", "principal: p, request: {like: r, source: {address: 9.9.9.9}}",
		"principal: p, request: {like: r, path: /changed}", "principal: p, request: {like: r, time: 2030-01-01T00:00:00Z}",
	}
	const shared = `enforcer: e
principals: {p: {id: p, roles: [a, b], claims: {a: b, c: {d: e}}}}
requests: {r: {method: GET, path: /, headers: {a: [b, c], d: e}, params: {a: b}, attributes: {a: b}, metadata: {a: {a: 1}}, source: {address: 1.1.1.1, port: 1}}}
cases:
`
	want := parse(t, shared+"- {name: n, principal: p, request: r, want: deny}\n").Cases[0]
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.Permutation(append(slices.Clone(changes), "principal: p, request: r")).Draw(t, "order")
		var text strings.Builder
		text.WriteString(shared)
		for i, line := range lines {
			fmt.Fprintf(&text, "- {name: n%d, %s, want: deny}\n", i, line)
		}
		s, findings := suite.Parse("x_test.yaml", []byte(text.String()))
		if s == nil {
			t.Fatal(findings)
		}
		for i, c := range s.Cases {
			describe := func(c suite.Case) string {
				return fmt.Sprintf("%+v %+v %v", c.Principal, noMetadata(c.Request), c.Request.Metadata())
			}
			unchanged := lines[i] == "principal: p, request: r"
			if same := describe(c) == describe(want); same != unchanged {
				t.Fatalf("%s: as the shared one: %t\n%s\n%s", lines[i], same, describe(c), describe(want))
			}
		}
	})
}

// noMetadata returns the request without its function, which prints as an address.
func noMetadata(req *policy.Request) policy.Request {
	other := *req
	other.Metadata, other.Parsed = nil, nil
	return other
}
