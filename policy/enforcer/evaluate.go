package enforcer

import (
	"errors"
	"fmt"
	"math"

	"github.com/casbin/casbin/v2/util"
)

// frame is what an expression is evaluated with: one request, and one rule.
type frame struct {
	meter
	values  []value  // of the request's fields
	row     []symbol // of the rule's fields
	within  *layered // what the rule's symbols mean, its patterns and the role links
	caller  caller
	held    []heldRoles     // what was found out about names in this request
	heldAt  map[heldKey]int // where in held, once that is long
	symbols []symbol        // room for that
}

var errKinds = errors.New("an operator is given values of a kind that it does not take")

// evaluate returns what the node is for that request and rule. Where Casbin returns an error or panics, it
// does so too; whoever calls it catches panics.
func (f *frame) evaluate(n *node) (value, error) {
	switch n.op {
	case opLiteral:
		return n.literal, nil
	case opPolicy:
		return text(f.within.text(f.row[n.field])), nil
	case opRequest:
		if len(n.path) == 0 {
			return f.values[n.field], nil
		}
		return f.values[n.field].attribute(n.name, n.path)
	case opCall:
		return f.call(n)
	case opMatches:
		return f.matches(n)
	case opList:
		list, err := f.arguments(n.args)
		elements := make([]any, len(list))
		for i := range list {
			elements[i] = list[i].plain()
		}
		return value{kind: isList, other: elements}, err
	case opAnd, opOr:
		return f.logical(n)
	default:
		return f.operate(n)
	}
}

func (f *frame) operate(n *node) (value, error) {
	left, err := f.evaluate(n.args[0])
	if err != nil {
		return value{}, err
	}
	if len(n.args) == 1 {
		return unary(n.op, left)
	}
	right, err := f.evaluate(n.args[1])
	if err != nil {
		return value{}, err
	}
	f.charge(weight(n.op, left, right))
	return binary(n.op, left, right)
}

// weight is what an operator costs beyond the step that asking about a rule is.
func weight(op operator, left, right value) int {
	switch op {
	case opIn:
		elements, _ := right.other.([]any)
		return len(elements) / stepElements
	case opAdd:
		return (len(left.text) + len(right.text)) / stepBytes
	default:
		return 0
	}
}

// logical evaluates the right side only where the left one leaves it open.
func (f *frame) logical(n *node) (value, error) {
	left, err := f.evaluate(n.args[0])
	if err != nil {
		return value{}, err
	}
	if left.kind == isBool && left.holds() == (n.op == opOr) {
		return left, nil
	}
	right, err := f.evaluate(n.args[1])
	if err != nil {
		return value{}, err
	}
	if left.kind != isBool || right.kind != isBool {
		return value{}, errKinds
	}
	return right, nil
}

func unary(op operator, operand value) (value, error) {
	switch {
	case op == opNot && operand.kind == isBool:
		return boolean(!operand.holds()), nil
	case op == opNegate && operand.kind == isNumber:
		return value{kind: isNumber, number: -operand.number}, nil
	}
	return value{}, errKinds
}

func binary(op operator, left, right value) (value, error) {
	switch op {
	case opEqual:
		return boolean(left.equals(right)), nil
	case opNotEqual:
		return boolean(!left.equals(right)), nil
	case opIn:
		return in(left, right)
	case opLess, opLessOrEqual, opGreater, opGreaterOrEqual:
		return compare(op, left, right)
	case opAdd:
		if left.kind == isString || right.kind == isString {
			return text(fmt.Sprintf("%v%v", left.plain(), right.plain())), nil
		}
	default: // for numbers only
	}
	if left.kind != isNumber || right.kind != isNumber {
		return value{}, errKinds
	}
	return value{kind: isNumber, number: arithmetic(op, left.number, right.number)}, nil
}

func arithmetic(op operator, left, right float64) float64 {
	switch op {
	case opAdd:
		return left + right
	case opSubtract:
		return left - right
	case opMultiply:
		return left * right
	case opDivide:
		return left / right
	default:
		return math.Mod(left, right)
	}
}

func compare(op operator, left, right value) (value, error) {
	less, equal := left.text < right.text, left.text == right.text
	switch {
	case left.kind == isString && right.kind == isString:
	case left.kind == isNumber && right.kind == isNumber:
		if math.IsNaN(left.number) || math.IsNaN(right.number) {
			return boolean(false), nil
		}
		less, equal = left.number < right.number, left.number == right.number
	default:
		return value{}, errKinds
	}
	switch op {
	case opLess:
		return boolean(less), nil
	case opLessOrEqual:
		return boolean(less || equal), nil
	case opGreater:
		return boolean(!less && !equal), nil
	default:
		return boolean(!less), nil
	}
}

