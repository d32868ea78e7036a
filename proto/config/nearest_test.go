package config_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/proto/config"
)

func TestNearest(t *testing.T) {
	names := []string{"authorize", "authenticate", "any_principal", "match", "id"}
	for _, c := range []struct{ text, want string }{
		{"autorize", "authorize"},
		{"authorise", "authorize"},
		{"AUTHORIZE", "authorize"},
		{"macth", "match"},
		{"anyprincipal", "any_principal"},
		{"ic", "id"},
		{"xy", ""},
		{"server", ""},
		{"", ""},
		{strings.Repeat("a", 1<<20), ""},
	} {
		if got := config.Nearest(c.text, names); got != c.want {
			t.Errorf("nearest to %.20q is %q, want %q", c.text, got, c.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"abc", "acb", 1},
		{"abcd", "badc", 2},
		{"kitten", "sitting", 3},
	} {
		if got := config.Distance(c.a, c.b, 100); got != c.want {
			t.Errorf("distance of %q and %q is %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestDistanceIsAMeasure(t *testing.T) {
	text := rapid.StringMatching(`[abc]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		d := config.Distance(a, b, 100)
		if d != config.Distance(b, a, 100) {
			t.Errorf("%q and %q are not as far from each other both ways", a, b)
		}
		if (d == 0) != (a == b) || d > max(len(a), len(b)) {
			t.Errorf("distance of %q and %q is %d", a, b, d)
		}
		limit := rapid.IntRange(1, 9).Draw(t, "limit")
		if got := config.Distance(a, b, limit); min(got, limit) != min(d, limit) {
			t.Errorf("distance of %q and %q is %d up to %d, and %d without", a, b, got, limit, d)
		}
	})
}
