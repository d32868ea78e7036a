package schema_test

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/proto/schema"
)

// unlimited are limits that no text of these tests reaches.
func unlimited() schema.Limits {
	return schema.Limits{Depth: 256, Members: math.MaxInt32, Elements: math.MaxInt32, Values: math.MaxInt32, String: math.MaxInt32, Name: math.MaxInt32, Number: math.MaxInt32}
}

// oracle decides about a text by encoding/json, the rules that it does not know being written out: it returns the rule that
// the text breaks.
func oracle(text []byte) string {
	switch {
	case !json.Valid(text):
		return "not JSON"
	case !utf8.Valid(text):
		return "json.utf8"
	case hasLoneSurrogate(text):
		return "json.surrogate"
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	type level struct {
		names map[string]bool // nil: a list
		name  bool            // whether a name is next
	}
	var levels []level
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return ""
		}
		if err != nil {
			return "not JSON"
		}
		top := len(levels) - 1
		switch token := token.(type) {
		case json.Delim:
			switch token {
			case '{':
				levels = append(levels, level{names: map[string]bool{}, name: true})
				continue
			case '[':
				levels = append(levels, level{})
				continue
			}
			levels = levels[:top]
			top--
		case string:
			if top >= 0 && levels[top].name {
				if levels[top].names[token] {
					return "json.duplicate_name"
				}
				levels[top].names[token], levels[top].name = true, false
				continue
			}
		}
		if top >= 0 && levels[top].names != nil {
			levels[top].name = true
		}
	}
}

// hasLoneSurrogate looks for one in text that is JSON: encoding/json reads it as U+FFFD.
func hasLoneSurrogate(text []byte) bool {
	for rest := text; ; {
		i := bytes.IndexByte(rest, '\\')
		if i < 0 {
			return false
		}
		rest = rest[i:]
		if rest[1] != 'u' {
			rest = rest[2:]
			continue
		}
		high := strings.ToLower(string(rest[2:6]))
		rest = rest[6:]
		if high < "d800" || high > "dfff" {
			continue
		}
		if high >= "dc00" || len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
			return true
		}
		if low := strings.ToLower(string(rest[2:6])); low < "dc00" || low > "dfff" {
			return true
		}
		rest = rest[6:]
	}
}

// agree holds the scan against the oracle.
func agree(t interface {
	Helper()
	Fatalf(string, ...any)
}, text []byte,
) {
	t.Helper()
	limits := unlimited()
	got := schema.CheckJSON(text, &limits)
	want := oracle(text)
	if got == "json.max_depth" { // encoding/json goes deeper
		return
	}
	if (got == "") != (want == "") { // of several faults the first is told
		t.Fatalf("%.200q: got %q, want %q", text, got, want)
	}
}

