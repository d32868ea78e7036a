package schema

import (
	"fmt"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// Schema is one compiled contract. It is immutable, and may be shared by the Validators of many routes.
type Schema struct {
	reported bool // what breaks it is only to be reported
	contract *contract
}

// Compile compiles a schema, whose defaults are filled in, reading the files that it names with read. Whatever is wrong is an
// error, a [*policy.FieldError] of the message: a constraint that cannot be compiled is never one that does not hold bodies back.
func Compile(message *configv1.Schema, read func(path string) ([]byte, error)) (*Schema, error) {
	protobuf := message.GetProtobuf()
	if protobuf == nil {
		return nil, &policy.FieldError{Field: "name", Err: fmt.Errorf("the schema %q is of no kind", message.GetName())}
	}
	compiled, err := newContract(protobuf, read)
	if err != nil {
		return nil, err
	}
	return &Schema{reported: message.GetMode() == configv1.ValidationMode_VALIDATION_MODE_REPORT, contract: compiled}, nil
}

// types returns the content types that the schema reads.
func (s *Schema) types() []string {
	types := []string{"application/grpc", "application/grpc+proto", "application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text", "application/grpc-web-text+proto"}
	return append(types, "application/proto", "application/json")
}

// reading is what a schema makes of a body that it does not refuse.
type reading struct {
	parsed func() (any, error)
	// noted are violations that do not refuse it.
	noted []policy.Violation
}
