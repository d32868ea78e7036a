package schema

import (
	"errors"
	"fmt"
	"net/http"
	"sync"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const (
	// maxCollected is the largest message, in members, elements and messages, of which every violation is collected; of a larger
	// one the first is told. Each costs far more memory than what breaks it.
	maxCollected = 1000
	// maxMessage is how much of a violation's message is told, in bytes.
	maxMessage = 300
)

// check holds a body of that form against the contract.
func (c *contract) check(req *policy.Request, seen shape, maxBytes int) (reading, *finding) {
	body := req.Body.Bytes
	called, isMethod := c.methods[req.Path]
	switch seen.kind {
	case frames, webFrames, webTextFrames:
		if !isMethod {
			return reading{}, invalid("protobuf.method", "the path names no method of the schema")
		}
		if req.Method != http.MethodPost {
			return reading{}, invalid("protobuf.method", "a method is called with POST")
		}
		if seen.kind == webTextFrames {
			var found *finding
			if body, found = webText(body); found != nil {
				return reading{}, found
			}
		}
		return c.frames(req, body, called, maxBytes)
	case jsonText, protobufMessage:
		input := c.message
		if isMethod {
			input = called.input
		}
		if input == nil || called.stream {
			return reading{}, invalid("protobuf.method", "the path names no method of the schema that takes one message")
		}
		if seen.kind == jsonText {
			return c.json(req, body, input, seen.values)
		}
		return c.binary(req, body, input)
	case opaque:
	}
	return reading{}, invalid("body.content_type", "the schema reads no body of this Content-Type")
}

// frames checks each message of a gRPC body. A method that takes one must get exactly one. The messages of a stream, which is
// here only if it came to its end, are no body for policies.
func (c *contract) frames(req *policy.Request, body []byte, called method, maxBytes int) (reading, *finding) {
	messages, found := c.messages(req, body, maxBytes)
	if found != nil {
		return reading{}, found
	}
	if !called.stream && len(messages) != 1 {
		return reading{}, invalid("grpc.messages", "the method takes exactly one message")
	}
	var all reading
	for _, message := range messages {
		one, found := c.binary(req, message, called.input)
		if found != nil {
			return reading{}, found
		}
		all.parsed = one.parsed
		if all.noted == nil {
			all.noted = one.noted
		}
	}
	if called.stream {
		all.parsed = nil
	}
	return all, nil
}

// binary checks a message in protobuf's own form.
func (c *contract) binary(req *policy.Request, wire []byte, input protoreflect.MessageType) (reading, *finding) {
	m := meter{contract: c}
	if found := m.message(wire, input.Descriptor(), c.maxDepth); found != nil {
		return reading{}, found
	}
	if m.unknown && c.unknown == configv1.UnknownFields_UNKNOWN_FIELDS_REFUSE {
		return reading{}, errUnknown
	}
	message := input.New().Interface()
	// The depth that Go counts begins at one.
	if err := (proto.UnmarshalOptions{Resolver: c.types, RecursionLimit: c.maxDepth + 1}).Unmarshal(wire, message); err != nil {
		return reading{}, errWire
	}
	return c.validate(req, message, m.values, m.unknown)
}

var errUnknown = invalid("protobuf.unknown_fields", "a message has a field that the schema does not know")

// json checks a message that is written as JSON, whose structure was found to be good.
func (c *contract) json(req *policy.Request, text []byte, input protoreflect.MessageType, values int) (reading, *finding) {
	message, unknown := input.New().Interface(), false
	options := protojson.UnmarshalOptions{Resolver: c.types, DiscardUnknown: c.unknown == configv1.UnknownFields_UNKNOWN_FIELDS_ALLOW}
	err := options.Unmarshal(text, message)
	if err != nil && !options.DiscardUnknown {
		// The error does not say whether that is it, but in words that quote the body.
		options.DiscardUnknown, unknown = true, true
		err = options.Unmarshal(text, message)
	}
	switch {
	case err != nil:
		return reading{}, invalid("protobuf.json", fmt.Sprintf("the JSON is no %s: a field of another type, a value out of its range, or one given twice", input.Descriptor().FullName()))
	case unknown && c.unknown == configv1.UnknownFields_UNKNOWN_FIELDS_REFUSE:
		return reading{}, errUnknown
	}
	return c.validate(req, message, values, unknown)
}

// validate holds a message against its constraints.
func (c *contract) validate(req *policy.Request, message proto.Message, values int, unknown bool) (reading, *finding) {
	now := protovalidate.WithNowFunc(func() *timestamppb.Timestamp { return timestamppb.New(req.Time) })
	options := []protovalidate.ValidationOption{now}
	if values > maxCollected {
		options = append(options, protovalidate.WithFailFast())
	}
	err := c.validator.Validate(message, options...)
	var broken *protovalidate.ValidationError
	switch {
	case errors.As(err, &broken):
		return reading{}, &finding{reason: policy.InvalidRequest, violations: violationsOf(broken)}
	case err != nil: // its text may quote the body
		return reading{}, invalid("protobuf.evaluation", "a constraint of the schema could not be evaluated")
	}
	read := reading{parsed: sync.OnceValues(func() (any, error) { return plainMessage(message.ProtoReflect()) })}
	if unknown && c.unknown == configv1.UnknownFields_UNKNOWN_FIELDS_COUNT {
		read.noted = errUnknown.violations
	}
	return read, nil
}

func violationsOf(broken *protovalidate.ValidationError) []policy.Violation {
	found := make([]policy.Violation, 0, min(len(broken.Violations), maxViolations))
	for _, v := range broken.Violations[:min(len(broken.Violations), maxViolations)] {
		text := v.Proto.GetMessage()
		if text == "" {
			text = "breaks the constraint " + v.Proto.GetRuleId()
		}
		found = append(found, policy.Violation{Field: fieldPath(v.Proto.GetField()), Rule: v.Proto.GetRuleId(), Message: text[:min(len(text), maxMessage)]})
	}
	return found
}

// fieldPath writes a path as in items[3].price. A key of a map is the body's own text, so that there is an asterisk for it.
func fieldPath(path *validate.FieldPath) string {
	text := ""
	for i, element := range path.GetElements() {
		if i > 0 {
			text += "."
		}
		text += element.GetFieldName()
		switch subscript := element.GetSubscript().(type) {
		case nil:
		case *validate.FieldPathElement_Index:
			text += fmt.Sprintf("[%d]", subscript.Index)
		default:
			text += "[*]"
		}
	}
	return text
}