func TestStructure(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{}`: "", `[]`: "", ` {"a" : [ 1 , -2.5e+10 , true , null , "x" ] } `: "", `0`: "", `"é\ud83d\ude00"`: "", `-0`: "", "\"\u2028\"": "",
		``: "json.syntax", `{`: "json.syntax", `[1,]`: "json.syntax", `{"a":1,}`: "json.syntax", `[1 2]`: "json.syntax", `01`: "json.trailing", `+1`: "json.syntax",
		`1.`: "json.syntax", `.5`: "json.syntax", `1e`: "json.syntax", `-`: "json.syntax", `NaN`: "json.syntax", `Infinity`: "json.syntax", `tru`: "json.syntax",
		`'a'`: "json.syntax", `{a:1}`: "json.syntax", `{"a"}`: "json.syntax", `{"a" 1}`: "json.syntax", `[}`: "json.syntax", `{]`: "json.syntax", `[1}`: "json.syntax",
		"\"a\nb\"": "json.syntax", `"\x"`: "json.syntax", `"\u12g4"`: "json.syntax", `"abc`: "json.syntax", `"abc\`: "json.syntax", "\ufeff{}": "json.syntax", "[1]\x00": "json.trailing", "\f1": "json.syntax", "/**/1": "json.syntax",
		`{} {}`: "json.trailing", `{}x`: "json.trailing", `1,`: "json.trailing",
		`{"a":1,"a":2}`: "json.duplicate_name", `{"a":1,"\u0061":2}`: "json.duplicate_name", `{"\ud83d\ude00":1,"😀":2}`: "json.duplicate_name", `{"":1,"":2}`: "json.duplicate_name",
		`{"a":{"a":1},"b":{"a":1}}`: "", `[{"a":1},{"a":1}]`: "", `{"a":1,"A":2}`: "", `{"\\u0061":1,"a":2}`: "", `{"x":{"y":1},"y":{"x":1},"x":0}`: "json.duplicate_name",
		"\"\xff\"": "json.utf8", "\"\xc3\"": "json.utf8", "\"\xed\xa0\x80\"": "json.utf8", "{\"\xc0\x80\":1}": "json.utf8", "\xff": "json.syntax",
		`"\ud800"`: "json.surrogate", `"\udc00"`: "json.surrogate", `"\ud800\u0041"`: "json.surrogate", `{"\uDFFF":1}`: "json.surrogate", `"\ud800\ud800"`: "json.surrogate",
	} {
		limits := unlimited()
		if got := schema.CheckJSON([]byte(text), &limits); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		agree(t, []byte(text))
	}
}

// Each limit holds to the byte.
func TestLimits(t *testing.T) {
	t.Parallel()
	limits := schema.Limits{Depth: 3, Members: 3, Elements: 4, Values: 7, String: 9, Name: 5, Number: 6}
	for text, want := range map[string]string{
		`[[[]]]`: "", `[[[[]]]]`: "json.max_depth", `{"a":[{}]}`: "", `{"a":[{"b":{}}]}`: "json.max_depth",
		`{"a":1,"b":2,"c":3}`: "", `{"a":1,"b":2,"c":3,"d":4}`: "json.max_members",
		`[1,2,3,4]`: "", `[1,2,3,4,5]`: "json.max_elements",
		`[[1,2,3],[4,5]]`: "", `[[1,2,3],[4,5,6]]`: "json.max_values", `[{"a":1,"b":1},{"a":1,"b":1},{"a":1}]`: "json.max_values",
		`"123456789"`: "", `"1234567890"`: "json.max_string_bytes", `{"12345":1}`: "", `{"123456":1}`: "json.max_name_bytes", `"\u0041\u0042"`: "json.max_string_bytes",
		`123456`: "", `1234567`: "json.max_number_bytes", `-1.5e1`: "", `-1.5e10`: "json.max_number_bytes",
	} {
		if got := schema.CheckJSON([]byte(text), &limits); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// Nesting that would overflow a stack, and names without end, cost what the limits say.
func TestHostileStructure(t *testing.T) {
	limits := unlimited()
	for _, c := range []struct{ text, want string }{
		{strings.Repeat("[", 1<<20), "json.max_depth"}, {strings.Repeat(`{"a":`, 1<<18), "json.max_depth"}, {`"` + strings.Repeat(`\`, 1<<20), "json.syntax"},
	} {
		if got := schema.CheckJSON([]byte(c.text), &limits); got != c.want {
			t.Errorf("%.10s…: %q, want %q", c.text, got, c.want)
		}
	}
	var text strings.Builder
	for i := range 5000 {
		text.WriteString(`{"` + strings.Repeat("n", 1+i%200) + string(rune(0x4e00+i)) + `":`[:2])
		text.WriteString("1},")
	}
	bounded := schema.Limits{Depth: 8, Members: 1000, Elements: 10_000, Values: 20_000, String: 100, Name: 4096, Number: 10}
	document := []byte("[" + text.String() + "0]")
	if got := schema.CheckJSON(document, &bounded); got != "" {
		t.Fatal(got)
	}
	if allocated := testing.AllocsPerRun(5, func() { schema.CheckJSON(document, &bounded) }); allocated > 20 {
		t.Errorf("%v allocations", allocated)
	}
}

// A name that comes again is found however many there are before it, and whatever other objects stand between.
func TestDuplicateAnywhere(t *testing.T) {
	t.Parallel()
	limits := unlimited()
	members := func(count int) string {
		var text strings.Builder
		for i := range count {
			fmt.Fprintf(&text, `"m%d":0,`, i)
		}
		return text.String()
	}
	for count := 1; count < 40; count++ {
		for again := -1; again < count; again++ {
			var text strings.Builder
			for i := range count {
				fmt.Fprintf(&text, `"n%d":{"n%d":[{"n0":1},{"n0":1}],"x":{%s"y":1}},`, i, again, members(i*5%20))
			}
			want := ""
			if again >= 0 {
				want = "json.duplicate_name"
			}
			if got := schema.CheckJSON(fmt.Appendf(nil, `[{"n1":1},{%s"n%d":1}]`, &text, again), &limits); got != want {
				t.Fatalf("%d names, and number %d again: %q", count, again, got)
			}
		}
	}
}

// texts draws JSON and what is nearly JSON.
func texts() *rapid.Generator[string] {
	scalar := rapid.SampledFrom([]string{`"a"`, `"b"`, `"\u0061"`, `"\ud83d\ude00"`, `"\ud83d"`, "\"\xc3\"", `"é"`, `1`, `-0.5e3`, `01`, `true`, `null`, `""`, `nul`, `"12345678\""`, "\"1234567é\""})
	return rapid.Custom(func(t *rapid.T) string {
		var draw func(depth int) string
		draw = func(depth int) string {
			kind := rapid.IntRange(0, 7).Draw(t, "kind")
			if depth == 0 || kind < 4 {
				return scalar.Draw(t, "scalar")
			}
			var parts []string
			for range rapid.IntRange(0, 4).Draw(t, "count") {
				part := draw(depth - 1)
				if kind < 6 {
					part = scalar.Draw(t, "name") + rapid.SampledFrom([]string{":", " : ", ":", ","}).Draw(t, "colon") + part
				}
				parts = append(parts, part)
			}
			inner := strings.Join(parts, rapid.SampledFrom([]string{",", ", ", ",", ",", " "}).Draw(t, "comma"))
			if kind < 6 {
				return "{" + inner + "}"
			}
			return "[" + inner + "]"
		}
		return draw(4) + rapid.SampledFrom([]string{"", "", "", " ", "]", "1"}).Draw(t, "end")
	})
}

func TestStructureAgrees(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { agree(t, []byte(texts().Draw(t, "text"))) })
}

