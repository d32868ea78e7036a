package compiled

import (
	"errors"
	"fmt"
	"math"

	"github.com/casbin/casbin/v2/util"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/index"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/matcher"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/pattern"
)

// Frame is what an expression is evaluated with: one request, and one rule.
type Frame struct {
	index.Meter
	values  []matcher.Value // of the request's fields
	Row     []index.Symbol  // of the rule's fields
	Within  *Policy         // what the rule's symbols mean, its patterns and the role links
	caller  caller
	held    []heldRoles     // what was found out about names in this request
	heldAt  map[heldKey]int // where in held, once that is long
	symbols []index.Symbol  // room for that
}

var errKinds = errors.New("an operator is given values of a kind that it does not take")

// evaluate returns what the node is for that request and rule. Where Casbin returns an error or panics, it
// does so too; whoever calls it catches panics.
func (f *Frame) evaluate(n *matcher.Node) (matcher.Value, error) {
	switch n.Op {
	case matcher.OpLiteral:
		return n.Literal, nil
	case matcher.OpPolicy:
		return matcher.Text(f.Within.Text(f.Row[n.Field])), nil
	case matcher.OpRequest:
		if len(n.Path) == 0 {
			return f.values[n.Field], nil
		}
		return f.values[n.Field].Attribute(n.Name, n.Path)
	case matcher.OpCall:
		return f.call(n)
	case matcher.OpMatches:
		return f.matches(n)
	case matcher.OpList:
		list, err := f.arguments(n.Args)
		elements := make([]any, len(list))
		for i := range list {
			elements[i] = list[i].Plain()
		}
		return matcher.Value{Kind: matcher.IsList, Other: elements}, err
	case matcher.OpAnd, matcher.OpOr:
		return f.logical(n)
	default:
		return f.operate(n)
	}
}

func (f *Frame) operate(n *matcher.Node) (matcher.Value, error) {
	left, err := f.evaluate(n.Args[0])
	if err != nil {
		return matcher.Value{}, err
	}
	if len(n.Args) == 1 {
		return unary(n.Op, left)
	}
	right, err := f.evaluate(n.Args[1])
	if err != nil {
		return matcher.Value{}, err
	}
	f.Charge(weight(n.Op, left, right))
	return binary(n.Op, left, right)
}

// weight is what an operator costs beyond the step that asking about a rule is.
func weight(op matcher.Operator, left, right matcher.Value) int {
	switch op {
	case matcher.OpIn:
		elements, _ := right.Other.([]any)
		return len(elements) / index.StepElements
	case matcher.OpAdd:
		return (len(left.Text) + len(right.Text)) / index.StepBytes
	default:
		return 0
	}
}

// logical evaluates the right side only where the left one leaves it open.
func (f *Frame) logical(n *matcher.Node) (matcher.Value, error) {
	left, err := f.evaluate(n.Args[0])
	if err != nil {
		return matcher.Value{}, err
	}
	if left.Kind == matcher.IsBool && left.Holds() == (n.Op == matcher.OpOr) {
		return left, nil
	}
	right, err := f.evaluate(n.Args[1])
	if err != nil {
		return matcher.Value{}, err
	}
	if left.Kind != matcher.IsBool || right.Kind != matcher.IsBool {
		return matcher.Value{}, errKinds
	}
	return right, nil
}

func unary(op matcher.Operator, operand matcher.Value) (matcher.Value, error) {
	switch {
	case op == matcher.OpNot && operand.Kind == matcher.IsBool:
		return matcher.Bool(!operand.Holds()), nil
	case op == matcher.OpNegate && operand.Kind == matcher.IsNumber:
		return matcher.Value{Kind: matcher.IsNumber, Number: -operand.Number}, nil
	}
	return matcher.Value{}, errKinds
}

func binary(op matcher.Operator, left, right matcher.Value) (matcher.Value, error) {
	switch op {
	case matcher.OpEqual:
		return matcher.Bool(left.Equals(right)), nil
	case matcher.OpNotEqual:
		return matcher.Bool(!left.Equals(right)), nil
	case matcher.OpIn:
		return in(left, right)
	case matcher.OpLess, matcher.OpLessOrEqual, matcher.OpGreater, matcher.OpGreaterOrEqual:
		return compare(op, left, right)
	case matcher.OpAdd:
		if left.Kind == matcher.IsString || right.Kind == matcher.IsString {
			return matcher.Text(fmt.Sprintf("%v%v", left.Plain(), right.Plain())), nil
		}
	default: // for numbers only
	}
	if left.Kind != matcher.IsNumber || right.Kind != matcher.IsNumber {
		return matcher.Value{}, errKinds
	}
	return matcher.Value{Kind: matcher.IsNumber, Number: arithmetic(op, left.Number, right.Number)}, nil
}

func arithmetic(op matcher.Operator, left, right float64) float64 {
	switch op {
	case matcher.OpAdd:
		return left + right
	case matcher.OpSubtract:
		return left - right
	case matcher.OpMultiply:
		return left * right
	case matcher.OpDivide:
		return left / right
	default:
		return math.Mod(left, right)
	}
}

