package compiled

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/matcher"
)

// TestAlternatives: a formula that holds has an alternative all of whose conditions hold, and the other way round where none
// were left out.
func TestAlternatives(t *testing.T) {
	t.Parallel()
	literal := func(b bool) *matcher.Node { return &matcher.Node{Op: matcher.OpLiteral, Literal: matcher.Bool(b)} }
	whole := 0
	rapid.Check(t, func(t *rapid.T) {
		var draw func(depth int) *matcher.Node
		draw = func(depth int) *matcher.Node {
			op := matcher.OpLiteral
			if depth > 0 {
				op = rapid.SampledFrom([]matcher.Operator{matcher.OpLiteral, matcher.OpAnd, matcher.OpOr, matcher.OpNot}).Draw(t, "operator")
			}
			switch op {
			case matcher.OpLiteral:
				return literal(rapid.Bool().Draw(t, "literal"))
			case matcher.OpNot:
				return &matcher.Node{Op: matcher.OpNot, Args: []*matcher.Node{draw(depth - 1)}}
			default:
				return &matcher.Node{Op: op, Args: []*matcher.Node{draw(depth - 1), draw(depth - 1)}}
			}
		}
		tree := draw(5)
		v, err := (&Frame{}).evaluate(tree)
		if err != nil {
			t.Fatal(err)
		}
		f := matcher.NewFormula(tree, false)
		count := 0
		f.Each(func(*matcher.Condition) { count++ })
		holds := slices.ContainsFunc(f.Alternatives(), func(conditions []*matcher.Condition) bool {
			return !slices.ContainsFunc(conditions, func(c *matcher.Condition) bool { return c.Node.Literal.Holds() == c.Negated })
		})
		if v.Holds() && !holds || !v.Holds() && holds && count <= 4 {
			t.Fatalf("%v is %t, and an alternative holds: %t", tree, v.Holds(), holds)
		}
		if count <= 4 {
			whole++
		}
	})
	if whole < 10 {
		t.Errorf("%d small formulas", whole)
	}
	many := literal(true)
	for range 16 {
		many = &matcher.Node{Op: matcher.OpOr, Args: []*matcher.Node{literal(false), many}}
	}
	if all := matcher.NewFormula(many, false).Alternatives(); !slices.ContainsFunc(all, func(conditions []*matcher.Condition) bool { return len(conditions) == 0 }) {
		t.Errorf("of more alternatives than are looked at, %d are, and some not", len(all))
	}
}