func FuzzStructure(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e3,"x\u0041\ud83d\ude00",null,true]}`, `{"a":1,"a":2}`, "\"\xff\"", `[[[[`, `"\ud800"`, ` 1 `, "\"1234567\xc3\xa9 89\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		agree(t, text)
		tight := schema.Limits{Depth: 4, Members: 4, Elements: 4, Values: 8, String: 16, Name: 8, Number: 8}
		if schema.CheckJSON(text, &tight) == "" && oracle(text) != "" {
			t.Errorf("limits let %q pass", text)
		}
	})
}

func BenchmarkStructure(b *testing.B) {
	row := `{"id":123456,"name":"Grace Hopper","email":"grace@example.com","tags":["navy","compiler"],"active":true,"balance":-1024.75,"note":"the quick brown fox jumps over the lazy dog"}`
	for name, text := range map[string]string{
		"records":     "[" + strings.Repeat(row+",", 59) + row + "]",
		"text":        `["` + strings.Repeat("the quick brown fox jumps over the lazy dog ", 250) + `"]`,
		"not English": `["` + strings.Repeat("Größenwahn über Äpfel ", 450) + `"]`,
	} {
		for what, check := range map[string]func([]byte) bool{
			"kasbah":        func(text []byte) bool { limits := unlimited(); return schema.CheckJSON(text, &limits) == "" },
			"encoding/json": json.Valid,
		} {
			b.Run(name+"/"+what, func(b *testing.B) {
				text := []byte(text)
				b.ReportAllocs()
				used := cpu(b)
				for b.Loop() {
					if !check(text) {
						b.Fatal("refused")
					}
				}
				b.ReportMetric(float64(b.N)*float64(len(text))/(cpu(b)-used).Seconds()/1e6, "MB/cpu-s")
			})
		}
	}
}

//go:embed testdata/jsontestsuite/cases.jsonl
var jsonTestSuite []byte

// undecided are the cases of JSONTestSuite that a parser may accept, and what of them is: what one reader could read in another
// way is refused, and numbers are as long as they may be.
var undecided = map[string]bool{
	"i_number_double_huge_neg_exp.json": true, "i_number_huge_exp.json": true, "i_number_neg_int_huge_exp.json": true, "i_number_pos_double_huge_exp.json": true,
	"i_number_real_neg_overflow.json": true, "i_number_real_pos_overflow.json": true, "i_number_real_underflow.json": true, "i_number_too_big_neg_int.json": true,
	"i_number_too_big_pos_int.json": true, "i_number_very_big_negative_int.json": true,
}

// JSONTestSuite's cases, of which the oracle knows nothing.
func TestJSONTestSuite(t *testing.T) {
	t.Parallel()
	count := 0
	for line := range bytes.Lines(jsonTestSuite) {
		var c struct {
			Name string
			Text []byte
		}
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		count++
		limits := unlimited()
		got := schema.CheckJSON(c.Text, &limits)
		accepted := got == ""
		switch c.Name[0] {
		case 'y':
			if !accepted && got != "json.duplicate_name" {
				t.Errorf("%s is refused: %s", c.Name, got)
			}
		case 'n':
			if accepted {
				t.Errorf("%s is accepted", c.Name)
			}
		case 'i':
			if accepted != undecided[c.Name] {
				t.Errorf("%s: %q", c.Name, got)
			}
		}
		agree(t, c.Text)
	}
	if count < 300 {
		t.Errorf("there are %d cases", count)
	}
}
