package model

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/casbin/casbin/v2/config"
	"github.com/casbin/casbin/v2/model"
	"github.com/casbin/casbin/v2/persist"
	"pgregory.net/rapid"
)

type failer interface{ Fatalf(string, ...any) }

// sameRules holds each rule that the strict reader accepts against the one that Casbin loads from that line.
func sameRules(t failer, text string) int {
	lines := strings.Split(text, "\n")
	rules := ReadRules([]byte(text), &Report{})
	for i := range rules {
		rule := &rules[i]
		if rule.Type() == "" {
			continue // Casbin panics; CheckRules knows no such type
		}
		fields := make([]string, max(len(rule.Fields()), 1))
		for j := range fields {
			fields[j] = fmt.Sprint("f", j)
		}
		m := model.NewModel()
		section := rule.Type()[:1]
		m.AddDef(section, rule.Type(), strings.Join(fields, ", "))
		line := lines[rule.Line-1]
		if err := persist.LoadPolicyLine(strings.TrimSpace(line), m); err != nil {
			if len(rule.Fields()) == 0 {
				continue // its number of fields is wrong under any model
			}
			t.Fatalf("%q: Casbin: %v, and we read %q", line, err, rule.Row)
		}
		if loaded := m[section][rule.Type()].Policy; len(loaded) != 1 || !slices.Equal(loaded[0], rule.Fields()) {
			t.Fatalf("%q: Casbin loads %q, and we read %q", line, loaded, rule.Row)
		}
		for j := range rule.Row {
			column := rule.Place(j).Column
			at := line[column-1:]
			if !strings.HasPrefix(at, rule.Row[j]) && at[0] != '"' {
				t.Fatalf("%q: %q is not at column %d", line, rule.Row[j], column)
			}
		}
	}
	return len(rules)
}

func TestEachRuleIsCasbins(t *testing.T) {
	fields := []string{"p", "g2", "alice", " /a", "\t\"a, b\"", `"a ""b"""`, `""`, "x y ", "\u00a0z", "\u3000", "", "#", "é", " \"q\"", `a"b`, `"open`, "\"a\" b", "\r", "\v"}
	read := 0
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		for range rapid.IntRange(1, 10).Draw(t, "lines") {
			line := rapid.SliceOfN(rapid.SampledFrom(fields), 1, 5).Draw(t, "fields")
			text.WriteString(strings.Join(line, ",") + rapid.SampledFrom([]string{"\n", "\r\n", " \n", "\u00a0\n"}).Draw(t, "end"))
		}
		read += sameRules(t, text.String())
	})
	if read < 100 {
		t.Errorf("only %d rules were read at all", read)
	}
}

func FuzzRules(f *testing.F) {
	for _, seed := range []string{"p, a, b, c", `p, "a,b", c`, "  p,a ,b\t, c  # x", "p,\u00a0a,b\r\ng, a, b", `p,"a""b",`, `p, a"b`, "#p\n\n,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { sameRules(t, text) })
}

// sameDefinitions holds what the strict reader accepts of a model against Casbin's own reader of such files.
func sameDefinitions(t failer, text string) int {
	r := &Report{}
	definitions := readDefinitions([]byte(text), r)
	if r.Failed() {
		return 0
	}
	parsed, err := config.NewConfigFromText(text)
	if err != nil {
		t.Fatalf("%q: Casbin: %v", text, err)
	}
	last := map[string]*Definition{}
	for i := range definitions {
		last[definitions[i].section+"::"+definitions[i].Key] = &definitions[i]
	}
	lines := strings.Split(text, "\n")
	for name, d := range last {
		if got := parsed.String(name); strings.ToLower(name) == name && !strings.Contains(d.Key, "::") && got != d.Value {
			t.Fatalf("%q: Casbin reads %s as %q, and we as %q", text, name, got, d.Value)
		}
		for offset := range len(d.Value) {
			at := d.Place(offset)
			if line := lines[at.Line-1]; at.Column > len(line) || line[at.Column-1] != d.Value[offset] {
				if d.Value[offset] != ' ' { // which stands for the end of a continued line
					t.Fatalf("%q: byte %d of %q is not at %v", text, offset, d.Value, at)
				}
			}
		}
	}
	return len(definitions)
}

func TestEachDefinitionIsCasbins(t *testing.T) {
	lines := []string{
		"m = a == b", "m=a", "  e  =  x # why", "m2 = a && \\", "  b \\ ", "\tc", "# whole", "; whole", "", " ", "[matchers]", "[policy_effect]",
		"m = \"é\" ; c", "x", "[x", "= y", "m3 = a = b\t", "m4 = (a) \\", `m = "#"`, "m = a # b \\",
	}
	read := 0
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		text.WriteString("[matchers]\n")
		for range rapid.IntRange(1, 6).Draw(t, "lines") {
			text.WriteString(rapid.SampledFrom(lines).Draw(t, "line") + rapid.SampledFrom([]string{"\n", "\r\n", " \n"}).Draw(t, "end"))
		}
		read += sameDefinitions(t, text.String())
	})
	if read < 10 {
		t.Errorf("only %d definitions were read at all", read)
	}
}

func FuzzDefinitions(f *testing.F) {
	for _, seed := range []string{"[matchers]\nm = a \\\n  b # c\n", "[request_definition]\r\nr = sub ; x\r\n", "m = 1", "[matchers]\nm = a \\\n", "[matchers]\n\\\nm=\\\n\\\nb"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { sameDefinitions(t, text) })
}

// TestFindingsAreBounded: a file that is not a policy at all does not flood its reader.
func TestFindingsAreBounded(t *testing.T) {
	r := &Report{File: "policy.csv"}
	ReadRules([]byte(strings.Repeat("\x00\n", 100_000)), r)
	if len(r.Findings) != MaxFindings || !r.Failed() || !strings.Contains(r.Findings[MaxFindings-1].Message, "not listed") {
		t.Errorf("%d findings, the last %v", len(r.Findings), r.Findings[len(r.Findings)-1])
	}
}
