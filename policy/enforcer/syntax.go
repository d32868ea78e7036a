package enforcer

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/casbin/govaluate"
)

// operator is what a node of a matcher does.
type operator uint8

const (
	opLiteral operator = iota
	opRequest          // a field of the request, or an attribute of one
	opPolicy           // a field of the rule
	opCall             // a function, by name
	opMatches          // the operator =~, which compiles its pattern as regexMatch does
	opList             // what stands in parentheses behind in
	opNot
	opNegate
	opAnd
	opOr
	opEqual
	opNotEqual
	opLess
	opLessOrEqual
	opGreater
	opGreaterOrEqual
	opIn
	opAdd
	opSubtract
	opMultiply
	opDivide
	opModulo
)

// node is a part of a matcher, or of a rule that eval runs. Nodes do not change.
type node struct {
	op       operator
	literal  value
	field    int      // of opRequest, opPolicy
	path     []string // the attributes of opRequest, from the outermost
	name     string   // of the field, or of the function of opCall
	args     []*node
	patterns matcher // of opCall, where its pattern is a literal
}

// namespace is what an expression's names stand for.
type namespace struct {
	request, policy         string // the keys of the definitions, such as r and p2
	requestFields, policies []field
	roles                   map[string]role
}

// parse returns the tree of an expression, as Casbin's own parser would evaluate it. It reads that parser's
// tokens, so that what a string or a number is cannot differ. Its error names the first part that is not
// compiled, which Casbin may well evaluate.
func (ns *namespace) parse(text string) (*node, error) {
	functions := map[string]govaluate.ExpressionFunction{}
	for name := range builtins {
		functions[name] = func(...any) (any, error) { return name, nil }
	}
	for name := range ns.roles {
		functions[name] = func(...any) (any, error) { return name, nil }
	}
	parsed, err := govaluate.NewEvaluableExpressionWithFunctions(text, functions)
	if err != nil {
		return nil, err
	}
	p := &parser{namespace: ns, tokens: parsed.Tokens()}
	tree, err := p.binary(0)
	if err != nil {
		return nil, err
	}
	if p.next < len(p.tokens) {
		return nil, fmt.Errorf("%v is not compiled here", p.tokens[p.next].Value)
	}
	return tree, nil
}

// parser is a recursive descent over one expression's tokens.
type parser struct {
	*namespace
	tokens []govaluate.ExpressionToken
	next   int
}

// level is one precedence of operators.
type level struct {
	kind      govaluate.TokenKind
	operators map[string]operator
	chains    bool // a second operator of the level may follow, and takes the first one's result
}

// precedences begin with the operators that bind least. What is not among them is not compiled.
var precedences = []level{
	{govaluate.LOGICALOP, map[string]operator{"||": opOr}, true},
	{govaluate.LOGICALOP, map[string]operator{"&&": opAnd}, true},
	{govaluate.COMPARATOR, map[string]operator{
		"==": opEqual, "!=": opNotEqual, "<": opLess, "<=": opLessOrEqual, ">": opGreater, ">=": opGreaterOrEqual,
		"in": opIn, "=~": opMatches, "!~": opNot,
	}, false},
	{govaluate.MODIFIER, map[string]operator{"+": opAdd, "-": opSubtract}, true},
	{govaluate.MODIFIER, map[string]operator{"*": opMultiply, "/": opDivide, "%": opModulo}, true},
}

func (p *parser) binary(depth int) (*node, error) {
	if depth == len(precedences) {
		return p.operand()
	}
	left, err := p.binary(depth + 1)
	for err == nil {
		op, found := p.operator(depth)
		if !found {
			return left, nil
		}
		var right *node
		if op == opIn {
			right, err = p.list()
		} else {
			right, err = p.binary(depth + 1)
		}
		if err != nil {
			return nil, err
		}
		left, err = newBinary(op, left, right)
		if err == nil && !precedences[depth].chains {
			if _, again := p.operator(depth); again {
				return nil, fmt.Errorf("a comparison of a comparison is not compiled")
			}
			return left, nil
		}
	}
	return left, err
}

