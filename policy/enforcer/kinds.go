package enforcer

import (
	"net"
	"slices"
)

// A rule that is not looked at must be one at which Casbin would not have returned an error. So the index is
// used only for requests whose values are of the kinds that the matcher takes; needs says which these are.

// needs is what must be so for a matcher to have a result, whatever the rule.
type needs struct {
	values []need
	pairs  [][2]*node // that must be two strings or two numbers
	never  string     // a part for which nothing about the request is enough; empty if there is none
}

// need is a kind that a part of the request must have.
type need struct {
	part *node
	kind kind
}

// anyKind and isAddress are kinds of needs only: that there is a value, and that it is an IP address.
const (
	anyKind kind = iota + 100
	isAddress
)

// needsOf returns what the matcher, or a rule for eval, needs in order to be a bool.
func needsOf(n *node) needs {
	var s needs
	s.require(n, isBool)
	return s
}

func (s *needs) merge(other *needs) {
	for _, pair := range other.pairs {
		s.addPair(pair)
	}
	if s.never == "" {
		s.never = other.never
	}
	for _, n := range other.values {
		s.add(n)
	}
}

// add keeps one need of each kind for each part.
func (s *needs) add(n need) {
	if !slices.ContainsFunc(s.values, func(have need) bool { return have.kind == n.kind && have.part.isSame(n.part) }) {
		s.values = append(s.values, n)
	}
}

func (s *needs) addPair(pair [2]*node) {
	if !slices.ContainsFunc(s.pairs, func(have [2]*node) bool { return have[0].isSame(pair[0]) && have[1].isSame(pair[1]) }) {
		s.pairs = append(s.pairs, pair)
	}
}

// isSame reports whether both are the same part of a request.
func (n *node) isSame(other *node) bool {
	return n.field == other.field && slices.Equal(n.path, other.path)
}

// require makes sure that the node is of that kind.
func (s *needs) require(n *node, want kind) {
	switch got := s.infer(n); {
	case got == want:
	case got == anyKind && n.op == opRequest:
		s.add(need{n, want})
	case want == isAddress && n.op == opLiteral && net.ParseIP(n.literal.text) != nil:
	default:
		s.fail(n)
	}
}

func (s *needs) fail(n *node) {
	if s.never == "" {
		s.never = n.String()
	}
}

// infer returns the kind of a node, and notes what its parts need.
func (s *needs) infer(n *node) kind {
	switch n.op {
	case opLiteral:
		return n.literal.kind
	case opPolicy:
		return isString
	case opRequest:
		if len(n.path) > 0 {
			s.add(need{n, anyKind})
		}
		return anyKind
	case opCall, opMatches:
		return s.inferCall(n)
	case opAnd, opOr, opNot:
		for _, arg := range n.args {
			s.require(arg, isBool)
		}
		return isBool
	case opEqual, opNotEqual:
		s.infer(n.args[0])
		s.infer(n.args[1])
		return isBool
	case opLess, opLessOrEqual, opGreater, opGreaterOrEqual:
		s.inferComparison(n)
		return isBool
	case opIn:
		s.inferIn(n)
		return isBool
	case opAdd:
		if left, right := s.infer(n.args[0]), s.infer(n.args[1]); left == isString || right == isString {
			return isString
		}
	default: // for numbers only
	}
	for _, arg := range n.args {
		s.require(arg, isNumber)
	}
	return isNumber
}

func (s *needs) inferComparison(n *node) {
	left, right := s.infer(n.args[0]), s.infer(n.args[1])
	switch {
	case left == anyKind && right == anyKind:
		s.addPair([2]*node{n.args[0], n.args[1]})
	case left == isString || right == isString:
		s.require(n.args[0], isString)
		s.require(n.args[1], isString)
	default:
		s.require(n.args[0], isNumber)
		s.require(n.args[1], isNumber)
	}
}

func (s *needs) inferIn(n *node) {
	left, list := n.args[0], n.args[1]
	s.infer(left)
	if list.op != opList {
		s.require(left, isString) // a map in a list must not be compared with another
		s.require(list, isList)
		return
	}
	for _, element := range list.args {
		if element.op != opLiteral {
			s.fail(element)
		}
	}
}

func (s *needs) inferCall(n *node) kind {
	if n.name == "eval" {
		return isBool // what the rules need is counted with their layer
	}
	for i, arg := range n.args {
		if n.name == "ipMatch" && i == 0 {
			s.require(arg, isAddress)
			continue
		}
		s.require(arg, isString)
	}
	if n.name == "keyGet" || n.name == "keyGet2" || n.name == "keyGet3" {
		return isString
	}
	return isBool
}

func (v value) isKind(k kind) bool {
	switch k {
	case anyKind:
		return true
	case isAddress:
		return v.kind == isString && net.ParseIP(v.text) != nil
	default:
		return v.kind == k
	}
}
