package enforcer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/casbin/casbin/v2/config"
	"github.com/casbin/casbin/v2/model"
	"github.com/casbin/casbin/v2/persist"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// These tests look inside, because an Enforcer shows neither the rules that it was given nor what it keeps.

type failer interface{ Fatalf(string, ...any) }

// sameRules holds each rule that the strict reader accepts against the one that Casbin loads from that line.
func sameRules(t failer, text string) int {
	lines := strings.Split(text, "\n")
	rules := readRules([]byte(text), &report{})
	for i := range rules {
		rule := &rules[i]
		if rule.ptype() == "" {
			continue // Casbin panics; checkRules knows no such type
		}
		fields := make([]string, max(len(rule.fields()), 1))
		for j := range fields {
			fields[j] = fmt.Sprint("f", j)
		}
		m := model.NewModel()
		section := rule.ptype()[:1]
		m.AddDef(section, rule.ptype(), strings.Join(fields, ", "))
		line := lines[rule.line-1]
		if err := persist.LoadPolicyLine(strings.TrimSpace(line), m); err != nil {
			if len(rule.fields()) == 0 {
				continue // its number of fields is wrong under any model
			}
			t.Fatalf("%q: Casbin: %v, and we read %q", line, err, rule.row)
		}
		if loaded := m[section][rule.ptype()].Policy; len(loaded) != 1 || !slices.Equal(loaded[0], rule.fields()) {
			t.Fatalf("%q: Casbin loads %q, and we read %q", line, loaded, rule.row)
		}
		for j := range rule.row {
			column := rule.place(j).column
			at := line[column-1:]
			if !strings.HasPrefix(at, rule.row[j]) && at[0] != '"' {
				t.Fatalf("%q: %q is not at column %d", line, rule.row[j], column)
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
	r := &report{}
	definitions := readDefinitions([]byte(text), r)
	if r.failed() {
		return 0
	}
	parsed, err := config.NewConfigFromText(text)
	if err != nil {
		t.Fatalf("%q: Casbin: %v", text, err)
	}
	last := map[string]*definition{}
	for i := range definitions {
		last[definitions[i].section+"::"+definitions[i].key] = &definitions[i]
	}
	lines := strings.Split(text, "\n")
	for name, d := range last {
		if got := parsed.String(name); strings.ToLower(name) == name && !strings.Contains(d.key, "::") && got != d.value {
			t.Fatalf("%q: Casbin reads %s as %q, and we as %q", text, name, got, d.value)
		}
		for offset := range len(d.value) {
			at := d.place(offset)
			if line := lines[at.line-1]; at.column > len(line) || line[at.column-1] != d.value[offset] {
				if d.value[offset] != ' ' { // which stands for the end of a continued line
					t.Fatalf("%q: byte %d of %q is not at %v", text, offset, d.value, at)
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

// TestSettledValues: what Casbin's expressions compare comes out as it is; what they would not, changed in a copy.
func TestSettledValues(t *testing.T) {
	roomy := append(make([]any, 0, 8), "a", json.Number("2"))
	shared := map[string]any{"age": json.Number("18"), "groups": roomy, "deep": map[string]any{"n": uint(3)}, "name": "x", "none": nil}
	before := fmt.Sprint(shared)
	got, err := checkValue("sub", shared)
	want := map[string]any{"age": 18.0, "groups": []any{"a", 2.0}, "deep": map[string]any{"n": 3.0}, "name": "x", "none": nil}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if after := fmt.Sprint(shared); after != before || cap(roomy) != 8 {
		t.Errorf("what others share became %s, from %s", after, before)
	}
	if list, ok := got.(map[string]any)["groups"].([]any); !ok || cap(list) != len(list) {
		t.Errorf("room is left in %v", got)
	}
	deep := any("x")
	for range maxValueDepth + 2 {
		deep = []any{deep}
	}
	for name, value := range map[string]any{
		"a struct": struct{}{}, "a list of strings": []string{"a"}, "a struct in a map": map[string]any{"a": struct{}{}},
		"a number that is none": json.Number("x"), "a number too large": []any{json.Number("1e999")}, "a pointer": new(int), "a function": func() {}, "too deep": deep,
	} {
		if got, err := checkValue("obj", value); err == nil {
			t.Errorf("%s: taken as %v", name, got)
		}
	}
}

// TestSessionsForget: nothing of a request is left in a session, and what is remembered of names is bounded.
func TestSessionsForget(t *testing.T) {
	text := "[request_definition]\nr = sub\n[policy_definition]\np = sub\n[role_definition]\ng = _, _\n[policy_effect]\ne = " + allowOverride + "\n[matchers]\nm = g(r.sub, p.sub)\n"
	ev, err := newEvaluator(text, readRules([]byte("p, reader\ng, editor, reader"), &report{}), Context{}.withDefaults(), true)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ev.take()
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", maxCachedName+1)
	for i := range 2 * maxCachedNames {
		name := fmt.Sprint("name", i)
		if i%1000 == 0 {
			name = long
		}
		s.values[0] = name
		s.own.bring(name, []string{"editor"})
		if allowed, _, err := ev.enforce(s); err != nil || !allowed {
			t.Fatal(name, allowed, err)
		}
		s.own.forget()
		if allowed, _, err := ev.enforce(s); err != nil || allowed {
			t.Fatal(name, "keeps a role that was brought for one request", allowed, err)
		}
		if len(s.own.inherited) > maxCachedNames {
			t.Fatalf("%d names are remembered", len(s.own.inherited))
		}
	}
	if _, known := s.own.inherited[scopedName{long, ""}]; known {
		t.Error("a long name is remembered")
	}
	s.own.bring("someone", []string{"editor"})
	ev.give(s)
	if s.own.subject != "" || s.own.roles != nil || s.values[0] != nil || len(s.own.held) != 0 || len(s.own.heldIn) != 0 {
		t.Errorf("left in the session: %+v", s.own)
	}
}

// TestFindingsAreBounded: a file that is not a policy at all does not flood its reader.
func TestFindingsAreBounded(t *testing.T) {
	r := &report{file: "policy.csv"}
	readRules([]byte(strings.Repeat("\x00\n", 100_000)), r)
	if len(r.findings) != maxFindings || !r.failed() || !strings.Contains(r.findings[maxFindings-1].Message, "not listed") {
		t.Errorf("%d findings, the last %v", len(r.findings), r.findings[len(r.findings)-1])
	}
}
