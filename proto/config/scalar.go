package config

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"buf.build/go/protoyaml"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// scalar reports a value that is not of the field's type, or that protobuf could not tell from an absent one.
func (s shaper) scalar(node *yaml.Node, field protoreflect.FieldDescriptor, at *place) {
	ok := true
	switch field.Kind() {
	case protoreflect.BoolKind:
		ok = node.Tag == "!!bool" && (node.Value == "true" || node.Value == "false")
	case protoreflect.Uint32Kind:
		ok = isCount(node.Value, 32)
	case protoreflect.Uint64Kind:
		ok = isCount(node.Value, 64)
	case protoreflect.EnumKind:
		ok = enumValue(field.Enum(), node.Value) != nil
	case protoreflect.MessageKind:
		ok = isDuration(node.Value)
	case protoreflect.StringKind:
		s.text(node, field, at)
		return
	default:
		// A type that nothing here knows how to check is one that config.proto does not use yet; a test walks it.
		ok = false
	}
	if !ok {
		s.fault(at, "expected %s, not %s", scalarName(field), kindOf(node))
	}
}

func (s shaper) text(node *yaml.Node, field protoreflect.FieldDescriptor, at *place) {
	if node.Value == "" && !field.HasPresence() {
		s.fault(at, "the text is empty; leave the field out, or give it a value")
		return
	}
	for _, c := range node.Value { // an escape in quotes can write what the file itself may not hold
		if hidden(c) {
			s.fault(at, "the text holds the character U+%04X, which is not allowed", c)
			return
		}
	}
}

func scalarName(field protoreflect.FieldDescriptor) string {
	switch field.Kind() {
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return "a whole number from 1"
	case protoreflect.EnumKind:
		return "one of " + strings.Join(enumNames(field.Enum()), ", ")
	case protoreflect.MessageKind:
		return "a duration such as 5s, 200ms or 24h"
	default:
		return "text"
	}
}

var count = regexp.MustCompile(`^[1-9][0-9]{0,19}$`)

// isCount reports whether text is a number above 0 in plain decimal. YAML reads 010 as 8 and others read it as 10;
// and a 0 would mean the default.
func isCount(text string, bits int) bool {
	if !count.MatchString(text) {
		return false
	}
	_, err := strconv.ParseUint(text, 10, bits)
	return err == nil
}

// isDuration reports whether text is a duration to Go and to protoyaml, and the same one to both.
func isDuration(text string) bool {
	if len(text) > 64 {
		return false
	}
	ours, err := time.ParseDuration(text)
	if err != nil {
		return false
	}
	theirs, err := protoyaml.ParseDuration(text)
	return err == nil && theirs.AsDuration() == ours
}

// enumPrefix returns what every value's name begins with: "LOG_LEVEL_" of LOG_LEVEL_UNSPECIFIED.
func enumPrefix(enum protoreflect.EnumDescriptor) string {
	return strings.TrimSuffix(string(enum.Values().ByNumber(0).Name()), "UNSPECIFIED")
}

// enumNames returns how the values are written in a file: without the prefix and in lower case.
func enumNames(enum protoreflect.EnumDescriptor) []string {
	var names []string
	for i := range enum.Values().Len() {
		if value := enum.Values().Get(i); value.Number() != 0 {
			names = append(names, strings.ToLower(strings.TrimPrefix(string(value.Name()), enumPrefix(enum))))
		}
	}
	return names
}

// enumValue returns the value that is written so, nil where there is none.
func enumValue(enum protoreflect.EnumDescriptor, text string) protoreflect.EnumValueDescriptor {
	if text == "" || text != strings.ToLower(text) {
		return nil
	}
	value := enum.Values().ByName(protoreflect.Name(enumPrefix(enum) + strings.ToUpper(text)))
	if value == nil || value.Number() == 0 {
		return nil
	}
	return value
}

// enumRewriter writes out the names of enum values before protoyaml, which knows only the whole ones, reads
// them. It is called with each message's node, leaves the reading to protoyaml, and keeps every position.
type enumRewriter struct{}

// Unmarshal implements [protoyaml.CustomUnmarshaler].
func (enumRewriter) Unmarshal(node *yaml.Node, message proto.Message) (bool, error) {
	if node.Kind != yaml.MappingNode {
		return false, nil
	}
	fields := message.ProtoReflect().Descriptor().Fields()
	for i := 0; i+1 < len(node.Content); i += 2 {
		field := fields.ByName(protoreflect.Name(node.Content[i].Value))
		if field == nil || field.Enum() == nil {
			continue
		}
		if value := enumValue(field.Enum(), node.Content[i+1].Value); value != nil {
			node.Content[i+1].Value = string(value.Name())
		}
	}
	return false, nil
}
