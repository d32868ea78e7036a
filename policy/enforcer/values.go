package enforcer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// maxValueDepth bounds how deep the maps and lists of one value nest.
const maxValueDepth = 32

var errNoSubject = errors.New("it is empty, and a policy is not asked about nobody")

// checkValue returns the value in the form that Casbin's expressions compare. A value that they would
// compare with nothing is an error, because a rule that denies must not be missed for the type of a number.
func checkValue(name string, value any) (any, error) {
	switch v := value.(type) {
	case string:
		if v == "" && name == "sub" {
			return nil, errNoSubject
		}
		for i := range len(v) {
			if v[i] < ' ' || v[i] == 0x7f {
				return nil, fmt.Errorf("byte %d is the control character 0x%02x", i, v[i])
			}
		}
		return value, nil
	case nil:
		if name == "sub" {
			return nil, errNoSubject
		}
	}
	value, _, err := settle(value, 0)
	return value, err
}

// settle returns the value, or where something in it must differ, a changed copy; it never writes to what
// other requests may share.
func settle(value any, depth int) (settled any, changed bool, err error) {
	if depth > maxValueDepth {
		return nil, false, fmt.Errorf("maps and lists nest deeper than %d", maxValueDepth)
	}
	switch v := value.(type) {
	case nil, bool, string, float64, float32, int, int8, int16, int32, int64, uint8, uint16, uint32, uint64:
		return value, false, nil
	case uint: // the one number that Casbin's expressions do not turn into a float64 themselves
		return float64(v), true, nil
	case json.Number:
		number, err := v.Float64()
		return number, true, err
	case []any:
		return settleList(v, depth)
	case map[string]any:
		return settleMap(v, depth)
	}
	return nil, false, fmt.Errorf("a matcher cannot compare a value of type %T", value)
}

// settleList also takes a list's spare room from it, which is shared with every other holder of the list: a
// call with a list as its first argument appends to it.
func settleList(list []any, depth int) (settled any, changed bool, err error) {
	changed = cap(list) > len(list)
	list = slices.Clip(list)
	copied := false
	for i, element := range list {
		element, differs, err := settle(element, depth+1)
		if err != nil {
			return nil, false, err
		}
		if !differs {
			continue
		}
		if !copied {
			list, copied = slices.Clone(list), true
		}
		list[i] = element
	}
	return slices.Clip(list), changed || copied, nil
}

func settleMap(m map[string]any, depth int) (settled any, changed bool, err error) {
	result := m
	for key, element := range m {
		element, differs, err := settle(element, depth+1)
		if err != nil {
			return nil, false, err
		}
		if !differs {
			continue
		}
		if !changed {
			result, changed = maps.Clone(m), true
		}
		result[key] = element
	}
	return result, changed, nil
}
