package enforcer

import (
	"fmt"
	"reflect"
)

// kind is what a value is, as far as operators tell values apart.
type kind uint8

const (
	isNothing kind = iota
	isString
	isNumber
	isBool
	isList  // []any
	isOther // a map
)

// value is what a part of a matcher evaluates to. Strings and numbers are held without an allocation.
type value struct {
	kind   kind
	text   string
	number float64 // of a bool 0 or 1
	other  any     // a list, or what has no kind of its own
}

// newValue takes a value as Casbin's expressions do: every number is a float64.
func newValue(v any) value {
	switch v := v.(type) {
	case nil:
		return value{}
	case string:
		return value{kind: isString, text: v}
	case bool:
		return boolean(v)
	case float64:
		return value{kind: isNumber, number: v}
	case []any:
		return value{kind: isList, other: v}
	}
	if r := reflect.ValueOf(v); r.CanInt() {
		return value{kind: isNumber, number: float64(r.Int())}
	} else if r.CanUint() && r.Kind() != reflect.Uint && r.Kind() != reflect.Uintptr {
		return value{kind: isNumber, number: float64(r.Uint())}
	} else if r.Kind() == reflect.Float32 {
		return value{kind: isNumber, number: r.Float()}
	}
	return value{kind: isOther, other: v}
}

func boolean(b bool) value {
	if b {
		return value{kind: isBool, number: 1}
	}
	return value{kind: isBool}
}

func text(s string) value { return value{kind: isString, text: s} }

func (v value) holds() bool { return v.number != 0 }

// plain returns the value as Casbin's expressions have it.
func (v value) plain() any {
	switch v.kind {
	case isNothing:
		return nil
	case isString:
		return v.text
	case isNumber:
		return v.number
	case isBool:
		return v.number != 0
	default:
		return v.other
	}
}

// equals is the operator ==.
func (v value) equals(other value) bool {
	if v.kind != other.kind {
		return false
	}
	switch v.kind {
	case isNothing:
		return true
	case isString:
		return v.text == other.text
	case isNumber, isBool:
		return v.number == other.number
	default:
		return reflect.DeepEqual(v.other, other.other)
	}
}

// same is how the operator in compares. Like Casbin it panics at two maps or two lists.
func (v value) same(other value) bool { return v.plain() == other.plain() }

// attribute returns what the path leads to from the value.
func (v value) attribute(name string, path []string) (value, error) {
	current := v.plain()
	for _, key := range path {
		attributes, ok := current.(map[string]any)
		if !ok {
			return value{}, fmt.Errorf("%s has no attributes, and %s is asked for", name, key)
		}
		current, ok = attributes[key]
		if !ok {
			return value{}, fmt.Errorf("%s has no attribute %s", name, key)
		}
		name = key
	}
	return newValue(current), nil
}
