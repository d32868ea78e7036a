package enforcer

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
