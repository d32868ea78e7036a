package config

import (
	"errors"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"buf.build/go/protoyaml"
	"google.golang.org/protobuf/reflect/protoreflect"

	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// convert makes the message and holds it against its constraints. After a fault of the shape it is the message of
// what is left, good for further findings and nothing else; it is nil where there is no use for more.
func convert(r *report, data []byte, root *place) *configv1.Config {
	if r.full() || r.tooLarge {
		return nil
	}
	wellFormed := !r.failed()
	message := &configv1.Config{}
	options := protoyaml.UnmarshalOptions{Path: r.file, CustomUnmarshaler: enumRewriter{}, DiscardUnknown: !wellFormed}
	if err := options.Unmarshal(data, message); err != nil && wellFormed {
		r.errorf(0, 0, "%v", err) // names its line itself; everything that it looks for was looked for before
		return nil
	}
	err := protovalidate.Validate(message)
	var invalid *protovalidate.ValidationError
	if errors.As(err, &invalid) {
		for _, violation := range invalid.Violations {
			r.violation(violation, root)
		}
		return message
	}
	if err != nil {
		r.errorf(0, 0, "checking constraints: %v", err)
		return nil
	}
	return message
}

func (r *report) violation(violation *protovalidate.Violation, root *place) {
	if r.full() {
		r.errors++
		return
	}
	path := protovalidate.FieldPathString(violation.Proto.GetField())
	at := root.find(path)
	if at.faulty() {
		return
	}
	text := violation.Proto.GetMessage()
	if text == "" {
		text = "breaks the constraint " + violation.Proto.GetRuleId()
	}
	if parent, choice := choiceOf(violation.Proto.GetField()); choice != nil {
		path, text = parent, "exactly one of these is required: "+choiceNames(choice)
	}
	if path != "" {
		text = path + ": " + text
	}
	if violation.Proto.GetForKey() {
		r.errorf(at.keyLine, at.keyColumn, "%s", text)
		return
	}
	r.errorf(at.line, at.column, "%s", text)
}

// choiceOf returns the oneof that a path ends with, and the path of the message that it belongs to. No file names a
// oneof, so that a finding must not either.
func choiceOf(path *validate.FieldPath) (parent string, choice protoreflect.OneofDescriptor) {
	descriptor := (&configv1.Config{}).ProtoReflect().Descriptor()
	elements := path.GetElements()
	for i, element := range elements {
		name := protoreflect.Name(element.GetFieldName())
		if choice := descriptor.Oneofs().ByName(name); choice != nil && i == len(elements)-1 {
			return protovalidate.FieldPathString(&validate.FieldPath{Elements: elements[:i]}), choice
		}
		field := descriptor.Fields().ByName(name)
		if field == nil || field.Message() == nil {
			return "", nil
		}
		descriptor = field.Message()
	}
	return "", nil
}

func choiceNames(choice protoreflect.OneofDescriptor) string {
	names := make([]string, choice.Fields().Len())
	for i := range names {
		names[i] = string(choice.Fields().Get(i).Name())
	}
	return strings.Join(names, ", ")
}
