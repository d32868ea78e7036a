package schema

import (
	"errors"
	"fmt"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// contract is the messages of one descriptor set, with their constraints.
type contract struct {
	types     *dynamicpb.Types
	validator protovalidate.Validator
	methods   map[string]method        // by path, as in /bank.v1.Transfers/Create
	message   protoreflect.MessageType // of a body whose path names no method; nil: there is none
	unknown   configv1.UnknownFields
	maxValues int
	maxDepth  int
	inflaters inflaters
}

// method is one method of a service.
type method struct {
	input  protoreflect.MessageType
	stream bool // there may be any number of messages
}

func newContract(message *configv1.ProtobufSchema, read func(path string) ([]byte, error)) (*contract, error) {
	const at = "protobuf.descriptors.file"
	file := message.GetDescriptors().GetFile()
	data, err := read(file)
	if err != nil {
		return nil, &policy.FieldError{Field: at, Err: err}
	}
	files, err := readDescriptors(data)
	if err != nil {
		return nil, &policy.FieldError{Field: at, Err: fmt.Errorf("%s: %w", file, err)}
	}
	c := &contract{
		types: dynamicpb.NewTypes(files), methods: map[string]method{}, unknown: message.GetUnknownFields(),
		maxValues: int(message.GetMaxValues()), maxDepth: int(message.GetMaxDepth()),
	}
	descriptors := c.collect(files)
	if c.validator, err = newValidator(descriptors, c.types); err != nil {
		return nil, &policy.FieldError{Field: at, Err: fmt.Errorf("%s: %w", file, err)}
	}
	name := message.GetMessage()
	if name == "" && len(c.methods) == 0 {
		return nil, &policy.FieldError{Field: at, Err: fmt.Errorf("%s has no service; name the message that bodies are under message", file)}
	}
	if name == "" {
		return c, nil
	}
	if c.message, err = c.types.FindMessageByName(protoreflect.FullName(name)); err != nil {
		return nil, &policy.FieldError{Field: "protobuf.message", Err: fmt.Errorf("%s has no message %q", file, name)}
	}
	return c, nil
}

// readDescriptors reads a FileDescriptorSet. A file that imports one that is not there is an error.
func readDescriptors(data []byte) (*protoregistry.Files, error) {
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(data, set); err != nil {
		return nil, errors.New("it is no FileDescriptorSet, as buf build -o and protoc --descriptor_set_out write it")
	}
	if len(set.GetFile()) == 0 {
		return nil, errors.New("it describes no file")
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, fmt.Errorf("reading descriptors (with everything that they import: --include_imports): %w", err)
	}
	return files, nil
}

// collect remembers the methods of all services, and returns all messages.
func (c *contract) collect(files *protoregistry.Files) []protoreflect.MessageDescriptor {
	var messages []protoreflect.MessageDescriptor
	var nested func(list protoreflect.MessageDescriptors)
	nested = func(list protoreflect.MessageDescriptors) {
		for i := range list.Len() {
			if list.Get(i).IsMapEntry() {
				continue
			}
			messages = append(messages, list.Get(i))
			nested(list.Get(i).Messages())
		}
	}
	files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(file.Path(), "buf/validate/") {
			nested(file.Messages())
		}
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				c.methods["/"+string(service.FullName())+"/"+string(m.Name())] = method{dynamicpb.NewMessageType(m.Input()), m.IsStreamingClient()}
			}
		}
		return true
	})
	return messages
}

// newValidator compiles the constraints of those messages. protovalidate itself finds a fault in one only when it evaluates it,
// and takes options that it cannot read for none, so that both are looked for here.
func newValidator(messages []protoreflect.MessageDescriptor, types *dynamicpb.Types) (protovalidate.Validator, error) {
	v, err := protovalidate.New(protovalidate.WithMessageDescriptors(messages...), protovalidate.WithDisableLazy(), protovalidate.WithExtensionTypeResolver(types))
	if err != nil {
		return nil, fmt.Errorf("compiling constraints: %w", err)
	}
	for _, message := range messages {
		if err := checkOptions(message); err != nil {
			return nil, err
		}
		empty := dynamicpb.NewMessage(message)
		if err := compiles(v, empty, message); err != nil {
			return nil, fmt.Errorf("%s: %w", message.FullName(), err)
		}
		for i := range message.Fields().Len() {
			if err := compiles(v, empty, message.Fields().Get(i)); err != nil {
				return nil, fmt.Errorf("%s: %w", message.Fields().Get(i).FullName(), err)
			}
		}
	}
	return v, nil
}

// compiles returns the error that the constraints of one message, or one of its fields, could not be compiled.
func compiles(v protovalidate.Validator, empty proto.Message, of protoreflect.Descriptor) error {
	alone := protovalidate.FilterFunc(func(_ protoreflect.Message, asked protoreflect.Descriptor) bool { return asked == of })
	err := v.Validate(empty, protovalidate.WithFilter(alone))
	var fault *protovalidate.CompilationError
	if errors.As(err, &fault) {
		return fault
	}
	return nil
}

// checkOptions returns the error that the constraints of a message cannot be read.
func checkOptions(message protoreflect.MessageDescriptor) error {
	if _, err := protovalidate.ResolveMessageRules(message); err != nil {
		return fmt.Errorf("%s: reading its constraints: %w", message.FullName(), err)
	}
	for i := range message.Fields().Len() {
		if _, err := protovalidate.ResolveFieldRules(message.Fields().Get(i)); err != nil {
			return fmt.Errorf("%s: reading its constraints: %w", message.Fields().Get(i).FullName(), err)
		}
	}
	for i := range message.Oneofs().Len() {
		if _, err := protovalidate.ResolveOneofRules(message.Oneofs().Get(i)); err != nil {
			return fmt.Errorf("%s: reading its constraints: %w", message.Oneofs().Get(i).FullName(), err)
		}
	}
	return nil
}
