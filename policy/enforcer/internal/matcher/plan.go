package matcher

import (
	"slices"
	"strings"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
)

// maxBranches bounds how many alternatives a matcher is taken apart into.
const maxBranches = 16

// Branch is one of the alternatives of a matcher, each of which is enough for it to hold: conditions that the
// request meets whatever the rule is, and columns in which the rule must have certain symbols.
type Branch struct {
	Conditions  []*Node
	Constraints []Constraint // by column, ascending
	Verify      bool         // the matcher says more than this

	Together string // what is said where each constraint can be met, but no rule meets all
}

// Constraint says in which ways the symbol in a column can be right.
type Constraint struct {
	Column  int
	Sources []Source
	Unmet   string // what is said where no symbol is right
}

// Source is one such way: the symbol is that of a text, or one of the roles of a name, or a pattern that
// matches a text.
type Source struct {
	Key      *Node  // the text or the name, which the rule has no part in
	Function string // of a pattern, or the role definition
	Roles    bool
	Domain   *Node // of roles; nil for none
}

// Plan takes a matcher apart.
func Plan(n *Node) []Branch {
	branches := alternatives(n)
	if len(branches) > maxBranches {
		return []Branch{{Verify: true}}
	}
	return branches
}

func alternatives(n *Node) []Branch {
	switch {
	case Independent(n):
		return []Branch{{Conditions: []*Node{n}}}
	case n.Op == OpAnd:
		return both(alternatives(n.Args[0]), alternatives(n.Args[1]))
	case n.Op == OpOr:
		return either(alternatives(n.Args[0]), alternatives(n.Args[1]))
	}
	if column, s, ok := lookup(n); ok {
		return []Branch{{Constraints: []Constraint{{Column: column, Sources: s}}}}
	}
	return []Branch{{Verify: true}}
}

// Independent reports whether the node is the same for every rule.
func Independent(n *Node) bool {
	return n.Op != OpPolicy && !slices.ContainsFunc(n.Args, func(arg *Node) bool { return !Independent(arg) })
}

// either joins two sets of alternatives. Two ways for one column remain one alternative.
func either(left, right []Branch) []Branch {
	if len(left) == 1 && len(right) == 1 && left[0].onlyColumn() && right[0].onlyColumn() &&
		left[0].Constraints[0].Column == right[0].Constraints[0].Column {
		joined := left[0].Constraints[0]
		joined.Sources = slices.Concat(joined.Sources, right[0].Constraints[0].Sources)
		return []Branch{{Constraints: []Constraint{joined}}}
	}
	return slices.Concat(left, right)
}

func (b *Branch) onlyColumn() bool {
	return len(b.Conditions) == 0 && len(b.Constraints) == 1 && !b.Verify
}

// both pairs each of the left alternatives with each of the right ones.
func both(left, right []Branch) []Branch {
	if len(left)*len(right) > maxBranches {
		return []Branch{{Verify: true}}
	}
	var pairs []Branch
	for i := range left {
		for j := range right {
			pairs = append(pairs, left[i].and(&right[j]))
		}
	}
	return pairs
}

func (b *Branch) and(other *Branch) Branch {
	joined := Branch{
		Conditions:  slices.Concat(b.Conditions, other.Conditions),
		Constraints: slices.Clone(b.Constraints),
		Verify:      b.Verify || other.Verify,
	}
	for _, c := range other.Constraints {
		if slices.ContainsFunc(joined.Constraints, func(have Constraint) bool { return have.Column == c.Column }) {
			joined.Verify = true // one of the two narrows the search, and both are asked
			continue
		}
		joined.Constraints = append(joined.Constraints, c)
	}
	slices.SortFunc(joined.Constraints, func(a, b Constraint) int { return a.Column - b.Column })
	return joined
}

// lookup returns the ways in which a column can make the node true, where there is one column that decides it.
func lookup(n *Node) (column int, ways []Source, ok bool) {
	switch n.Op {
	case OpEqual:
		for i, side := range n.Args {
			if other := n.Args[1-i]; side.Op == OpPolicy && Independent(other) {
				return side.Field, []Source{{Key: other}}, true
			}
		}
	case OpIn:
		list := n.Args[1]
		if n.Args[0].Op != OpPolicy || list.Op != OpList || !Independent(list) {
			return 0, nil, false
		}
		for _, element := range list.Args {
			if element.Op != OpLiteral {
				return 0, nil, false // which may be a list of its own
			}
			ways = append(ways, Source{Key: element})
		}
		return n.Args[0].Field, ways, true
	case OpCall, OpMatches:
		return lookupCall(n)
	default:
	}
	return 0, nil, false
}

func lookupCall(n *Node) (column int, ways []Source, ok bool) {
	if len(n.Args) < 2 || n.Args[1].Op != OpPolicy || !Independent(n.Args[0]) {
		return 0, nil, false
	}
	s := Source{Key: n.Args[0], Function: n.Name}
	if _, builtin := model.Builtins[n.Name]; builtin {
		if len(n.Args) != 2 || n.Name == "keyGet" || n.Name == "eval" {
			return 0, nil, false
		}
		return n.Args[1].Field, []Source{s}, true
	}
	s.Roles = true
	if len(n.Args) > 2 {
		if !Independent(n.Args[2]) {
			return 0, nil, false
		}
		s.Domain = n.Args[2]
	}
	return n.Args[1].Field, []Source{s}, true
}

// Describe writes down what a denial says, so that no text is made when there is one.
func Describe(branches []Branch, fields []model.Field) {
	for i := range branches {
		b := &branches[i]
		var names []string
		for j := range b.Constraints {
			name := fields[b.Constraints[j].Column].Name
			b.Constraints[j].Unmet = "no rule has a " + name + " that fits"
			names = append(names, name)
		}
		b.Together = "no rule fits"
		if len(names) > 1 {
			b.Together = "rules fit in some of " + strings.Join(names, ", ") + ", and none in all"
		}
	}
}

// ColumnSet is a branch's columns as bits.
func (b *Branch) ColumnSet() (set uint64) {
	for _, c := range b.Constraints {
		set |= 1 << c.Column
	}
	return set
}