// operator takes the next token, where it is an operator of that level.
func (p *parser) operator(depth int) (operator, bool) {
	if p.next == len(p.tokens) || p.tokens[p.next].Kind != precedences[depth].kind {
		return 0, false
	}
	symbol, _ := p.tokens[p.next].Value.(string)
	op, found := precedences[depth].operators[symbol]
	if found {
		p.next++
	}
	return op, found
}

func newBinary(op operator, left, right *node) (*node, error) {
	switch op {
	case opMatches:
		return newPatternCall(&node{op: opMatches, name: "regexMatch", args: []*node{left, right}})
	case opNot: // !~
		matches, err := newBinary(opMatches, left, right)
		return &node{op: opNot, args: []*node{matches}}, err
	default:
		return &node{op: op, args: []*node{left, right}}, nil
	}
}

// list reads what stands behind in: a list in parentheses, or something that is a list.
func (p *parser) list() (*node, error) {
	if p.next == len(p.tokens) || p.tokens[p.next].Kind != govaluate.CLAUSE {
		return p.binary(3)
	}
	p.next++
	start := p.next
	elements, err := p.elements()
	switch {
	case err != nil:
		return nil, err
	case len(elements) == 1 && elements[0].op != opLiteral:
		return elements[0], nil // which must be a list itself
	case len(elements) == 1 && p.next > start+2:
		return nil, fmt.Errorf("parentheses in parentheses behind in are not compiled")
	}
	return &node{op: opList, args: elements}, nil
}

// elements reads a list up to its closing parenthesis.
func (p *parser) elements() ([]*node, error) {
	var elements []*node
	for p.next < len(p.tokens) && p.tokens[p.next].Kind != govaluate.CLAUSE_CLOSE {
		if len(elements) > 0 {
			if p.tokens[p.next].Kind != govaluate.SEPARATOR {
				return nil, fmt.Errorf("%v is not compiled here", p.tokens[p.next].Value)
			}
			p.next++
		}
		element, err := p.binary(0)
		if err != nil {
			return nil, err
		}
		elements = append(elements, element)
	}
	if p.next == len(p.tokens) || len(elements) == 0 {
		return nil, fmt.Errorf("empty parentheses are not compiled")
	}
	p.next++
	return elements, nil
}

func (p *parser) operand() (*node, error) {
	if p.next == len(p.tokens) {
		return nil, fmt.Errorf("the expression is not finished")
	}
	token := p.tokens[p.next]
	p.next++
	switch token.Kind {
	case govaluate.PREFIX:
		op := map[any]operator{"!": opNot, "-": opNegate}[token.Value]
		if op == opLiteral || p.next < len(p.tokens) && p.tokens[p.next].Kind == govaluate.PREFIX {
			return nil, fmt.Errorf("the prefix %v is not compiled here", token.Value)
		}
		operand, err := p.operand()
		return &node{op: op, args: []*node{operand}}, err
	case govaluate.NUMERIC, govaluate.STRING, govaluate.BOOLEAN:
		return &node{op: opLiteral, literal: newValue(token.Value)}, nil
	case govaluate.PATTERN: // a string behind =~, which the parser has compiled
		return &node{op: opLiteral, literal: newValue(fmt.Sprint(token.Value))}, nil
	case govaluate.TIME:
		instant, _ := token.Value.(time.Time)
		return &node{op: opLiteral, literal: newValue(float64(instant.Unix()))}, nil
	case govaluate.VARIABLE:
		name, _ := token.Value.(string)
		return p.variable(name, nil)
	case govaluate.ACCESSOR:
		names, _ := token.Value.([]string)
		if p.next < len(p.tokens) && p.tokens[p.next].Kind == govaluate.CLAUSE {
			return nil, fmt.Errorf("the method %s is not compiled", strings.Join(names, "."))
		}
		return p.variable(names[0], names[1:])
	case govaluate.FUNCTION:
		return p.call(token)
	case govaluate.CLAUSE:
		elements, err := p.elements()
		if err != nil {
			return nil, err
		}
		if len(elements) > 1 {
			return nil, fmt.Errorf("a list that does not stand behind in is not compiled")
		}
		return elements[0], nil
	default:
		return nil, fmt.Errorf("%v is not compiled", token.Value)
	}
}

