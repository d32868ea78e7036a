package enforcer

import (
	"slices"
	"strings"
)

// maxBranches bounds how many alternatives a matcher is taken apart into.
const maxBranches = 16

// branch is one of the alternatives of a matcher, each of which is enough for it to hold: conditions that the
// request meets whatever the rule is, and columns in which the rule must have certain symbols.
type branch struct {
	conditions  []*node
	constraints []constraint // by column, ascending
	verify      bool         // the matcher says more than this

	together string // what is said where each constraint can be met, but no rule meets all
}

// constraint says in which ways the symbol in a column can be right.
type constraint struct {
	column  int
	sources []source
	unmet   string // what is said where no symbol is right
}

// source is one such way: the symbol is that of a text, or one of the roles of a name, or a pattern that
// matches a text.
type source struct {
	key      *node  // the text or the name, which the rule has no part in
	function string // of a pattern, or the role definition
	roles    bool
	domain   *node // of roles; nil for none
}

// plan takes a matcher apart.
func plan(n *node) []branch {
	branches := alternatives(n)
	if len(branches) > maxBranches {
		return []branch{{verify: true}}
	}
	return branches
}

func alternatives(n *node) []branch {
	switch {
	case independent(n):
		return []branch{{conditions: []*node{n}}}
	case n.op == opAnd:
		return both(alternatives(n.args[0]), alternatives(n.args[1]))
	case n.op == opOr:
		return either(alternatives(n.args[0]), alternatives(n.args[1]))
	}
	if column, s, ok := lookup(n); ok {
		return []branch{{constraints: []constraint{{column: column, sources: s}}}}
	}
	return []branch{{verify: true}}
}

// independent reports whether the node is the same for every rule.
func independent(n *node) bool {
	return n.op != opPolicy && !slices.ContainsFunc(n.args, func(arg *node) bool { return !independent(arg) })
}

// either joins two sets of alternatives. Two ways for one column remain one alternative.
func either(left, right []branch) []branch {
	if len(left) == 1 && len(right) == 1 && left[0].onlyColumn() && right[0].onlyColumn() &&
		left[0].constraints[0].column == right[0].constraints[0].column {
		joined := left[0].constraints[0]
		joined.sources = slices.Concat(joined.sources, right[0].constraints[0].sources)
		return []branch{{constraints: []constraint{joined}}}
	}
	return slices.Concat(left, right)
}

func (b *branch) onlyColumn() bool {
	return len(b.conditions) == 0 && len(b.constraints) == 1 && !b.verify
}

// both pairs each of the left alternatives with each of the right ones.
func both(left, right []branch) []branch {
	if len(left)*len(right) > maxBranches {
		return []branch{{verify: true}}
	}
	var pairs []branch
	for i := range left {
		for j := range right {
			pairs = append(pairs, left[i].and(&right[j]))
		}
	}
	return pairs
}

func (b *branch) and(other *branch) branch {
	joined := branch{
		conditions:  slices.Concat(b.conditions, other.conditions),
		constraints: slices.Clone(b.constraints),
		verify:      b.verify || other.verify,
	}
	for _, c := range other.constraints {
		if slices.ContainsFunc(joined.constraints, func(have constraint) bool { return have.column == c.column }) {
			joined.verify = true // one of the two narrows the search, and both are asked
			continue
		}
		joined.constraints = append(joined.constraints, c)
	}
	slices.SortFunc(joined.constraints, func(a, b constraint) int { return a.column - b.column })
	return joined
}

// lookup returns the ways in which a column can make the node true, where there is one column that decides it.
func lookup(n *node) (column int, ways []source, ok bool) {
	switch n.op {
	case opEqual:
		for i, side := range n.args {
			if other := n.args[1-i]; side.op == opPolicy && independent(other) {
				return side.field, []source{{key: other}}, true
			}
		}
	case opIn:
		list := n.args[1]
		if n.args[0].op != opPolicy || list.op != opList || !independent(list) {
			return 0, nil, false
		}
		for _, element := range list.args {
			if element.op != opLiteral {
				return 0, nil, false // which may be a list of its own
			}
			ways = append(ways, source{key: element})
		}
		return n.args[0].field, ways, true
	case opCall, opMatches:
		return lookupCall(n)
	default:
	}
	return 0, nil, false
}

func lookupCall(n *node) (column int, ways []source, ok bool) {
	if len(n.args) < 2 || n.args[1].op != opPolicy || !independent(n.args[0]) {
		return 0, nil, false
	}
	s := source{key: n.args[0], function: n.name}
	if _, builtin := builtins[n.name]; builtin {
		if len(n.args) != 2 || n.name == "keyGet" || n.name == "eval" {
			return 0, nil, false
		}
		return n.args[1].field, []source{s}, true
	}
	s.roles = true
	if len(n.args) > 2 {
		if !independent(n.args[2]) {
			return 0, nil, false
		}
		s.domain = n.args[2]
	}
	return n.args[1].field, []source{s}, true
}

// describe writes down what a denial says, so that no text is made when there is one.
func describe(branches []branch, fields []field) {
	for i := range branches {
		b := &branches[i]
		var names []string
		for j := range b.constraints {
			name := fields[b.constraints[j].column].name
			b.constraints[j].unmet = "no rule has a " + name + " that fits"
			names = append(names, name)
		}
		b.together = "no rule fits"
		if len(names) > 1 {
			b.together = "rules fit in some of " + strings.Join(names, ", ") + ", and none in all"
		}
	}
}

// columnSet is a branch's columns as bits.
func (b *branch) columnSet() (set uint64) {
	for _, c := range b.constraints {
		set |= 1 << c.column
	}
	return set
}
