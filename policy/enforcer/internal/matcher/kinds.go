package matcher

import (
	"net"
	"slices"
)

// A rule that is not looked at must be one at which Casbin would not have returned an error. So the index is
// used only for requests whose values are of the kinds that the matcher takes; needs says which these are.

// Needs is what must be so for a matcher to have a result, whatever the rule.
type Needs struct {
	Values []Need
	Pairs  [][2]*Node // that must be two strings or two numbers
	Never  string     // a part for which nothing about the request is enough; empty if there is none
}

// Need is a kind that a part of the request must have.
type Need struct {
	Part *Node
	Kind kind
}

// anyKind and isAddress are kinds of needs only: that there is a value, and that it is an IP address.
const (
	anyKind kind = iota + 100
	isAddress
)

// NeedsOf returns what the matcher, or a rule for eval, needs in order to be a bool.
func NeedsOf(n *Node) Needs {
	var s Needs
	s.require(n, IsBool)
	return s
}

// Merge adds what another part of a matcher needs.
func (s *Needs) Merge(other *Needs) {
	for _, pair := range other.Pairs {
		s.addPair(pair)
	}
	if s.Never == "" {
		s.Never = other.Never
	}
	for _, n := range other.Values {
		s.add(n)
	}
}

// add keeps one need of each kind for each part.
func (s *Needs) add(n Need) {
	if !slices.ContainsFunc(s.Values, func(have Need) bool { return have.Kind == n.Kind && have.Part.isSame(n.Part) }) {
		s.Values = append(s.Values, n)
	}
}

func (s *Needs) addPair(pair [2]*Node) {
	if !slices.ContainsFunc(s.Pairs, func(have [2]*Node) bool { return have[0].isSame(pair[0]) && have[1].isSame(pair[1]) }) {
		s.Pairs = append(s.Pairs, pair)
	}
}

// isSame reports whether both are the same part of a request.
func (n *Node) isSame(other *Node) bool {
	return n.Field == other.Field && slices.Equal(n.Path, other.Path)
}

// require makes sure that the node is of that kind.
func (s *Needs) require(n *Node, want kind) {
	switch got := s.infer(n); {
	case got == want:
	case got == anyKind && n.Op == OpRequest:
		s.add(Need{n, want})
	case want == isAddress && n.Op == OpLiteral && net.ParseIP(n.Literal.Text) != nil:
	default:
		s.fail(n)
	}
}

func (s *Needs) fail(n *Node) {
	if s.Never == "" {
		s.Never = n.String()
	}
}

// infer returns the kind of a node, and notes what its parts need.
func (s *Needs) infer(n *Node) kind {
	switch n.Op {
	case OpLiteral:
		return n.Literal.Kind
	case OpPolicy:
		return IsString
	case OpRequest:
		if len(n.Path) > 0 {
			s.add(Need{n, anyKind})
		}
		return anyKind
	case OpCall, OpMatches:
		return s.inferCall(n)
	case OpAnd, OpOr, OpNot:
		for _, arg := range n.Args {
			s.require(arg, IsBool)
		}
		return IsBool
	case OpEqual, OpNotEqual:
		s.infer(n.Args[0])
		s.infer(n.Args[1])
		return IsBool
	case OpLess, OpLessOrEqual, OpGreater, OpGreaterOrEqual:
		s.inferComparison(n)
		return IsBool
	case OpIn:
		s.inferIn(n)
		return IsBool
	case OpAdd:
		if left, right := s.infer(n.Args[0]), s.infer(n.Args[1]); left == IsString || right == IsString {
			return IsString
		}
	default: // for numbers only
	}
	for _, arg := range n.Args {
		s.require(arg, IsNumber)
	}
	return IsNumber
}

func (s *Needs) inferComparison(n *Node) {
	left, right := s.infer(n.Args[0]), s.infer(n.Args[1])
	switch {
	case left == anyKind && right == anyKind:
		s.addPair([2]*Node{n.Args[0], n.Args[1]})
	case left == IsString || right == IsString:
		s.require(n.Args[0], IsString)
		s.require(n.Args[1], IsString)
	default:
		s.require(n.Args[0], IsNumber)
		s.require(n.Args[1], IsNumber)
	}
}

func (s *Needs) inferIn(n *Node) {
	left, list := n.Args[0], n.Args[1]
	s.infer(left)
	if list.Op != OpList {
		s.require(left, IsString) // a map in a list must not be compared with another
		s.require(list, IsList)
		return
	}
	for _, element := range list.Args {
		if element.Op != OpLiteral {
			s.fail(element)
		}
	}
}

func (s *Needs) inferCall(n *Node) kind {
	if n.Name == "eval" {
		return IsBool // what the rules need is counted with their layer
	}
	for i, arg := range n.Args {
		if n.Name == "ipMatch" && i == 0 {
			s.require(arg, isAddress)
			continue
		}
		s.require(arg, IsString)
	}
	if n.Name == "keyGet" || n.Name == "keyGet2" || n.Name == "keyGet3" {
		return IsString
	}
	return IsBool
}

// IsKind reports whether the value is of a kind that is needed.
func (v Value) IsKind(k kind) bool {
	switch k {
	case anyKind:
		return true
	case isAddress:
		return v.Kind == IsString && net.ParseIP(v.Text) != nil
	default:
		return v.Kind == k
	}
}