// variable finds the field that a name such as r_sub means.
func (p *parser) variable(name string, path []string) (*node, error) {
	key, own, _ := strings.Cut(name, "_")
	if i := fieldIndex(p.requestFields, own); key == p.request && i >= 0 {
		return &node{op: opRequest, field: i, name: own, path: path}, nil
	}
	if i := fieldIndex(p.policies, own); key == p.policy && i >= 0 && len(path) == 0 {
		return &node{op: opPolicy, field: i, name: own}, nil
	}
	return nil, fmt.Errorf("the name %s is not compiled", name)
}

func (p *parser) call(token govaluate.ExpressionToken) (*node, error) {
	function, _ := token.Value.(govaluate.ExpressionFunction)
	named, err := function()
	if err != nil {
		return nil, err
	}
	name, _ := named.(string)
	if p.next == len(p.tokens) || p.tokens[p.next].Kind != govaluate.CLAUSE {
		return nil, fmt.Errorf("%s without arguments is not compiled", name)
	}
	p.next++
	args, err := p.elements()
	if err != nil {
		return nil, err
	}
	return newPatternCall(&node{op: opCall, name: name, args: args})
}

// newPatternCall returns the call of a function. Its pattern, if it takes one, must be a field of the rule or a
// literal, which can be compiled once.
func newPatternCall(call *node) (*node, error) {
	at, ok := patternArguments[call.name]
	if !ok || at >= len(call.args) {
		return call, nil
	}
	switch what := call.args[at]; {
	case what.op == opPolicy:
	case what.op == opLiteral && what.literal.kind == isString && call.name != "eval":
		compiled, err := newMatcher(call.name, what.literal.text)
		if err != nil {
			return nil, err
		}
		call.patterns = compiled
	default:
		return nil, fmt.Errorf("%s with a pattern that is neither a field of the rule nor a string is not compiled", call.name)
	}
	return call, nil
}

// String returns the node much as it was written.
func (n *node) String() string {
	return n.format(func(field *node) string { return "p." + field.name })
}

// format is String with the rule's fields written as that function does.
func (n *node) format(policyField func(*node) string) string {
	args := make([]string, len(n.args))
	for i, arg := range n.args {
		args[i] = arg.format(policyField)
		if arg.op == opOr && n.op == opAnd || n.op == opNot && len(arg.args) > 1 && arg.op != opCall {
			args[i] = "(" + args[i] + ")"
		}
	}
	switch n.op {
	case opLiteral:
		return fmt.Sprintf("%#v", n.literal.plain())
	case opRequest:
		return strings.Join(append([]string{"r", n.name}, n.path...), ".")
	case opPolicy:
		return policyField(n)
	case opCall:
		return n.name + "(" + strings.Join(args, ", ") + ")"
	case opMatches:
		return strings.Join(args, " =~ ")
	case opList:
		return "(" + strings.Join(args, ", ") + ")"
	case opNot, opNegate:
		return operatorTexts[n.op] + args[0]
	default:
		return strings.Join(args, " "+operatorTexts[n.op]+" ")
	}
}

var operatorTexts = map[operator]string{
	opNot: "!", opNegate: "-", opAnd: "&&", opOr: "||", opEqual: "==", opNotEqual: "!=", opLess: "<", opLessOrEqual: "<=",
	opGreater: ">", opGreaterOrEqual: ">=", opIn: "in", opAdd: "+", opSubtract: "-", opMultiply: "*", opDivide: "/", opModulo: "%",
}

func (n *node) calls(function string) bool {
	return n.op == opCall && n.name == function || slices.ContainsFunc(n.args, func(arg *node) bool { return arg.calls(function) })
}
