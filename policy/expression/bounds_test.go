package expression_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/expression"
)

// large is the largest request that a client can send past Envoy's usual bounds.
func large() *policy.Request {
	req := request()
	req.Path = "/" + strings.Repeat("a", 60<<10)
	req.Headers = append(req.Headers, policy.Header{Name: "x-list", Value: strings.Repeat("a,", 30<<10)})
	var query strings.Builder
	for i := range 250 {
		fmt.Fprintf(&query, "&p%d=%s", i, strings.Repeat("v", 240))
	}
	req.Query = query.String()
	return req
}

// Each of these would take minutes or gigabytes if nothing stopped it.
func TestEvaluationIsBounded(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		`request.path.split("").all(a, request.path.split("").all(b, a + b != ""))`,
		`request.header_values["x-list"].all(a, request.header_values["x-list"].all(b, a + b != ""))`,
		`request.header_values["x-list"].all(a, request.header_values["x-list"].size() > 0)`,
		`request.path.split("").all(a, request.query.p249 != "" && request.headers.size() > 0)`,
		`request.path.split("").all(a, !(a + a in request.query))`,
		`request.path.split("").map(x, request.path).size() == 0`,
		`request.path.split("").map(x, request.path).join("") == ""`,
		`request.query.all(n, request.query.all(m, request.query[n] == request.query[m]))`,
		`request.path` + strings.Repeat(`.replace("a", "`+strings.Repeat("a", 64)+`")`, 30) + ` == ""`,
		`request.path.split("").exists(x, request.path.matches("^(a|aa|aaa)*b$"))`,
	} {
		e, err := expression.Compile(source)
		if err != nil {
			t.Errorf("%.80s: %v", source, err)
			continue
		}
		if got, err := e.Value(large(), principal()); err == nil || !strings.Contains(err.Error(), "cost limit") {
			t.Errorf("%.80s: %v, %.200v; want it stopped", source, got, err)
		}
	}
}

// What an operator may well write holds on the largest request too.
func TestOrdinaryExpressionsFit(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		`request.path.matches("^/(a|aa|aaa)*b?$")`,
		`request.path.lowerAscii().startsWith("/a")`,
		`request.path.contains("b") || request.query.p7.startsWith("v")`,
		`request.query.all(n, n.startsWith("p"))`,
		`request.headers.exists(n, n == "x-list")`,
		`"b" in request.header_values["x-list"] || true`,
		`request.path.replace("a", "b").endsWith("b")`,
	} {
		e, err := expression.Compile(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := e.Value(large(), principal()); err != nil || got != true {
			t.Errorf("%s: %v, %v", source, got, err)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, source := range []string{
		``, `request.path`, `principal.claims.a["b"]`, `request.headers["X"] == "y" && !principal.anonymous`, `[1, 2].map(x, x * 2)`,
		`request.query.all(n, request.query[n].matches("^a+$"))`, `{"a": request.params}`, `"\xff"`, `b"\xff"`, `'''a`, "request\n.pth",
		`request.time.getHours("Europe/Berlin")`, `timestamp("2026-01-01T00:00:00Z")`, `int("x")`, `9223372036854775807 + 1`, `a.b.c(`, `.request.path`,
		`principal.roles.exists(request, request == "x")`, `request.headers`, `dyn(request.headers)[1]`, `"a" + request.id`, "\x00", `é.é`,
	} {
		f.Add(source, "x-a", "v\xff", "a=1&b=%zz")
	}
	f.Fuzz(func(t *testing.T, source, name, value, query string) {
		e, err := expression.Compile(source)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		req := request()
		req.Query = query
		req.Path = value
		req.Headers = append(req.Headers, policy.Header{Name: name, Value: value})
		who := principal()
		who.Claims[name] = value
		first, err := e.Value(req, who)
		text, ok, textErr := e.Text(req, who)
		if textErr != nil && (ok || text != "") {
			t.Errorf("%q: %q beside the error %v", source, text, textErr)
		}
		if ok != (text != "") {
			t.Errorf("%q: %q, %v", source, text, ok)
		}
		if list, err := e.Strings(req, who); err != nil && list != nil {
			t.Errorf("%q: %q beside the error %v", source, list, err)
		}
		if second, again := e.Value(req, who); fmt.Sprint(first, err) != fmt.Sprint(second, again) {
			t.Errorf("%q: %v, %v, and then %v, %v", source, first, err, second, again)
		}
	})
}
