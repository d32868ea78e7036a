package expression

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// adapter gives claims and metadata to CEL as they are asked for.
type adapter struct{}

// NativeToValue returns CEL's view of a Go value. A json.Number is an int when it is integral and fits one,
// else a double; one that fits neither is an error, and so is a list or a map that holds one anywhere.
func (a adapter) NativeToValue(value any) ref.Val {
	switch v := value.(type) {
	case string:
		return textValue(v)
	case json.Number:
		return numberValue(v)
	case []string:
		return listValue(v)
	case map[string]any, []any, map[string]string:
		if err := sound(v); err != nil {
			return types.WrapErr(err)
		}
	}
	switch v := value.(type) {
	case map[string]any:
		return types.NewStringInterfaceMap(a, v)
	case []any:
		return types.NewDynamicList(a, v)
	}
	return types.DefaultTypeAdapter.NativeToValue(value)
}

// sound returns why a value cannot be given to CEL, nil if it can. The whole of a list or map is looked at, since
// CEL takes two lists for equal when it meets an error in one of them.
func sound(value any) error {
	switch v := value.(type) {
	case string:
		if !utf8.ValidString(v) {
			return errNotUTF8
		}
	case json.Number:
		if err, ok := numberValue(v).(*types.Err); ok {
			return err
		}
	case []string:
		for _, item := range v {
			if !utf8.ValidString(item) {
				return errNotUTF8
			}
		}
	case []any:
		for _, item := range v {
			if err := sound(item); err != nil {
				return err
			}
		}
	case map[string]string:
		for key, item := range v {
			if !utf8.ValidString(key) || !utf8.ValidString(item) {
				return errNotUTF8
			}
		}
	case map[string]any:
		for key, item := range v {
			if !utf8.ValidString(key) {
				return errNotUTF8
			}
			if err := sound(item); err != nil {
				return err
			}
		}
	}
	return nil
}

func numberValue(number json.Number) ref.Val {
	if i, err := strconv.ParseInt(string(number), 10, 64); err == nil {
		return types.Int(i)
	}
	f, err := strconv.ParseFloat(string(number), 64)
	if err != nil {
		return types.WrapErr(errNumber)
	}
	return types.Double(f)
}

// native returns the Go value of CEL's.
func native(value ref.Val) (any, error) {
	switch v := value.(type) {
	case *types.Err:
		return nil, v
	case types.String:
		return string(v), nil
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		return uint64(v), nil
	case types.Double:
		return float64(v), nil
	case types.Bytes:
		return []byte(v), nil
	case types.Timestamp:
		return v.UTC(), nil
	case types.Duration:
		return v.Duration, nil
	case types.Null:
		return nil, nil
	case traits.Mapper:
		return nativeMap(v)
	case traits.Lister:
		return nativeList(v)
	}
	return nil, readingError(fmt.Sprintf("the result is a %s, which is no plain value", value.Type().TypeName()))
}

func nativeList(list traits.Lister) (any, error) {
	result := []any{}
	for it := list.Iterator(); it.HasNext() == types.True; {
		item, err := native(it.Next())
		if err != nil {
			return nil, err
		}
		result = append(result, item)
	}
	return result, nil
}

func nativeMap(mapper traits.Mapper) (any, error) {
	result := map[string]any{}
	for it := mapper.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		if types.IsError(key) {
			return native(key)
		}
		name, ok := key.(types.String)
		if !ok {
			return nil, readingError(fmt.Sprintf("a map of the result has a key that is a %s and no string", key.Type().TypeName()))
		}
		value, err := native(mapper.Get(key))
		if err != nil {
			return nil, err
		}
		result[string(name)] = value
	}
	return result, nil
}

// printed returns a scalar as a header shows it.
func printed(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case uint64:
		return strconv.FormatUint(v, 10), nil
	case float64:
		if v-v != 0 {
			return "", readingError("the result is no finite number")
		}
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	case time.Duration:
		return strconv.FormatFloat(v.Seconds(), 'f', -1, 64) + "s", nil
	}
	return "", readingError(fmt.Sprintf("the result is a %s, which cannot be written as text", kindOf(value)))
}

func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case []any:
		return "list"
	case map[string]any:
		return "map"
	case []byte:
		return "bytes"
	case bool:
		return "bool"
	case int64, uint64, float64:
		return "number"
	case time.Time, time.Duration:
		return "time"
	}
	return fmt.Sprintf("%T", value)
}
