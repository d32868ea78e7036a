package matcher

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/casbin/govaluate"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/pattern"
)

// Operator is what a node of a matcher does.
type Operator uint8

// What a node is. An operator whose name says it all has no comment.
const (
	OpLiteral Operator = iota
	OpRequest          // a field of the request, or an attribute of one
	OpPolicy           // a field of the rule
	OpCall             // a function, by name
	OpMatches          // the operator =~, which compiles its pattern as regexMatch does
	OpList             // what stands in parentheses behind in
	OpNot
	OpNegate
	OpAnd
	OpOr
	OpEqual
	OpNotEqual
	OpLess
	OpLessOrEqual
	OpGreater
	OpGreaterOrEqual
	OpIn
	OpAdd
	OpSubtract
	OpMultiply
	OpDivide
	opModulo
)

// Node is a part of a matcher, or of a rule that eval runs. Nodes do not change.
type Node struct {
	Op       Operator
	Literal  Value
	Field    int      // of OpRequest, OpPolicy
	Path     []string // the attributes of OpRequest, from the outermost
	Name     string   // of the field, or of the function of OpCall
	Args     []*Node
	Patterns pattern.Matcher // of OpCall, where its pattern is a literal
}

// Namespace is what an expression's names stand for.
type Namespace struct {
	Request, Policy         string // the keys of the definitions, such as r and p2
	RequestFields, Policies []model.Field
	Roles                   map[string]model.Role
}

// Parse returns the tree of an expression, as Casbin's own parser would evaluate it. It reads that parser's
// tokens, so that what a string or a number is cannot differ. Its error names the first part that is not
// compiled, which Casbin may well evaluate.
func (ns *Namespace) Parse(text string) (*Node, error) {
	functions := map[string]govaluate.ExpressionFunction{}
	for name := range model.Builtins {
		functions[name] = func(...any) (any, error) { return name, nil }
	}
	for name := range ns.Roles {
		functions[name] = func(...any) (any, error) { return name, nil }
	}
	parsed, err := govaluate.NewEvaluableExpressionWithFunctions(text, functions)
	if err != nil {
		return nil, err
	}
	p := &parser{Namespace: ns, tokens: parsed.Tokens()}
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
	*Namespace
	tokens []govaluate.ExpressionToken
	next   int
}

// level is one precedence of operators.
type level struct {
	kind      govaluate.TokenKind
	operators map[string]Operator
	chains    bool // a second operator of the level may follow, and takes the first one's result
}

// precedences begin with the operators that bind least. What is not among them is not compiled.
var precedences = []level{
	{govaluate.LOGICALOP, map[string]Operator{"||": OpOr}, true},
	{govaluate.LOGICALOP, map[string]Operator{"&&": OpAnd}, true},
	{govaluate.COMPARATOR, map[string]Operator{
		"==": OpEqual, "!=": OpNotEqual, "<": OpLess, "<=": OpLessOrEqual, ">": OpGreater, ">=": OpGreaterOrEqual,
		"in": OpIn, "=~": OpMatches, "!~": OpNot,
	}, false},
	{govaluate.MODIFIER, map[string]Operator{"+": OpAdd, "-": OpSubtract}, true},
	{govaluate.MODIFIER, map[string]Operator{"*": OpMultiply, "/": OpDivide, "%": opModulo}, true},
}

