package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/proto/config"
)

// hostile are files at the bound of what is read, each built to cost much more than it should.
func hostile() map[string]string {
	fill := func(head, repeated, tail string) string {
		return head + strings.Repeat(repeated, (config.MaxBytes-len(head)-len(tail))/len(repeated)) + tail
	}
	var names, headers, laughs strings.Builder
	for i := range 5_000 {
		fmt.Fprintf(&headers, "    x-%d.%d: principal.id\n    x-%d-%d: principal.id\n", i, i, i, i)
	}
	for i := range 15_000 {
		fmt.Fprintf(&names, "- {name: %040d, public: true}\n", i)
	}
	laughs.WriteString("routes:\n- &a0 [x, x]\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&laughs, "- &a%d [*a%d, *a%d, *a%d]\n", i, i-1, i-1, i-1)
	}
	return map[string]string{
		"too long":         fill("", "#", "") + "#",
		"deep flow":        fill("routes: ", "[", ""),
		"deep mappings":    fill("routes: ", "{a: ", ""),
		"deep block":       fill("routes:\n", "- ", ""),
		"unknown fields":   fill("", "a: 1\n", ""),
		"long key":         fill("? ", "a", "\n: 1\n"),
		"long value":       fill("routes: [{public: true, name: ", "a", "}]"),
		"empty routes":     fill("routes:\n", "- {}\n", ""),
		"faulty routes":    fill("routes:\n", "- {nam: a, publc: true}\n", ""),
		"unknown names":    fill("routes:\n- {name: a, any_principal: true, authenticate: [", "a,", "a]}\n"),
		"too many routes":  "routes:\n" + names.String(),
		"billion laughs":   laughs.String(),
		"comments":         fill("routes:\n", "# a\n", ""),
		"quotes":           fill("routes: ", `"`, ""),
		"escapes":          fill(`routes: "`, `\u0041`, `"`),
		"documents":        fill("", "---\n", ""),
		"directives":       fill("", "%A\n", ""),
		"anchors":          fill("routes: [", "&a ", "x]"),
		"tags":             fill("routes: [", "!a ", "x]"),
		"question marks":   fill("", "? ", ""),
		"block scalar":     fill("routes: |\n", " a\n", ""),
		"faulty 10,000":    "routes:\n" + strings.Repeat("- {name: '', public: true, any_principal: true}\n", 10_000),
		"invalid 10,000":   "routes:\n" + strings.Repeat("- {name: -a, public: true, any_principal: true}\n", 10_000),
		"unknown 10,000":   "routes:\n- {name: a, any_principal: true, authenticate: [" + strings.Repeat("a,", 9_999) + "a]}\n",
		"same headers":     fill("routes:\n- headers:\n", "    x-a: b\n", ""),
		"two spellings":    "routes:\n- name: a\n  public: true\n  headers:\n" + headers.String(),
		"block indicators": fill("routes:\n", "-\n", ""),
	}
}

func TestHostileFiles(t *testing.T) {
	for name, text := range hostile() {
		t.Run(name, func(t *testing.T) {
			if (len(text) > config.MaxBytes) != (name == "too long") {
				t.Fatalf("%d bytes are not what this test is about", len(text))
			}
			if checkLoad(t, []byte(text)) != nil {
				t.Error("loaded")
			}
		})
	}
}

// manyRoutes is a file of n routes, as large as they come.
func manyRoutes(n int) []byte {
	var text strings.Builder
	text.WriteString("providers:\n- {name: corp, jwt: {issuer: https://a.example, audiences: [a], algorithms: [RS256]}}\n" +
		"enforcers:\n- {name: orders, model: {file: m}, policy: {file: p}}\nroutes:\n")
	for i := range n {
		fmt.Fprintf(&text, "- {name: r%d, match: [{path: \"/r%d/{id}\"}], authenticate: [corp], authorize: orders}\n", i, i)
	}
	return []byte(text.String())
}

func TestManyRoutes(t *testing.T) {
	document := checkLoad(t, manyRoutes(10_000))
	if document == nil {
		t.Fatal("not loaded")
	}
	if got, want := document.Position("routes[9999].authorize"), (policy.Position{File: "kasbah.yaml", Line: 10_005, Column: 82}); got != want {
		t.Errorf("position %v, want %v", got, want)
	}
}

func BenchmarkLoad10000Routes(b *testing.B) {
	data := manyRoutes(10_000)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if document, findings := config.Load("kasbah.yaml", data); document == nil {
			b.Fatal(findings)
		}
	}
}
