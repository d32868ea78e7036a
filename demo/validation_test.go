package demo_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/demo"
	"github.com/kasbah-authz/kasbah/keys/keystest"
)

const validationConfig = `server: {drain: 0s, max_body_bytes: 1048576}
providers:
- name: corp
  jwt: {issuer: http://issuer:9193, audiences: [api], algorithms: [RS256], jwks: {file: jwks.json}}
enforcers:
- name: limits
  model:
    inline: |
      [request_definition]
      r = amount, currency
      [policy_definition]
      p = max, currency
      [policy_effect]
      e = some(where (p.eft == allow))
      [matchers]
      m = r.amount <= 1000 && r.currency == p.currency
  policy: {inline: "p, 1000, EUR"}
  request: {amount: body.amount, currency: body.currency}
routes:
- name: transfers
  match: [{path: /transfers, methods: [POST]}]
  authenticate: [corp]
  body: {max_bytes: 65536, json: {max_depth: 4, max_members: 10}}
  authorize: limits
  headers: {x-amount: body.amount}
- name: tried
  match: [{path: /tried, methods: [POST]}]
  public: true
  body: {max_bytes: 100, mode: report}
- name: asks
  match: [{path: /asks, methods: [POST]}]
  public: true
  body: {mode: report}
  headers: {x-amount: body.amount}
- name: blind
  match: [{path: /blind, methods: [POST]}]
  public: true
  headers: {x-amount: body.amount}
`

// problem is what a caller is told.
type problem struct {
	Code       string `json:"code"`
	Violations []struct{ Field, Rule, Message string }
}

