package expression_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/expression"
)

// hostile texts, short and few so that keys and values meet.
var text = rapid.OneOf(
	rapid.SampledFrom([]string{"", "a", "b", "A", "a,b", " a", "é", "\xff", "a\xc3", "x\x00", "a;b", "%41", "%zz", "+", "user-agent"}),
	rapid.StringN(0, 4, 8),
)

var key = rapid.SampledFrom([]string{"a", "b", "A", "x-a", "user-agent", "é", "", "a,b"})

func claim(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kinds := 8
		if depth > 0 {
			kinds = 11
		}
		switch rapid.IntRange(0, kinds).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return rapid.Bool().Draw(t, "bool")
		case 2:
			return json.Number(rapid.SampledFrom([]string{"1", "-1", "1.5", "1e3", "9223372036854775808", "1e999", "nonsense"}).Draw(t, "number"))
		case 3:
			return rapid.SampledFrom([]float64{0, 1, 2.5, 1e300, math.Inf(1), math.NaN()}).Draw(t, "float")
		case 4:
			return rapid.SliceOfN(text, 0, 3).Draw(t, "strings")
		case 5:
			return rapid.MapOfN(key, text, 0, 3).Draw(t, "texts")
		case 6, 7, 8:
			return text.Draw(t, "text")
		case 9:
			return rapid.SliceOfN(claim(depth-1), 0, 3).Draw(t, "list")
		}
		return rapid.MapOfN(key, claim(depth-1), 0, 3).Draw(t, "object")
	})
}

func anyRequest(t *rapid.T) *policy.Request {
	req := &policy.Request{
		ID: text.Draw(t, "id"), Path: "/" + text.Draw(t, "path"), Method: text.Draw(t, "method"),
		Size: rapid.Int64().Draw(t, "size"), Time: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "time"), 0),
		Attributes: rapid.MapOfN(key, text, 0, 3).Draw(t, "attributes"),
		Source:     policy.Peer{Address: text.Draw(t, "address"), Port: rapid.Uint32().Draw(t, "port")},
	}
	for range rapid.IntRange(0, 4).Draw(t, "headers") {
		req.Headers = append(req.Headers, policy.Header{Name: strings.ToLower(key.Draw(t, "name")), Value: text.Draw(t, "value")})
	}
	for range rapid.IntRange(0, 3).Draw(t, "params") {
		req.Params = append(req.Params, policy.Param{Name: key.Draw(t, "name"), Value: text.Draw(t, "value")})
	}
	req.Params = slices.CompactFunc(req.Params, func(a, b policy.Param) bool { return a.Name == b.Name })
	for range rapid.IntRange(0, 3).Draw(t, "parameters") {
		req.Query += "&" + key.Draw(t, "name") + "=" + text.Draw(t, "value")
	}
	if rapid.Bool().Draw(t, "metadata") {
		metadata := rapid.MapOfN(key, claim(2), 0, 3).Draw(t, "metadata")
		req.Metadata = func() map[string]any { return metadata }
	}
	return req
}

func anyPrincipal(t *rapid.T) *policy.Principal {
	who := &policy.Principal{
		ID: text.Draw(t, "id"), Provider: text.Draw(t, "provider"), Subject: text.Draw(t, "subject"),
		Roles: rapid.SliceOfN(text, 0, 3).Draw(t, "roles"), Claims: rapid.MapOfN(key, claim(3), 0, 4).Draw(t, "claims"),
	}
	if rapid.Bool().Draw(t, "expires") {
		who.Expires = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "end"), 0)
	}
	return who
}

// anyDirect is an expression that has a direct form.
func anyDirect(t *rapid.T) string {
	source := rapid.SampledFrom(expression.VariableNames()).Draw(t, "variable")
	keys := 0
	switch source {
	case "request.params", "request.query", "request.headers", "request.header_values", "attributes":
		keys = 1
	case "principal.claims", "metadata":
		keys = rapid.IntRange(1, 3).Draw(t, "keys")
	}
	for range keys {
		name := key.Draw(t, "key")
		if len(name) == 1 && rapid.Bool().Draw(t, "select") {
			source += "." + name
		} else {
			source += fmt.Sprintf("[%q]", name)
		}
	}
	return source
}

type answer struct {
	Value   any
	Text    string
	OK      bool
	Strings []string
	Failed  [3]bool
}

func answers(e *expression.Expression, req *policy.Request, who *policy.Principal) answer {
	var a answer
	var errs [3]error
	a.Value, errs[0] = e.Value(req, who)
	a.Text, a.OK, errs[1] = e.Text(req, who)
	a.Strings, errs[2] = e.Strings(req, who)
	for i, err := range errs {
		a.Failed[i] = err != nil
	}
	if len(a.Strings) == 0 {
		a.Strings = nil
	}
	return a
}

func TestDirectIsCEL(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		source := anyDirect(t)
		direct, err := expression.Compile(source)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		if !direct.IsDirect() {
			t.Fatalf("%s has no direct form", source)
		}
		indirect, err := expression.CompileIndirect(source)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		req, who := anyRequest(t), anyPrincipal(t)
		nan := cmp.Comparer(func(a, b float64) bool { return a == b || a != a && b != b })
		if diff := cmp.Diff(answers(indirect, req, who), answers(direct, req, who), nan); diff != "" {
			_, celErr := indirect.Value(req, who)
			_, directErr := direct.Value(req, who)
			t.Fatalf("%s (-CEL +direct):\n%s%v\n%v", source, diff, celErr, directErr)
		}
	})
}

func TestDirectForms(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]bool{
		`principal.id`: true, `(principal.id)`: true, `request.params.id`: true, `request.params["id"]`: true,
		`request.headers["x"]`: true, `principal.claims.a.b["c.d"].e`: true, `principal.roles`: true,
		`principal.roles[0]`: false, `request.headers[request.path]`: false, `has(request.headers.x)`: false,
		`has(principal.claims.a.b)`: false, `request.headers`: false, `principal.claims`: false, `"x"`: false,
		`principal.id + ""`: false, `principal.claims.a[0]`: false, `[principal.id][0]`: false, `true`: false,
		`request.header_values["x"][0]`: false,
	} {
		e, err := expression.Compile(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
		} else if e.IsDirect() != want {
			t.Errorf("%s: direct is %v", source, !want)
		}
	}
}

// Whatever a client puts behind or beside the good value, a rule that looks for the evil one sees it or fails.
func TestHeaderCannotHide(t *testing.T) {
	t.Parallel()
	deny, err := expression.Compile(`request.headers["x-tenant"] == "evil"`)
	if err != nil {
		t.Fatal(err)
	}
	all, err := expression.Compile(`request.header_values["x-tenant"].exists(v, v == "evil")`)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.SampledFrom([]string{"good", "", " ", "good\xff", "a,b"}), 0, 3).Draw(t, "lines")
		evil := rapid.SampledFrom([]string{"evil", "good,evil", "evil,good", "good , evil ", "evil,"}).Draw(t, "evil")
		lines = slices.Insert(lines, rapid.IntRange(0, len(lines)).Draw(t, "at"), evil)
		req := &policy.Request{}
		for _, line := range lines {
			req.Headers = append(req.Headers, policy.Header{Name: "x-tenant", Value: line})
		}
		for _, e := range []*expression.Expression{deny, all} {
			if got, err := e.Value(req, nil); err == nil && got != true {
				t.Fatalf("%s over %q: %v", e.Source(), lines, got)
			}
		}
	})
}
