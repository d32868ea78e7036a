package matcher

import (
	"fmt"
	"reflect"
)

// kind is what a value is, as far as operators tell values apart.
type kind uint8

// What a value is.
const (
	isNothing kind = iota
	IsString
	IsNumber
	IsBool
	IsList  // []any
	IsOther // a map
)

// Value is what a part of a matcher evaluates to. Strings and numbers are held without an allocation.
type Value struct {
	Kind   kind
	Text   string
	Number float64 // of a bool 0 or 1
	Other  any     // a list, or what has no kind of its own
}

// NewValue takes a value as Casbin's expressions do: every number is a float64.
func NewValue(v any) Value {
	switch v := v.(type) {
	case nil:
		return Value{}
	case string:
		return Value{Kind: IsString, Text: v}
	case bool:
		return Bool(v)
	case float64:
		return Value{Kind: IsNumber, Number: v}
	case []any:
		return Value{Kind: IsList, Other: v}
	}
	if r := reflect.ValueOf(v); r.CanInt() {
		return Value{Kind: IsNumber, Number: float64(r.Int())}
	} else if r.CanUint() && r.Kind() != reflect.Uint && r.Kind() != reflect.Uintptr {
		return Value{Kind: IsNumber, Number: float64(r.Uint())}
	} else if r.Kind() == reflect.Float32 {
		return Value{Kind: IsNumber, Number: r.Float()}
	}
	return Value{Kind: IsOther, Other: v}
}

// Bool returns a truth value.
func Bool(b bool) Value {
	if b {
		return Value{Kind: IsBool, Number: 1}
	}
	return Value{Kind: IsBool}
}

// Text returns a string.
func Text(s string) Value { return Value{Kind: IsString, Text: s} }

// Holds reports whether a truth value is true.
func (v Value) Holds() bool { return v.Number != 0 }

// Plain returns the value as Casbin's expressions have it.
func (v Value) Plain() any {
	switch v.Kind {
	case isNothing:
		return nil
	case IsString:
		return v.Text
	case IsNumber:
		return v.Number
	case IsBool:
		return v.Number != 0
	default:
		return v.Other
	}
}

// Equals is the operator ==.
func (v Value) Equals(other Value) bool {
	if v.Kind != other.Kind {
		return false
	}
	switch v.Kind {
	case isNothing:
		return true
	case IsString:
		return v.Text == other.Text
	case IsNumber, IsBool:
		return v.Number == other.Number
	default:
		return reflect.DeepEqual(v.Other, other.Other)
	}
}

// Same is how the operator in compares. Like Casbin it panics at two maps or two lists.
func (v Value) Same(other Value) bool { return v.Plain() == other.Plain() }

// Attribute returns what the path leads to from the value.
func (v Value) Attribute(name string, path []string) (Value, error) {
	current := v.Plain()
	for _, key := range path {
		attributes, ok := current.(map[string]any)
		if !ok {
			return Value{}, fmt.Errorf("%s has no attributes, and %s is asked for", name, key)
		}
		current, ok = attributes[key]
		if !ok {
			return Value{}, fmt.Errorf("%s has no attribute %s", name, key)
		}
		name = key
	}
	return NewValue(current), nil
}
