package schema

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
)

var errDuration = errors.New("a duration is longer than 292 years")

// plainMessage returns a message as values that an expression reads: a map of its fields under the names that they have in their
// .proto file; enums by their names; timestamps, durations, wrappers and google.protobuf.Struct as what they stand for.
// A field that tells being absent from being zero, and is absent, is not in the map; any other is.
func plainMessage(message protoreflect.Message) (any, error) {
	if known, value, err := plainKnown(message); known {
		return value, err
	}
	fields := message.Descriptor().Fields()
	plain := make(map[string]any, fields.Len())
	for i := range fields.Len() {
		field := fields.Get(i)
		if field.HasPresence() && !message.Has(field) {
			continue
		}
		value, err := plainField(field, message.Get(field))
		if err != nil {
			return nil, err
		}
		plain[string(field.Name())] = value
	}
	return plain, nil
}

func plainField(field protoreflect.FieldDescriptor, value protoreflect.Value) (any, error) {
	switch {
	case field.IsList():
		list := make([]any, value.List().Len())
		for i := range list {
			item, err := plainValue(field, value.List().Get(i))
			if err != nil {
				return nil, err
			}
			list[i] = item
		}
		return list, nil
	case field.IsMap():
		entries := make(map[string]any, value.Map().Len())
		var fault error
		value.Map().Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
			entries[key.String()], fault = plainValue(field.MapValue(), value)
			return fault == nil
		})
		return entries, fault
	}
	return plainValue(field, value)
}

func plainValue(field protoreflect.FieldDescriptor, value protoreflect.Value) (any, error) {
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return plainMessage(value.Message())
	case protoreflect.EnumKind:
		if named := field.Enum().Values().ByNumber(value.Enum()); named != nil {
			return string(named.Name()), nil
		}
		return int64(value.Enum()), nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind, protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return value.Int(), nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return value.Uint(), nil
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return value.Float(), nil
	case protoreflect.BoolKind:
		return value.Bool(), nil
	case protoreflect.StringKind:
		return value.String(), nil
	case protoreflect.BytesKind:
		return value.Bytes(), nil
	}
	return nil, fmt.Errorf("a field of kind %s", field.Kind())
}

// plainKnown returns what a message of the well-known types stands for.
func plainKnown(message protoreflect.Message) (known bool, value any, err error) {
	fields := message.Descriptor().Fields()
	get := func(number protoreflect.FieldNumber) protoreflect.Value { return message.Get(fields.ByNumber(number)) }
	switch message.Descriptor().FullName() {
	case "google.protobuf.Timestamp":
		return true, time.Unix(get(1).Int(), get(2).Int()).UTC(), nil
	case "google.protobuf.Duration":
		seconds, nanos := get(1).Int(), get(2).Int()
		if seconds > int64(time.Duration(1<<63-1)/time.Second)-1 || seconds < -int64(time.Duration(1<<63-1)/time.Second)+1 {
			return true, nil, errDuration
		}
		return true, time.Duration(seconds)*time.Second + time.Duration(nanos), nil
	case "google.protobuf.DoubleValue", "google.protobuf.FloatValue", "google.protobuf.Int64Value", "google.protobuf.UInt64Value", "google.protobuf.Int32Value",
		"google.protobuf.UInt32Value", "google.protobuf.BoolValue", "google.protobuf.StringValue", "google.protobuf.BytesValue":
		value, err = plainValue(fields.ByNumber(1), get(1))
		return true, value, err
	case "google.protobuf.Struct", "google.protobuf.ListValue":
		value, err = plainField(fields.ByNumber(1), get(1))
		return true, value, err
	case "google.protobuf.Value":
		chosen := message.WhichOneof(message.Descriptor().Oneofs().ByName("kind"))
		if chosen == nil || chosen.Name() == "null_value" {
			return true, nil, nil
		}
		value, err = plainField(chosen, message.Get(chosen))
		return true, value, err
	}
	return false, nil, nil
}
