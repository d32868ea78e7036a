package config

import (
	"errors"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"buf.build/go/protoyaml"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// convert fills the message and holds it against its constraints. After a fault of the shape it is the message of
// what is left, good for further findings and nothing else; it returns false where there is no use for more.
func convert(r *report, data []byte, root *place, message proto.Message) bool {
	if r.full() || r.tooLarge {
		return false
	}
	wellFormed := !r.failed()
	options := protoyaml.UnmarshalOptions{Path: r.file, CustomUnmarshaler: enumRewriter{}, DiscardUnknown: !wellFormed}
	if err := options.Unmarshal(data, message); err != nil && wellFormed {
		r.errorf(0, 0, "%v", err) // names its line itself; everything that it looks for was looked for before
		return false
	}
	err := protovalidate.Validate(message)
	var invalid *protovalidate.ValidationError
	if errors.As(err, &invalid) {
		for _, violation := range invalid.Violations {
			r.violation(violation, root, message.ProtoReflect().Descriptor())
		}
		return true
	}
	if err != nil {
		r.errorf(0, 0, "checking constraints: %v", err)
		return false
	}
	return true
}

func (r *report) violation(violation *protovalidate.Violation, root *place, descriptor protoreflect.MessageDescriptor) {
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
	if parent, choice := choiceOf(violation.Proto.GetField(), descriptor); choice != nil {
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

// choiceOf returns the oneof that a path into such a message ends with, and the path of the message that it belongs to. No file names a
// oneof, so that a finding must not either.
func choiceOf(path *validate.FieldPath, descriptor protoreflect.MessageDescriptor) (parent string, choice protoreflect.OneofDescriptor) {
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