func compare(op matcher.Operator, left, right matcher.Value) (matcher.Value, error) {
	less, equal := left.Text < right.Text, left.Text == right.Text
	switch {
	case left.Kind == matcher.IsString && right.Kind == matcher.IsString:
	case left.Kind == matcher.IsNumber && right.Kind == matcher.IsNumber:
		if math.IsNaN(left.Number) || math.IsNaN(right.Number) {
			return matcher.Bool(false), nil
		}
		less, equal = left.Number < right.Number, left.Number == right.Number
	default:
		return matcher.Value{}, errKinds
	}
	switch op {
	case matcher.OpLess:
		return matcher.Bool(less), nil
	case matcher.OpLessOrEqual:
		return matcher.Bool(less || equal), nil
	case matcher.OpGreater:
		return matcher.Bool(!less && !equal), nil
	default:
		return matcher.Bool(!less), nil
	}
}

func in(left, right matcher.Value) (matcher.Value, error) {
	elements, ok := right.Other.([]any)
	if !ok {
		return matcher.Value{}, errKinds
	}
	for _, element := range elements {
		if left.Same(matcher.NewValue(element)) {
			return matcher.Bool(true), nil
		}
	}
	return matcher.Bool(false), nil
}

// arguments evaluates a list. As in Casbin a list in the first place stands for its elements.
func (f *Frame) arguments(nodes []*matcher.Node) ([]matcher.Value, error) {
	values := make([]matcher.Value, 0, len(nodes))
	for i, n := range nodes {
		v, err := f.evaluate(n)
		if err != nil {
			return nil, err
		}
		elements, ok := v.Other.([]any)
		if !ok || i > 0 {
			values = append(values, v)
			continue
		}
		f.Charge(len(elements) / index.StepElements)
		for _, element := range elements {
			values = append(values, rawValue(element))
		}
	}
	return values, nil
}

// rawValue is an element of a list, whose numbers are what they are: a function takes strings only.
func rawValue(v any) matcher.Value {
	if s, ok := v.(string); ok {
		return matcher.Text(s)
	}
	return matcher.Value{Kind: matcher.IsOther, Other: v}
}

func (f *Frame) call(n *matcher.Node) (matcher.Value, error) {
	if n.Name == "eval" {
		return f.evaluate(f.Within.rule(f.Row[n.Args[0].Field]))
	}
	if v, fast, err := f.callPlain(n); fast {
		return v, err
	}
	args, err := f.arguments(n.Args)
	if err != nil {
		return matcher.Value{}, err
	}
	definition, isRole := f.Within.Program.Names.Roles[n.Name]
	if isRole && definition.Conditions > 0 && len(args) > 3 {
		args = args[:3] // as a role definition with conditions, which does not look at the others
	}
	for _, arg := range args {
		if arg.Kind != matcher.IsString {
			return matcher.Value{}, fmt.Errorf("%s takes strings", n.Name)
		}
	}
	want, builtin := model.Builtins[n.Name]
	if len(args) < 2 || builtin && len(args) != want.Least {
		return matcher.Value{}, fmt.Errorf("%s is called with %d arguments", n.Name, len(args))
	}
	f.Charge(len(args[0].Text) / index.StepBytes)
	switch n.Name {
	case "keyGet":
		return matcher.Text(util.KeyGet(args[0].Text, args[1].Text)), nil
	case "keyGet2":
		return matcher.Text(util.KeyGet2(args[0].Text, args[1].Text, args[2].Text)), nil
	case "keyGet3":
		return matcher.Text(util.KeyGet3(args[0].Text, args[1].Text, args[2].Text)), nil
	}
	if builtin {
		compiled, err := pattern.New(n.Name, args[1].Text)
		if err != nil {
			return matcher.Value{}, err
		}
		return matched(compiled.Match(args[0].Text))
	}
	domain := ""
	if len(args) > 2 && definition.Names > 2 {
		domain = args[2].Text
	}
	return matcher.Bool(f.hasRole(n.Name, args[0].Text, args[1].Text, domain)), nil
}

func matched(holds bool, err error) (matcher.Value, error) { return matcher.Bool(holds), err }

// matches is the operator =~. Unlike a function it takes no list for its elements.
func (f *Frame) matches(n *matcher.Node) (matcher.Value, error) {
	v, fast, err := f.callPlain(n)
	if fast || err != nil {
		return v, err
	}
	key, err := f.evaluate(n.Args[0])
	if err != nil {
		return matcher.Value{}, err
	}
	if key.Kind != matcher.IsString {
		return matcher.Value{}, errKinds
	}
	f.Charge(len(key.Text) / index.StepBytes)
	compiled, err := pattern.New(n.Name, f.Within.Text(f.Row[n.Args[1].Field])) // a rule that is not there has empty fields
	if err != nil {
		return matcher.Value{}, err
	}
	return matched(compiled.Match(key.Text))
}

// callPlain is call for what a matcher has in all but strange cases: a pattern that was compiled, and a string.
func (f *Frame) callPlain(n *matcher.Node) (v matcher.Value, fast bool, err error) {
	if at, ok := model.PatternArguments[n.Name]; !ok || at != 1 || len(n.Args) != 2 {
		return matcher.Value{}, false, nil
	}
	compiled := n.Patterns
	if compiled == nil && n.Args[1].Op == matcher.OpPolicy {
		compiled = f.Within.matcher(n.Name, f.Row[n.Args[1].Field])
	}
	if compiled == nil {
		return matcher.Value{}, false, nil
	}
	key, err := f.evaluate(n.Args[0])
	if err != nil {
		return matcher.Value{}, true, err
	}
	if key.Kind != matcher.IsString {
		return matcher.Value{}, false, nil
	}
	f.Charge(len(key.Text) / index.StepBytes)
	v, err = matched(compiled.Match(key.Text))
	return v, true, err
}
