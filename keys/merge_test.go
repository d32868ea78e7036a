package keys_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/keys"
)

// Whatever an answer has, what the token says stays said, by every path.
func TestNothingIsOverridden(t *testing.T) {
	name := rapid.SampledFrom([]string{"a", "b", "a", "b", "a.a", "a.b", "b.a", "b.b", "a.b.a"})
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		return rapid.Custom(func(t *rapid.T) any {
			if depth == 0 || rapid.Bool().Draw(t, "leaf") {
				return rapid.StringMatching(`[0-9]`).Draw(t, "text")
			}
			return rapid.MapOfN(name, value(depth-1), 0, 3).Draw(t, "object")
		})
	}
	object := rapid.MapOfN(name, value(2), 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		claims, answer := object.Draw(t, "claims"), object.Draw(t, "answer")
		before, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		merged := keys.Merge(claims, answer)
		for _, path := range []string{"a", "b", "a.a", "a.b", "b.a", "b.b", "a.a.a", "a.a.b", "a.b.a", "a.b.b", "b.a.a", "b.a.b", "b.b.a", "b.b.b"} {
			said, ok := keys.Lookup(claims, path)
			if now, _ := keys.Lookup(merged, path); ok && !cmp.Equal(said, now) {
				t.Fatalf("%s was %v and is %v", path, said, now)
			}
		}
		if after, _ := json.Marshal(claims); string(after) != string(before) {
			t.Fatal("the token's own claims were changed")
		}
	})
}
