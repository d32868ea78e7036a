package keys

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeObject(t *testing.T) {
	for text, want := range map[string]map[string]any{
		`{}`:                                        {},
		" \t\r\n{ } \n":                             {},
		`{"a":1,"b":[true,false,null,"x",{}]}`:      {"a": 1.0, "b": []any{true, false, nil, "x", map[string]any{}}},
		`{"a":-0.5e-3,"b":0,"c":1E+2}`:              {"a": -0.0005, "b": 0.0, "c": 100.0},
		`{"a":9007199254740993}`:                    {"a": json.Number("9007199254740993")},
		`{"a":-9007199254740993}`:                   {"a": json.Number("-9007199254740993")},
		`{"a":9007199254740991}`:                    {"a": 9007199254740991.0},
		`{"a":1e300}`:                               {"a": 1e300},
		`{"\"\\\/\b\f\n\r\t":"\u00e9\ud83d\ude00"}`: {"\"\\/\b\f\n\r\t": "é😀"},
		`{"a":"\u0000"}`:                            {"a": "\x00"},
		`{"":"é"}`:                                  {"": "é"},
		`{"a":[[[1]]]}`:                             {"a": []any{[]any{[]any{1.0}}}},
	} {
		got, err := decodeObject(text, 4)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestDecodeObjectRefuses(t *testing.T) {
	for _, text := range []string{
		``, ` `, `null`, `[]`, `"a"`, `1`, `{`, `}`, `{}{}`, `{},`, `{}x`, "{}\x00", `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":1 "b":2}`,
		`{a:1}`, `{'a':1}`, `{"a":1;}`, `{1:1}`, `{"a":[1,]}`, `{"a":[1 2]}`, `{"a":[}`, `{"a":[1}`, `{"a":{"b":1]}`,
		`{"a":01}`, `{"a":-}`, `{"a":+1}`, `{"a":.5}`, `{"a":1.}`, `{"a":1e}`, `{"a":1e+}`, `{"a":0x1}`, `{"a":NaN}`, `{"a":Infinity}`, `{"a":1e400}`, `{"a":-1e400}`,
		`{"a":tru}`, `{"a":True}`, `{"a":nul}`,
		`{"a":"`, `{"a":"\`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\u12g4"}`, `{"a":"\ud800"}`, `{"a":"\ud800\u0041"}`, `{"a":"\udc00"}`, `{"a":"\ud800\ud800"}`,
		"{\"a\":\"\n\"}", "{\"a\":\"\\n\n\"}", "{\"a\":\"\x00\"}", "{\"a\":\"\xff\"}", "{\"\xc0\xaf\":1}", "\xef\xbb\xbf{}",
		`{"a":1,"a":1}`, `{"a":1,"\u0061":2}`, `{"x":{"a":1,"a":2}}`, `{"x":[{"a":1,"a":2}]}`,
		`{"a":[[[[1]]]]}`, `{"a":{"a":{"a":{"a":{}}}}}`, strings.Repeat(`{"a":`, 10000), `{"a":` + strings.Repeat("[", 10000),
		`{"a":1/**/}`,
	} {
		if got, err := decodeObject(text, 4); err == nil {
			t.Errorf("%.40q is read as %v", text, got)
		}
	}
}

// asFloats is what encoding/json makes of the integers that are kept exactly here.
func asFloats(value any) any {
	switch value := value.(type) {
	case json.Number:
		number, _ := value.Float64()
		return number
	case []any:
		for i := range value {
			value[i] = asFloats(value[i])
		}
	case map[string]any:
		for name := range value {
			value[name] = asFloats(value[name])
		}
	}
	return value
}

// Whatever is accepted here, encoding/json accepts with the same members, and no deeper than allowed.
func FuzzDecodeObject(f *testing.F) {
	for _, seed := range []string{
		`{"iss":"https://issuer.test","sub":"alice","aud":["a","b"],"exp":1800000000,"x":{"y":[null,true,-1.5e3]}}`,
		`{"alg":"RS256","kid":"\u00e9\ud83d\ude00","typ":"JWT"}`, `{"a":1,"a":2}`, `{"a":9007199254740993}`, `{}{}`, "{\"a\":\"\xff\"}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := decodeObject(text, 8)
		if err != nil {
			if got != nil {
				t.Errorf("an object beside the error %v", err)
			}
			return
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatalf("encoding/json says %v", err)
		}
		if ours := asFloats(got); !reflect.DeepEqual(any(want), ours) {
			t.Errorf("encoding/json reads %v, and this %v", want, ours)
		}
		if deep := depth(want); deep > 8 {
			t.Errorf("%d levels", deep)
		}
	})
}

func depth(value any) int {
	deepest := 0
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			deepest = max(deepest, depth(element))
		}
	case map[string]any:
		for _, element := range value {
			deepest = max(deepest, depth(element))
		}
	default:
		return 0
	}
	return deepest + 1
}
