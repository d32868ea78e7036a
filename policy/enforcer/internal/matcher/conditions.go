package matcher

import "slices"

// Formula is a matcher in which ! stands before single conditions only.
type Formula struct {
	Op    Operator // OpAnd or OpOr; else it is the condition
	Parts []*Formula
	*Condition
}

// Condition is a part of a matcher that is true or false, perhaps with ! before it.
type Condition struct {
	Node    *Node
	Negated bool
	Columns uint64 // of the rule, that it names
}

// NewFormula takes a matcher, or its contrary, apart into conditions.
func NewFormula(n *Node, negated bool) *Formula {
	switch n.Op {
	case OpNot:
		return NewFormula(n.Args[0], !negated)
	case OpAnd, OpOr:
		op := n.Op
		if negated {
			op = OpAnd + OpOr - op
		}
		return &Formula{Op: op, Parts: []*Formula{NewFormula(n.Args[0], negated), NewFormula(n.Args[1], negated)}}
	default:
		return &Formula{Op: n.Op, Condition: &Condition{Node: n, Negated: negated, Columns: ColumnsOf(n)}}
	}
}

// ColumnsOf returns the columns of a rule that the node names, as bits.
func ColumnsOf(n *Node) (set uint64) {
	if n.Op == OpPolicy {
		return 1 << n.Field
	}
	for _, arg := range n.Args {
		set |= ColumnsOf(arg)
	}
	return set
}

// Alternatives returns lists of conditions. Where the formula holds, all conditions of one of the lists do; of a formula
// with too many alternatives some conditions are left out.
func (f *Formula) Alternatives() [][]*Condition {
	switch f.Op {
	case OpOr:
		all := slices.Concat(f.Parts[0].Alternatives(), f.Parts[1].Alternatives())
		if len(all) > maxBranches {
			return [][]*Condition{nil}
		}
		return all
	case OpAnd:
		left, right := f.Parts[0].Alternatives(), f.Parts[1].Alternatives()
		if len(left)*len(right) > maxBranches {
			return left
		}
		var all [][]*Condition
		for _, l := range left {
			for _, r := range right {
				all = append(all, slices.Concat(l, r))
			}
		}
		return all
	default:
		return [][]*Condition{{f.Condition}}
	}
}

// Each calls the function with every condition.
func (f *Formula) Each(look func(*Condition)) {
	if f.Condition != nil {
		look(f.Condition)
	}
	for _, part := range f.Parts {
		part.Each(look)
	}
}

// Equal reports whether both nodes say the same.
func (n *Node) Equal(other *Node) bool {
	return n == other || n.Op == other.Op && n.Literal.Kind == other.Literal.Kind && n.Literal.Text == other.Literal.Text &&
		n.Literal.Number == other.Literal.Number && n.Field == other.Field && n.Name == other.Name && slices.Equal(n.Path, other.Path) &&
		slices.EqualFunc(n.Args, other.Args, (*Node).Equal)
}

// PlainRequest returns the field of the request that the node is, where it is one itself and no attribute of one.
func (n *Node) PlainRequest() (field int, ok bool) {
	return n.Field, n.Op == OpRequest && len(n.Path) == 0 && n.Field < 64
}

// Ways are the alternatives of a matcher, each of which is a list of conditions that must all hold.
func Ways(n *Node) [][]*Node {
	if n.Op == OpOr {
		return append(Ways(n.Args[0]), Ways(n.Args[1])...)
	}
	return [][]*Node{conditionsOf(n)}
}

func conditionsOf(n *Node) []*Node {
	if n.Op == OpAnd {
		return append(conditionsOf(n.Args[0]), conditionsOf(n.Args[1])...)
	}
	return []*Node{n}
}
