package config

import (
	"errors"

	"buf.build/go/protovalidate"
	"buf.build/go/protoyaml"

	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// convert makes the message and holds it against its constraints. After a fault of the shape it is the message of
// what is left, good for further findings and nothing else.
func convert(r *report, data []byte, root *place) *configv1.Config {
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
	path := protovalidate.FieldPathString(violation.Proto.GetField())
	at := root.find(path)
	if at.faulty() {
		return
	}
	text := violation.Proto.GetMessage()
	if text == "" {
		text = "breaks the constraint " + violation.Proto.GetRuleId()
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
