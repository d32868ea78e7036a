package expression

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/kasbah-authz/kasbah/policy"
)

// Expression is a compiled expression. It is immutable and safe for use by many goroutines at once.
type Expression struct {
	source  string
	direct  *direct     // where the expression has such a form
	program cel.Program // where it has none
}

// Compile reads an expression. What is wrong with its text is a [*SyntaxError].
func Compile(source string) (*Expression, error) {
	checked, err := check(source)
	if err != nil {
		return nil, err
	}
	e := &Expression{source: source}
	if e.direct = newDirect(checked.NativeRep().Expr()); e.direct != nil {
		return e, nil
	}
	if e.program, err = plan(checked); err != nil {
		return nil, err
	}
	return e, nil
}

func check(source string) (*cel.Ast, error) {
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("building the environment of expressions: %w", err)
	}
	checked, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, syntaxError(source, issues)
	}
	return checked, nil
}

func plan(checked *cel.Ast) (cel.Program, error) {
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("building the environment of expressions: %w", err)
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	if err != nil {
		return nil, &SyntaxError{Message: err.Error()}
	}
	return program, nil
}

// Source returns the text that was compiled.
func (e *Expression) Source() string { return e.source }

// Value evaluates the expression. The result is nil, a string, bool, int64, uint64, float64, []byte,
// time.Time in UTC, time.Duration, []any or map[string]any. A nil principal is the anonymous one.
func (e *Expression) Value(req *policy.Request, principal *policy.Principal) (any, error) {
	s := newScope(req, principal)
	if e.direct != nil && e.direct.isTextual() {
		text, found, err := e.direct.textual(s)
		if err == nil && !found {
			err = missingKey(e.direct.keys[0])
		}
		if err != nil {
			return nil, e.fault(err)
		}
		return text, nil
	}
	result, err := e.evaluateNative(s)
	if err != nil {
		return nil, e.fault(err)
	}
	return result, nil
}

// Text evaluates the expression for a header: a string as it is, a list of strings joined with commas, a
// bool, number, timestamp (RFC 3339) or duration printed. What is empty is absent, ok is then false: null, a
// key or claim that is not there, an empty list, an empty string. A map is an error, and so is a list with
// an item that holds a comma, because its reader would take the one for two. Text fits
// [policy.Injection].
func (e *Expression) Text(req *policy.Request, principal *policy.Principal) (value string, ok bool, err error) {
	s := newScope(req, principal)
	switch {
	case e.direct != nil && e.direct.isTextual():
		value, _, err = e.direct.textual(s)
	case e.direct != nil && e.direct.list != nil:
		value, err = joined(e.direct.list(s))
	default:
		value, err = e.text(s)
	}
	if err != nil {
		return "", false, e.fault(err)
	}
	return value, value != "", nil
}

func (e *Expression) text(s scope) (string, error) {
	value, err := e.optional(s)
	if err != nil || value == nil {
		return "", err
	}
	list, ok := value.([]any)
	if !ok {
		return printed(value)
	}
	items, err := stringsOf(list)
	if err != nil {
		return "", err
	}
	return joined(items)
}

func joined(items []string) (string, error) {
	for _, item := range items {
		if strings.IndexByte(item, ',') >= 0 {
			return "", readingError("an item of the list holds a comma, and the list is joined with commas")
		}
	}
	text := strings.Join(items, ",")
	if !utf8.ValidString(text) {
		return "", errNotUTF8
	}
	return text, nil
}

// Strings evaluates the expression for a list of names, such as roles. One string that is not empty is a
// list of one; null, and a key or claim that is not there, are a list of none. The caller must not change
// the list.
func (e *Expression) Strings(req *policy.Request, principal *policy.Principal) ([]string, error) {
	s := newScope(req, principal)
	if e.direct != nil && e.direct.list != nil {
		list := e.direct.list(s)
		for _, item := range list {
			if !utf8.ValidString(item) {
				return nil, e.fault(errNotUTF8)
			}
		}
		return list, nil
	}
	value, err := e.optional(s)
	if err != nil {
		return nil, e.fault(err)
	}
	switch v := value.(type) {
	case nil:
		return nil, nil
	case string:
		if v == "" {
			return nil, nil
		}
		return []string{v}, nil
	case []any:
		items, err := stringsOf(v)
		if err != nil {
			return nil, e.fault(err)
		}
		return items, nil
	}
	return nil, e.fault(readingError(fmt.Sprintf("the result is a %s, and a list of strings is meant", kindOf(value))))
}

func stringsOf(list []any) ([]string, error) {
	items := make([]string, len(list))
	for i, item := range list {
		text, ok := item.(string)
		if !ok {
			return nil, readingError(fmt.Sprintf("item %d of the list is a %s and no string", i+1, kindOf(item)))
		}
		items[i] = text
	}
	return items, nil
}

// optional evaluates the expression; nil is null, or a key that is not there.
func (e *Expression) optional(s scope) (any, error) {
	value, err := e.evaluateNative(s)
	if isMissing(err) {
		return nil, nil
	}
	return value, err
}

func (e *Expression) evaluateNative(s scope) (any, error) {
	value, err := e.evaluate(s)
	if err != nil {
		return nil, err
	}
	return native(value)
}

// evaluate returns CEL's value. A value that is an error is returned as one.
func (e *Expression) evaluate(s scope) (ref.Val, error) {
	if e.direct != nil {
		value := e.direct.value(s)
		if err, ok := value.(*types.Err); ok {
			return nil, err
		}
		return value, nil
	}
	value, _, err := e.program.Eval(newActivation(s))
	return value, err
}

func newScope(req *policy.Request, principal *policy.Principal) scope {
	if principal == nil {
		principal = &policy.Principal{}
	}
	return scope{req, principal}
}