func in(left, right value) (value, error) {
	elements, ok := right.other.([]any)
	if !ok {
		return value{}, errKinds
	}
	for _, element := range elements {
		if left.same(newValue(element)) {
			return boolean(true), nil
		}
	}
	return boolean(false), nil
}

// arguments evaluates a list. As in Casbin a list in the first place stands for its elements.
func (f *frame) arguments(nodes []*node) ([]value, error) {
	values := make([]value, 0, len(nodes))
	for i, n := range nodes {
		v, err := f.evaluate(n)
		if err != nil {
			return nil, err
		}
		elements, ok := v.other.([]any)
		if !ok || i > 0 {
			values = append(values, v)
			continue
		}
		f.charge(len(elements) / stepElements)
		for _, element := range elements {
			values = append(values, rawValue(element))
		}
	}
	return values, nil
}

// rawValue is an element of a list, whose numbers are what they are: a function takes strings only.
func rawValue(v any) value {
	if s, ok := v.(string); ok {
		return text(s)
	}
	return value{kind: isOther, other: v}
}

func (f *frame) call(n *node) (value, error) {
	if n.name == "eval" {
		return f.evaluate(f.within.rule(f.row[n.args[0].field]))
	}
	if v, fast, err := f.callPlain(n); fast {
		return v, err
	}
	args, err := f.arguments(n.args)
	if err != nil {
		return value{}, err
	}
	definition, isRole := f.within.program.names.roles[n.name]
	if isRole && definition.conditions > 0 && len(args) > 3 {
		args = args[:3] // as a role definition with conditions, which does not look at the others
	}
	for _, arg := range args {
		if arg.kind != isString {
			return value{}, fmt.Errorf("%s takes strings", n.name)
		}
	}
	want, builtin := builtins[n.name]
	if len(args) < 2 || builtin && len(args) != want.least {
		return value{}, fmt.Errorf("%s is called with %d arguments", n.name, len(args))
	}
	f.charge(len(args[0].text) / stepBytes)
	switch n.name {
	case "keyGet":
		return text(util.KeyGet(args[0].text, args[1].text)), nil
	case "keyGet2":
		return text(util.KeyGet2(args[0].text, args[1].text, args[2].text)), nil
	case "keyGet3":
		return text(util.KeyGet3(args[0].text, args[1].text, args[2].text)), nil
	}
	if builtin {
		compiled, err := newMatcher(n.name, args[1].text)
		if err != nil {
			return value{}, err
		}
		return matched(compiled.match(args[0].text))
	}
	domain := ""
	if len(args) > 2 && definition.names > 2 {
		domain = args[2].text
	}
	return boolean(f.hasRole(n.name, args[0].text, args[1].text, domain)), nil
}

func matched(holds bool, err error) (value, error) { return boolean(holds), err }

// matches is the operator =~. Unlike a function it takes no list for its elements.
func (f *frame) matches(n *node) (value, error) {
	v, fast, err := f.callPlain(n)
	if fast || err != nil {
		return v, err
	}
	key, err := f.evaluate(n.args[0])
	if err != nil {
		return value{}, err
	}
	if key.kind != isString {
		return value{}, errKinds
	}
	f.charge(len(key.text) / stepBytes)
	compiled, err := newMatcher(n.name, f.within.text(f.row[n.args[1].field])) // a rule that is not there has empty fields
	if err != nil {
		return value{}, err
	}
	return matched(compiled.match(key.text))
}

// callPlain is call for what a matcher has in all but strange cases: a pattern that was compiled, and a string.
func (f *frame) callPlain(n *node) (v value, fast bool, err error) {
	if at, ok := patternArguments[n.name]; !ok || at != 1 || len(n.args) != 2 {
		return value{}, false, nil
	}
	compiled := n.patterns
	if compiled == nil && n.args[1].op == opPolicy {
		compiled = f.within.matcher(n.name, f.row[n.args[1].field])
	}
	if compiled == nil {
		return value{}, false, nil
	}
	key, err := f.evaluate(n.args[0])
	if err != nil {
		return value{}, true, err
	}
	if key.kind != isString {
		return value{}, false, nil
	}
	f.charge(len(key.text) / stepBytes)
	v, err = matched(compiled.match(key.text))
	return v, true, err
}
