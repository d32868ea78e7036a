package expression

import (
	"reflect"
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// table is a map of the request as CEL sees it. It holds no map: each lookup goes to the request itself, so
// that nothing is built for what is not asked. A key whose value is an error, as a header's that came
// twice, is there all the same: has() and in find it, and only asking for its value is the error.
//
// CEL's own comparison of maps and lists loses an error that one of their values is. Therefore a table is never
// compared: [bounds] refuses every use of one but to ask it for keys.
type table struct {
	*variable
	scope scope
	// keys are all keys and found the values of some, each once it was asked for: a comprehension may ask
	// for the same value in every round.
	keys  []string
	found map[string]ref.Val
}

var _ traits.Mapper = (*table)(nil)

// newTable returns the table of a variable, or the error that it cannot be read at all.
func newTable(v *variable, s scope) (*table, error) {
	t := &table{variable: v, scope: s}
	if v.sorted == nil {
		return t, nil
	}
	var err error
	t.keys, err = v.sorted(s)
	return t, err
}

// Find returns the value of a key.
func (t *table) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	return t.find(string(name))
}

// FindStringKey is asked by CEL before Find when the key is a string, also for has().
func (t *table) FindStringKey(name string) (any, bool) {
	value, found := t.find(name)
	return value, found
}

func (t *table) find(name string) (ref.Val, bool) {
	if value, ok := t.found[name]; ok {
		return value, true
	}
	if t.sorted != nil {
		if _, ok := slices.BinarySearch(t.keys, name); !ok {
			return nil, false
		}
	}
	value, found := t.read(name)
	if found {
		if t.found == nil {
			t.found = make(map[string]ref.Val, 1)
		}
		t.found[name] = value
	}
	return value, found
}

func (t *table) read(name string) (ref.Val, bool) {
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

// Contains reports whether there is such a key.
func (t *table) Contains(key ref.Val) ref.Val {
	_, found := t.Find(key)
	return types.Bool(found)
}

func (t *table) all() []string {
	if t.keys == nil && t.names != nil {
		t.keys = t.names(t.scope)
	}
	return t.keys
}

// Size returns the number of keys.
func (t *table) Size() ref.Val { return types.Int(len(t.all())) }

// Iterator goes over the keys in their order.
func (t *table) Iterator() traits.Iterator {
	return types.NewStringList(adapter{}, t.all()).Iterator()
}

// Equal is an error; no expression that compiles comes here.
func (t *table) Equal(ref.Val) ref.Val { return types.WrapErr(errNoTable) }

// ConvertToNative is not supported: nothing that an expression can say asks for it.
func (t *table) ConvertToNative(reflect.Type) (any, error) {
	return nil, errNoTable
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