func (p *parser) binary(depth int) (*Node, error) {
	if depth == len(precedences) {
		return p.operand()
	}
	left, err := p.binary(depth + 1)
	for err == nil {
		op, found := p.operator(depth)
		if !found {
			return left, nil
		}
		var right *Node
		if op == OpIn {
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
func (p *parser) operator(depth int) (Operator, bool) {
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

func newBinary(op Operator, left, right *Node) (*Node, error) {
	switch op {
	case OpMatches:
		return newPatternCall(&Node{Op: OpMatches, Name: "regexMatch", Args: []*Node{left, right}})
	case OpNot: // !~
		matches, err := newBinary(OpMatches, left, right)
		return &Node{Op: OpNot, Args: []*Node{matches}}, err
	default:
		return &Node{Op: op, Args: []*Node{left, right}}, nil
	}
}

// list reads what stands behind in: a list in parentheses, or something that is a list.
func (p *parser) list() (*Node, error) {
	if p.next == len(p.tokens) || p.tokens[p.next].Kind != govaluate.CLAUSE {
		return p.binary(3)
	}
	p.next++
	start := p.next
	elements, err := p.elements()
	switch {
	case err != nil:
		return nil, err
	case len(elements) == 1 && elements[0].Op != OpLiteral:
		return elements[0], nil // which must be a list itself
	case len(elements) == 1 && p.next > start+2:
		return nil, fmt.Errorf("parentheses in parentheses behind in are not compiled")
	}
	return &Node{Op: OpList, Args: elements}, nil
}

// elements reads a list up to its closing parenthesis.
func (p *parser) elements() ([]*Node, error) {
	var elements []*Node
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

func (p *parser) operand() (*Node, error) {
	if p.next == len(p.tokens) {
		return nil, fmt.Errorf("the expression is not finished")
	}
	token := p.tokens[p.next]
	p.next++
	switch token.Kind {
	case govaluate.PREFIX:
		op := map[any]Operator{"!": OpNot, "-": OpNegate}[token.Value]
		if op == OpLiteral || p.next < len(p.tokens) && p.tokens[p.next].Kind == govaluate.PREFIX {
			return nil, fmt.Errorf("the prefix %v is not compiled here", token.Value)
		}
		operand, err := p.operand()
		return &Node{Op: op, Args: []*Node{operand}}, err
	case govaluate.NUMERIC, govaluate.STRING, govaluate.BOOLEAN:
		return &Node{Op: OpLiteral, Literal: NewValue(token.Value)}, nil
	case govaluate.PATTERN: // a string behind =~, which the parser has compiled
		return &Node{Op: OpLiteral, Literal: NewValue(fmt.Sprint(token.Value))}, nil
	case govaluate.TIME:
		instant, _ := token.Value.(time.Time)
		return &Node{Op: OpLiteral, Literal: NewValue(float64(instant.Unix()))}, nil
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
func (p *parser) variable(name string, path []string) (*Node, error) {
	key, own, _ := strings.Cut(name, "_")
	if i := model.FieldIndex(p.RequestFields, own); key == p.Request && i >= 0 {
		return &Node{Op: OpRequest, Field: i, Name: own, Path: path}, nil
	}
	if i := model.FieldIndex(p.Policies, own); key == p.Policy && i >= 0 && len(path) == 0 {
		return &Node{Op: OpPolicy, Field: i, Name: own}, nil
	}
	return nil, fmt.Errorf("the name %s is not compiled", name)
}

func (p *parser) call(token govaluate.ExpressionToken) (*Node, error) {
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
	return newPatternCall(&Node{Op: OpCall, Name: name, Args: args})
}

// newPatternCall returns the call of a function. Its pattern, if it takes one, must be a field of the rule or a
// literal, which can be compiled once.
func newPatternCall(call *Node) (*Node, error) {
	at, ok := model.PatternArguments[call.Name]
	if !ok || at >= len(call.Args) {
		return call, nil
	}
	switch what := call.Args[at]; {
	case what.Op == OpPolicy:
	case what.Op == OpLiteral && what.Literal.Kind == IsString && call.Name != "eval":
		compiled, err := pattern.New(call.Name, what.Literal.Text)
		if err != nil {
			return nil, err
		}
		call.Patterns = compiled
	default:
		return nil, fmt.Errorf("%s with a pattern that is neither a field of the rule nor a string is not compiled", call.Name)
	}
	return call, nil
}

// String returns the node much as it was written.
func (n *Node) String() string {
	return n.Format(func(field *Node) string { return "p." + field.Name })
}

// Format is String with the rule's fields written as that function does.
func (n *Node) Format(policyField func(*Node) string) string {
	args := make([]string, len(n.Args))
	for i, arg := range n.Args {
		args[i] = arg.Format(policyField)
		if arg.Op == OpOr && n.Op == OpAnd || n.Op == OpNot && len(arg.Args) > 1 && arg.Op != OpCall {
			args[i] = "(" + args[i] + ")"
		}
	}
	switch n.Op {
	case OpLiteral:
		return fmt.Sprintf("%#v", n.Literal.Plain())
	case OpRequest:
		return strings.Join(append([]string{"r", n.Name}, n.Path...), ".")
	case OpPolicy:
		return policyField(n)
	case OpCall:
		return n.Name + "(" + strings.Join(args, ", ") + ")"
	case OpMatches:
		return strings.Join(args, " =~ ")
	case OpList:
		return "(" + strings.Join(args, ", ") + ")"
	case OpNot, OpNegate:
		return operatorTexts[n.Op] + args[0]
	default:
		return strings.Join(args, " "+operatorTexts[n.Op]+" ")
	}
}

var operatorTexts = map[Operator]string{
	OpNot: "!", OpNegate: "-", OpAnd: "&&", OpOr: "||", OpEqual: "==", OpNotEqual: "!=", OpLess: "<", OpLessOrEqual: "<=",
	OpGreater: ">", OpGreaterOrEqual: ">=", OpIn: "in", OpAdd: "+", OpSubtract: "-", OpMultiply: "*", OpDivide: "/", opModulo: "%",
}

// Calls reports whether the function is called in the node, or below it.
func (n *Node) Calls(function string) bool {
	return n.Op == OpCall && n.Name == function || slices.ContainsFunc(n.Args, func(arg *Node) bool { return arg.Calls(function) })
}
