package enforcer

import "slices"

// formula is a matcher in which ! stands before single conditions only.
type formula struct {
	op    operator // opAnd or opOr; else it is the condition
	parts []*formula
	*condition
}

// condition is a part of a matcher that is true or false, perhaps with ! before it.
type condition struct {
	node    *node
	negated bool
	columns uint64 // of the rule, that it names
}

func newFormula(n *node, negated bool) *formula {
	switch n.op {
	case opNot:
		return newFormula(n.args[0], !negated)
	case opAnd, opOr:
		op := n.op
		if negated {
			op = opAnd + opOr - op
		}
		return &formula{op: op, parts: []*formula{newFormula(n.args[0], negated), newFormula(n.args[1], negated)}}
	default:
		return &formula{op: n.op, condition: &condition{node: n, negated: negated, columns: columnsOf(n)}}
	}
}

func columnsOf(n *node) (set uint64) {
	if n.op == opPolicy {
		return 1 << n.field
	}
	for _, arg := range n.args {
		set |= columnsOf(arg)
	}
	return set
}

// alternatives returns lists of conditions. Where the formula holds, all conditions of one of the lists do; of a formula
// with too many alternatives some conditions are left out.
func (f *formula) alternatives() [][]*condition {
	switch f.op {
	case opOr:
		all := slices.Concat(f.parts[0].alternatives(), f.parts[1].alternatives())
		if len(all) > maxBranches {
			return [][]*condition{nil}
		}
		return all
	case opAnd:
		left, right := f.parts[0].alternatives(), f.parts[1].alternatives()
		if len(left)*len(right) > maxBranches {
			return left
		}
		var all [][]*condition
		for _, l := range left {
			for _, r := range right {
				all = append(all, slices.Concat(l, r))
			}
		}
		return all
	default:
		return [][]*condition{{f.condition}}
	}
}

// each calls the function with every condition.
func (f *formula) each(look func(*condition)) {
	if f.condition != nil {
		look(f.condition)
	}
	for _, part := range f.parts {
		part.each(look)
	}
}

// equal reports whether both nodes say the same.
func (n *node) equal(other *node) bool {
	return n == other || n.op == other.op && n.literal.kind == other.literal.kind && n.literal.text == other.literal.text &&
		n.literal.number == other.literal.number && n.field == other.field && n.name == other.name && slices.Equal(n.path, other.path) &&
		slices.EqualFunc(n.args, other.args, (*node).equal)
}

// plainRequest returns the field of the request that the node is, where it is one itself and no attribute of one.
func (n *node) plainRequest() (field int, ok bool) {
	return n.field, n.op == opRequest && len(n.path) == 0 && n.field < 64
}

// ways are the alternatives of a matcher, each of which is a list of conditions that must all hold.
func ways(n *node) [][]*node {
	if n.op == opOr {
		return append(ways(n.args[0]), ways(n.args[1])...)
	}
	return [][]*node{conditionsOf(n)}
}

func conditionsOf(n *node) []*node {
	if n.op == opAnd {
		return append(conditionsOf(n.args[0]), conditionsOf(n.args[1])...)
	}
	return []*node{n}
}
