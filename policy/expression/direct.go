package expression

import (
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// direct is an expression that is nothing but a variable, or one key of a map, or a path into the claims. Most
// expressions of a configuration are, and reading them needs no CEL. The results are those of CEL.
type direct struct {
	*variable
	keys []string
}

// newDirect returns the direct form of a checked expression, nil if it has none.
func newDirect(e ast.Expr) *direct {
	var keys []string
	for {
		switch e.Kind() {
		case ast.IdentKind:
			v := variableNamed(e.AsIdent())
			if v == nil || !v.takes(len(keys)) {
				return nil
			}
			return &direct{v, keys}
		case ast.SelectKind:
			if e.AsSelect().IsTestOnly() {
				return nil
			}
			keys = append([]string{e.AsSelect().FieldName()}, keys...)
			e = e.AsSelect().Operand()
		case ast.CallKind:
			key, ok := indexKey(e)
			if !ok {
				return nil
			}
			keys = append([]string{key}, keys...)
			e = e.AsCall().Args()[0]
		default:
			return nil
		}
	}
}

// indexKey returns the literal string of m["key"].
func indexKey(e ast.Expr) (string, bool) {
	call := e.AsCall()
	if call.FunctionName() != operators.Index || len(call.Args()) != 2 || call.Args()[1].Kind() != ast.LiteralKind {
		return "", false
	}
	key, ok := call.Args()[1].AsLiteral().(types.String)
	return string(key), ok
}

// takes reports whether the variable can be read directly with that many keys behind it.
func (v *variable) takes(keys int) bool {
	switch {
	case v.lookup != nil, v.lists != nil:
		return keys == 1
	case v.object != nil:
		return keys > 0
	case v.value != nil:
		return true
	}
	return keys == 0
}

// value returns what CEL would.
func (d *direct) value(s scope) ref.Val {
	switch {
	case d.lookup != nil || d.lists != nil:
		t := table{variable: d.variable, scope: s}
		if value, found := t.read(d.keys[0]); value != nil || found {
			return value
		}
		return missing(d.keys[0])
	case d.object != nil:
		return walk(d.object(s), d.keys)
	case d.variable.value != nil:
		value, err := d.variable.value(s)
		if err != nil {
			return types.WrapErr(err)
		}
		return walk(value, d.keys)
	}
	return adapter{}.NativeToValue(d.resolve(s))
}

// textual returns the value of a variable of strings, if it is one.
func (d *direct) textual(s scope) (value string, found bool, err error) {
	if d.text != nil {
		value, found = d.text(s), true
	} else {
		value, found, err = d.lookup(s, d.keys[0])
	}
	switch {
	case err != nil || !found:
		return "", false, err
	case !utf8.ValidString(value):
		return "", false, errNotUTF8
	}
	return value, true, nil
}

func (d *direct) isTextual() bool { return d.text != nil || d.lookup != nil }

// walk follows keys into claims or a body, without a CEL value for what lies between.
func walk(value any, keys []string) ref.Val {
	for _, key := range keys {
		if inner, ok := value.(map[string]any); ok {
			next, found := inner[key]
			if !found {
				return missing(key)
			}
			value = next
			continue
		}
		if inner, ok := value.(map[string]string); ok {
			next, found := inner[key]
			if !found {
				return missing(key)
			}
			value = next
			continue
		}
		switch v := (adapter{}).NativeToValue(value).(type) {
		case *types.Err:
			return v
		case traits.Mapper:
			next, found := v.Find(types.String(key))
			if !found {
				return missing(key)
			}
			value = next
		case traits.Lister:
			return types.WrapErr(errListKey)
		default:
			return missing(key)
		}
	}
	return adapter{}.NativeToValue(value)
}

func missing(key string) ref.Val { return types.WrapErr(missingKey(key)) }
