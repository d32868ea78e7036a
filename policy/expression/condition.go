package expression

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/kasbah-authz/kasbah/policy"
)

// Condition compiles an expression that is true or false of a principal and reads nothing else, so that what it says
// once of a principal stays said. What is wrong with its text is a [*SyntaxError]. What it returns is an error where the
// condition cannot be evaluated.
func Condition(source string) (func(*policy.Principal) (bool, error), error) {
	checked, err := checkPrincipal(source)
	if err != nil {
		return nil, err
	}
	holds, err := predicate(source, checked)
	if err != nil {
		return nil, err
	}
	return func(principal *policy.Principal) (bool, error) { return holds(&policy.Request{}, principal) }, nil
}

// Predicate compiles an expression that is true or false of a request and its principal. What is wrong with its text is a
// [*SyntaxError]. What it returns is an error where the predicate cannot be evaluated.
func Predicate(source string) (func(*policy.Request, *policy.Principal) (bool, error), error) {
	checked, err := check(source)
	if err != nil {
		return nil, err
	}
	return predicate(source, checked)
}

func predicate(source string, checked *cel.Ast) (func(*policy.Request, *policy.Principal) (bool, error), error) {
	if kind := checked.OutputType(); !kind.IsExactType(cel.BoolType) && !kind.IsExactType(cel.DynType) {
		return nil, &SyntaxError{Line: 1, Column: 1, Message: fmt.Sprintf("a condition is true or false, and this is %s", kind)}
	}
	compiled, err := Compile(source)
	if err != nil {
		return nil, err
	}
	return func(req *policy.Request, principal *policy.Principal) (bool, error) {
		value, err := compiled.Value(req, principal)
		if err != nil {
			return false, err
		}
		held, ok := value.(bool)
		if !ok {
			return false, fmt.Errorf("evaluating %s: it is no truth value", source)
		}
		return held, nil
	}, nil
}

// Claim compiles an expression of a principal that reads nothing else. What is wrong with its text is a [*SyntaxError]. What
// it returns says the value as [Expression.Value] does, and present false for null, and for a claim that is not there.
func Claim(source string) (func(*policy.Principal) (value any, present bool, err error), error) {
	if _, err := checkPrincipal(source); err != nil {
		return nil, err
	}
	compiled, err := Compile(source)
	if err != nil {
		return nil, err
	}
	return func(principal *policy.Principal) (any, bool, error) {
		value, err := compiled.optional(newScope(&policy.Request{}, principal))
		if err != nil {
			return nil, false, compiled.fault(err)
		}
		return value, value != nil, nil
	}, nil
}

// checkPrincipal refuses an expression that reads anything but the principal.
func checkPrincipal(source string) (*cel.Ast, error) {
	checked, err := check(source)
	if err != nil {
		return nil, err
	}
	for _, reference := range checked.NativeRep().ReferenceMap() {
		if variableNamed(reference.Name) != nil && !strings.HasPrefix(reference.Name, "principal.") {
			return nil, &SyntaxError{Line: 1, Column: 1, Message: fmt.Sprintf("%s is not there: what is said of a credential sees the principal alone", reference.Name)}
		}
	}
	return checked, nil
}