// post sends a request as curl does, over that protocol, and returns the status and what a refusal says.
func post(t *testing.T, e *edge, unencrypted2 bool, path, token, body string, pairs ...string) (int, problem) {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!unencrypted2)
	protocols.SetUnencryptedHTTP2(unencrypted2)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+e.address+path, io.NopCloser(strings.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "api.example.com"
	for ; len(pairs) > 0; pairs = pairs[2:] {
		if pairs[0] == "content-length" {
			req.ContentLength = int64(len(body))
			continue
		}
		req.Header.Add(pairs[0], pairs[1])
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := (&http.Client{Transport: transport, Timeout: 2 * patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var told problem
	if response.Header.Get("Content-Type") == "application/problem+json" {
		if err := json.Unmarshal(text, &told); err != nil {
			t.Errorf("%d, %q: %v", response.StatusCode, text, err)
		}
	}
	return response.StatusCode, told
}

// broken returns the rules that a caller is told to have broken.
func (p *problem) broken() string {
	var rules []string
	for _, v := range p.Violations {
		rules = append(rules, v.Rule)
	}
	slices.Sort(rules)
	return strings.Join(rules, " ")
}

// A body reaches the upstream only where it is whole and of one reading, over HTTP/1.1 with and without a length and over HTTP/2,
// and policies speak of what it says.
func TestValidationOfJSON(t *testing.T) {
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": validationConfig})
	alice := g.issuer.Token(keystest.Claims{Subject: "alice"})
	edges := []*edge{g.edge(t, "hardened", serve(t, demo.Upstream())), g.edge(t, "lax", serve(t, demo.Upstream()), lax)}
	long := strings.Repeat(" ", 2<<20)
	for name, c := range map[string]struct {
		path, body, contentType, coding string
		status                          int
		rules                           string
	}{
		"allowed":             {"/transfers", `{"amount": 20, "currency": "EUR"}`, "application/json", "", 200, ""},
		"not by the policy":   {"/transfers", `{"amount": 2000, "currency": "EUR"}`, "application/json", "", 403, ""},
		"of another currency": {"/transfers", `{"amount": 20, "currency": "USD"}`, "application/json", "", 403, ""},
		"without an amount":   {"/transfers", `{"currency": "EUR"}`, "application/json", "", 403, ""},
		"two amounts":         {"/transfers", `{"amount": 20, "amount": 2000, "currency": "EUR"}`, "application/json", "", 400, "json.duplicate_name"},
		"two spellings":       {"/transfers", `{"amount": 20, "\u0061mount": 2000, "currency": "EUR"}`, "application/json", "", 400, "json.duplicate_name"},
		"no JSON":             {"/transfers", `{"amount": 20`, "application/json", "", 400, "json.syntax"},
		"more behind it":      {"/transfers", `{"amount": 20, "currency": "EUR"} {"amount": 2000}`, "application/json", "", 400, "json.trailing"},
		"too deep":            {"/transfers", strings.Repeat("[", 100_000), "application/json", "", 413, "body.max_bytes"},
		"deep":                {"/transfers", strings.Repeat("[", 60_000), "application/json", "", 400, "json.max_depth"},
		"not UTF-8":           {"/transfers", "{\"currency\": \"EUR\xff\"}", "application/json", "", 400, "json.utf8"},
		"no body":             {"/transfers", "", "application/json", "", 400, "body.missing"},
		"too long":            {"/transfers", `{"amount": 20, "currency": "EUR"}` + strings.Repeat(" ", 65536), "application/json", "", 413, "body.max_bytes"},
		"longer than Envoy buffers, good part first": {"/transfers", `{"amount": 20, "currency": "EUR"}` + long, "application/json", "", 413, "body.max_bytes"},
		"longer than Envoy buffers, good part last":  {"/transfers", long + `{"amount": 20, "currency": "EUR"}`, "application/json", "", 413, "body.max_bytes"},
		"another type":           {"/transfers", `{"amount": 20, "currency": "EUR"}`, "text/plain", "", 400, "body.content_type"},
		"no type":                {"/transfers", `{"amount": 20, "currency": "EUR"}`, "", "", 400, "body.content_type"},
		"compressed":             {"/transfers", "\x1f\x8b\x08", "application/json", "gzip", 400, "body.content_encoding"},
		"reported":               {"/tried", `{"hunter2": 1, "hunter2": 2}`, "application/json", "", 200, ""},
		"reported, too long":     {"/tried", `"` + strings.Repeat("x", 200) + `"`, "application/json", "", 200, ""},
		"nothing to report":      {"/tried", `{}`, "application/json", "", 200, ""},
		"asked for, valid":       {"/asks", `{"amount": 1}`, "application/json", "", 200, ""},
		"asked for, not valid":   {"/asks", `{"amount": 1, "amount": 2}`, "application/json", "", 403, ""},
		"asked for, not checked": {"/blind", `{"amount": 1}`, "application/json", "", 403, ""},
	} {
		pairs := []string{"x-case", name}
		if c.contentType != "" {
			pairs = append(pairs, "content-type", c.contentType)
		}
		if c.coding != "" {
			pairs = append(pairs, "content-encoding", c.coding)
		}
		for _, e := range edges {
			for how, send := range map[string]func() (int, problem){
				"with a length": func() (int, problem) {
					return post(t, e, false, c.path, alice, c.body, append(pairs, "content-length", "")...)
				},
				"chunked": func() (int, problem) { return post(t, e, false, c.path, alice, c.body, pairs...) },
				"HTTP/2":  func() (int, problem) { return post(t, e, true, c.path, alice, c.body, pairs...) },
			} {
				if status, told := send(); status != c.status || told.broken() != c.rules {
					t.Errorf("%s, %s, %s: %d %q, want %d %q", e.name, name, how, status, told.broken(), c.status, c.rules)
				}
			}
		}
	}
	for _, e := range edges {
		e.noErrors(t)
	}
	await(t, "the report in the log", func() bool { return g.logged("violations=json.duplicate_name") })
	for _, line := range g.log.all() {
		if strings.Contains(line, "EUR") || strings.Contains(line, "hunter2") {
			t.Errorf("the log quotes a body: %s", line)
		}
	}
}

// An Envoy that sends no bodies lets none pass that would have to be looked at.
func TestNoBodiesFromEnvoy(t *testing.T) {
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": validationConfig})
	alice := g.issuer.Token(keystest.Claims{Subject: "alice"})
	e := g.edge(t, "without bodies", serve(t, demo.Upstream()), func(b *bootstrap) { delete(b.extAuthz(), "with_request_body") })
	for _, http2 := range []bool{false, true} {
		for _, length := range [][]string{nil, {"content-length", ""}} {
			status, told := post(t, e, http2, "/transfers", alice, `{"amount": 20, "currency": "EUR"}`, append(length, "content-type", "application/json")...)
			if status != 400 || told.broken() != "body.missing" {
				t.Errorf("HTTP/2 %v, %v: %d, %s", http2, length, status, told.broken())
			}
		}
	}
	e.noErrors(t)
}
