package expression_test

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/expression"
)

// What net/url refuses we refuse; what we accept, it reads alike.
func TestQueryIsNetURL(t *testing.T) {
	t.Parallel()
	one, err := expression.Compile(`request.query.a`)
	if err != nil {
		t.Fatal(err)
	}
	has, err := expression.Compile(`"a" in request.query`)
	if err != nil {
		t.Fatal(err)
	}
	size, err := expression.Compile(`size(request.query)`)
	if err != nil {
		t.Fatal(err)
	}
	part := rapid.SampledFrom([]string{"a", "b", "=", "&", "%61", "%6", "%zz", "+", ";", "%00", "%ff", "%C3%A9", "\xff", "é", "%26", "%3D", "%25", " ", "#"})
	rapid.Check(t, func(t *rapid.T) {
		query := strings.Join(rapid.SliceOfN(part, 0, 8).Draw(t, "parts"), "")
		req := &policy.Request{Query: query}
		values, refused := url.ParseQuery(query)
		clean := refused == nil
		for name, all := range values {
			for _, text := range append(all, name) {
				clean = clean && utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f })
			}
		}
		got, err := one.Value(req, nil)
		switch {
		case !clean, len(values["a"]) != 1:
			if err == nil {
				t.Fatalf("%q: %q, and net/url has %q, %v", query, got, values, refused)
			}
		case err != nil || got != values["a"][0]:
			t.Fatalf("%q: %q, %v; net/url has %q", query, got, err, values["a"])
		}
		found, err := has.Value(req, nil)
		if clean != (err == nil) || err == nil && found != values.Has("a") {
			t.Fatalf("%q: \"a\" in query is %v, %v; net/url has %q, %v", query, found, err, values, refused)
		}
		count, err := size.Value(req, nil)
		if clean != (err == nil) || err == nil && count != int64(len(values)) {
			t.Fatalf("%q: size %v, %v; net/url has %q, %v", query, count, err, values, refused)
		}
	})
}

func TestQueryBounds(t *testing.T) {
	t.Parallel()
	e, err := expression.Compile(`request.query.a`)
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]bool{
		"a=" + strings.Repeat("x", 1000):     true,
		"a=1" + strings.Repeat("&b", 255):    true,
		"a=1" + strings.Repeat("&b", 256):    false,
		"a=" + strings.Repeat("x", 64<<10-2): true,
		"a=" + strings.Repeat("x", 64<<10-1): false,
		"a=1;a=2":                            false,
		"a=1&b=%":                            false,
		"a=1&b=%0a":                          false,
		"a=1&a":                              false,
		"a=1&%61=2":                          false,
	} {
		if got, err := e.Value(&policy.Request{Query: query}, nil); (err == nil) != want {
			t.Errorf("%.20s… of %d bytes: %.10v, %v", query, len(query), got, err)
		}
	}
}

// A malformed query is not a query without the parameter.
func TestHasOfMalformedQuery(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		`has(request.query.a)`, `"a" in request.query`, `!("a" in request.query)`, `request.query.all(n, n != "a")`,
		`size(request.query) == 0`, `request.query.exists(n, n == "a")`,
		`request.query.map(n, "x") == ["x"]`, `request.query.all(n, false)`, `request.query.exists(n, true)`, `request.query`,
	} {
		e, err := expression.Compile(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		for _, query := range []string{"a=%", "%zz", "b;a=1"} {
			if got, err := e.Value(&policy.Request{Query: query}, nil); err == nil {
				t.Errorf("%s of %q: %v", source, query, got)
			}
		}
	}
}
