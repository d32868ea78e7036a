package expression

import (
	"errors"
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// table is a map of the request as CEL sees it. It holds no map: each lookup goes to the request itself, so
// that nothing is built for what is not asked. A key whose value is an error, as a header's that came
// twice, is there all the same: has() and in find it, and only asking for its value is the error.
type table struct {
	*variable
	scope scope
	known []string // the keys, once they were asked for
}

var _ traits.Mapper = (*table)(nil)

// Find returns the value of a key.
func (t *table) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	return t.find(string(name))
}

// FindStringKey is asked by CEL before Find when the key is a string, also for has(). CEL takes no error from
// it; where there is one and the key is not known to be there, it is Find that returns it.
func (t *table) FindStringKey(name string) (any, bool) {
	value, found := t.find(name)
	return value, found
}

func (t *table) find(name string) (ref.Val, bool) {
	if t.lists != nil {
		values, found := t.lists(t.scope, name)
		if !found {
			return nil, false
		}
		return listValue(values), true
	}
	value, found, err := t.lookup(t.scope, name)
	switch {
	case err != nil:
		return types.WrapErr(err), found
	case !found:
		return nil, false
	}
	return textValue(value), true
}

// Get returns the value of a key, or CEL's "no such key".
func (t *table) Get(key ref.Val) ref.Val {
	value, found := t.Find(key)
	if value == nil && !found {
		name, _ := key.(types.String)
		return missing(string(name))
	}
	return value
}

// Contains reports whether there is such a key. A map that cannot be read at all is an error.
func (t *table) Contains(key ref.Val) ref.Val {
	value, found := t.Find(key)
	if types.IsError(value) && !found {
		return value
	}
	return types.Bool(found)
}

func (t *table) keys() ([]string, error) {
	if t.known == nil {
		known, err := t.names(t.scope)
		if err != nil {
			return nil, err
		}
		t.known = known
	}
	return t.known, nil
}

// Size returns the number of keys.
func (t *table) Size() ref.Val {
	keys, err := t.keys()
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Int(len(keys))
}

// Iterator goes over the keys in their order. Those of a map that cannot be read are one error.
func (t *table) Iterator() traits.Iterator {
	keys, err := t.keys()
	if err != nil {
		return types.NewRefValList(adapter{}, []ref.Val{types.WrapErr(err)}).Iterator()
	}
	return types.NewStringList(adapter{}, keys).Iterator()
}

// Equal compares key by key. A value that is an error makes the comparison one.
func (t *table) Equal(other ref.Val) ref.Val {
	mapper, ok := other.(traits.Mapper)
	if !ok {
		return types.False
	}
	keys, err := t.keys()
	if err != nil {
		return types.WrapErr(err)
	}
	size, theirs := t.Size(), mapper.Size()
	if types.IsError(theirs) {
		return theirs
	}
	result := types.Bool(size == theirs)
	for _, key := range keys {
		value, _ := t.find(key)
		if types.IsError(value) {
			return value
		}
		their, found := mapper.Find(types.String(key))
		if types.IsError(their) {
			return their
		}
		result = result && types.Bool(found && types.Equal(value, their) == types.True)
	}
	return result
}

// ConvertToNative is not supported: nothing that an expression can say asks for it.
func (t *table) ConvertToNative(reflect.Type) (any, error) {
	return nil, errors.New("a map of the request has no other form")
}

// ConvertToType converts to the map's own type only.
func (t *table) ConvertToType(kind ref.Type) ref.Val {
	switch kind {
	case types.MapType:
		return t
	case types.TypeType:
		return types.MapType
	}
	return types.NewErr("a map cannot be converted to %v", kind)
}

// Type returns CEL's map type.
func (t *table) Type() ref.Type { return types.MapType }

// Value returns the table itself.
func (t *table) Value() any { return t }
