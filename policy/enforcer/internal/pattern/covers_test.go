package pattern

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// lintedPatterns are the pieces of patterns of each function, and of texts.
var lintedPatterns = map[string][]string{
	"keyMatch":   {"/", "a", "*", "/a", "b/*"},
	"keyMatch2":  {"/", "/a", "/:x", "/:y", "/*", "/a.", ".", "a", "*", ":z", "/b"},
	"keyMatch3":  {"/", "/a", "/{x}", "/{y}", "/*", "/a.", ".", "a", "{z}", "/b"},
	"keyMatch4":  {"/", "/a", "/{x}", "/{y}", "/*", "/a.", ".", "a", "{z}", "/b"},
	"keyMatch5":  {"/", "/a", "/{x}", "/{y}", "/*", "/a.", ".", "a", "{z}", "/b"},
	"globMatch":  {"/", "/a", "*", "**", "a", "b", "/b", "?", "{a,b}"},
	"regexMatch": {"^", "$", "a", "b", "(a|b)", ".*", "/a", "(ab)", "[ab]", "(?i)", "|", "a?", "\\.", "^a", "b$"},
	"ipMatch":    {"10.0.0.0/8", "10.0.0.0/16", "10.1.0.0/16", "10.1.2.3", "0.0.0.0/0", "::/0", "2001:db8::/32", "2001:db8::1", "::ffff:10.0.0.0/104", "::ffff:10.1.2.3", "10.1.2.3/32"},
}

var lintedTexts = map[bool][]string{
	false: {"/", "a", "b", "/a", "/b", "x", ".", "?q", "*", ":x", "{x}", "A", "\xff", "ab"},
	true:  {"10.1.2.3", "10.9.9.9", "192.0.2.1", "2001:db8::1", "2001:db9::1", "::ffff:10.1.2.3", "::1"},
}

// TestCoversIsTrue: whatever the narrower of two patterns matches, the wider one does.
func TestCoversIsTrue(t *testing.T) {
	t.Parallel()
	for function, pieces := range lintedPatterns {
		var covered, matched atomic.Int64
		join := func(t *rapid.T, from []string, name string) string {
			if function == "ipMatch" {
				return rapid.SampledFrom(from).Draw(t, name)
			}
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom(from), 0, 4).Draw(t, name), "")
		}
		rapid.Check(t, func(t *rapid.T) {
			for range 20 {
				wide, narrow := join(t, pieces, "wide"), join(t, pieces, "narrow")
				if tryPattern(function, wide) != nil || tryPattern(function, narrow) != nil || wide == narrow || !Covers(function, wide, narrow) {
					continue
				}
				covered.Add(1)
				wider, err := New(function, wide)
				narrower, errNarrow := New(function, narrow)
				if err != nil || errNarrow != nil {
					t.Fatal(err, errNarrow)
				}
				texts := []string{join(t, lintedTexts[function == "ipMatch"], "text"), join(t, lintedTexts[function == "ipMatch"], "text"), narrow}
				if few, ok := Texts(function, narrow); ok {
					texts = append(texts, few...)
				}
				for _, text := range texts {
					if holds, err := narrower.Match(text); err != nil || !holds {
						continue
					}
					matched.Add(1)
					if holds, err := wider.Match(text); err != nil || !holds {
						t.Fatalf("%s: %q is said to match all that %q does, and not %q", function, wide, narrow, text)
					}
				}
			}
		})
		if covered.Load() < 10 || matched.Load() < 10 {
			t.Errorf("%s: %d patterns cover another, and %d texts were matched", function, covered.Load(), matched.Load())
		}
	}
}

func TestTextsOf(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string][]string{
		"^GET$": {"GET"}, "^(GET|POST)$": {"GET", "POST"}, "^data[1-3]$": {"data1", "data2", "data3"}, "^(a|b)(c|d)$": {"ac", "ad", "bc", "bd"},
		"GET": nil, "^GET": nil, "^(?i)get$": nil, "^.$": nil, "^a*$": nil, "^[a-z]$": nil, "(?m)^a$": nil, "^(a|b|c|d|e|f)(a|b|c|d|e|f)$": nil,
	} {
		got, ok := Texts("regexMatch", pattern)
		slices.Sort(got)
		if ok != (want != nil) || ok && !slices.Equal(got, want) {
			t.Errorf("%s: %q, %t, want %q", pattern, got, ok, want)
		}
	}
}

// TestCoversNot: pairs that look as if the first covered the second.
func TestCoversNot(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{"keyMatch2", "/..", "/:x"},
		{"keyMatch2", "/.", "/*"},
		{"keyMatch2", "/:x/a", "/*"},
		{"keyMatch2", "/a/*", "/a"},
		{"keyMatch2", "/a/:x", "/a/"},
		{"keyMatch4", "/{x}/{x}", "/{x}/{y}"},
		{"keyMatch", "/a", "/a*"},
		{"keyMatch", "/a/*", "/a*"},
		{"globMatch", "*", "/*"},
		{"globMatch", "/*", "/**"},
		{"regexMatch", "^a$", "^(a|b)$"},
		{"regexMatch", "^.*a$", "a"},
		{"ipMatch", "10.0.0.0/16", "10.0.0.0/8"},
		{"ipMatch", "10.1.2.3", "10.1.2.3/31"},
		{"ipMatch", "::/0", "10.0.0.0/8"},
	} {
		if Covers(c[0], c[1], c[2]) {
			t.Errorf("%s: %s is said to cover %s", c[0], c[1], c[2])
		}
	}
}
