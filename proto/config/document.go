// Package config reads the file that operators edit: YAML in, the message of kasbah.config.v1 out, and for
// everything that is wrong a finding with its line and column.
//
// [Load] works in four steps. The text is checked and parsed as YAML (text.go). The nodes are held against the
// message's descriptor: unknown and repeated fields, values of the wrong kind, short names of enums (shape.go,
// scalar.go). protoyaml makes the message of it and protovalidate holds it against the constraints that stand in
// config.proto (convert.go). Last come the rules that no single field can state (lint.go, headers.go). Each
// step reports all that it finds; findings that would only be the consequence of another are left out.
//
// What the package guarantees:
//
//   - A [Document] exists only for a file without an error. Its message satisfies every constraint of config.proto and
//     has the documented defaults filled in (defaults.go), so that no reader needs to know them.
//   - No spelling is accepted that could mean something else than it seems to: no null, no empty string or list in place
//     of an absent one, no alias, no tag, no second document, no byte that editors do not show.
//   - Time and memory are bounded by the size of the file, which is bounded itself.
package config

import (
	"errors"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// Document is a configuration without errors, and where in its file everything stands. It is immutable.
type Document struct {
	document
	config *configv1.Config
}

// document knows where in a file everything stands.
type document struct {
	file string
	root *place
}

// Load reads a configuration. The file's name is used in findings only. The findings are sorted by position; when
// one of them is an error the Document is nil, and when there is a Document they are warnings.
func Load(file string, data []byte) (*Document, policy.Findings) {
	r, message := &report{file: file}, &configv1.Config{}
	root, wellFormed := r.read(data, maxBytes, message)
	if wellFormed {
		lint(r, message, root)
	}
	if r.failed() {
		return nil, r.sorted()
	}
	foldHeaders(message, root)
	fillDefaults(message)
	return &Document{document: document{file: file, root: root}, config: message}, r.sorted()
}

// read fills a message with what stands in data, and returns where everything does. Where it is wellFormed, further rules
// can be held against the message, whether or not it satisfies its constraints.
func (r *report) read(data []byte, limit int, message proto.Message) (root *place, wellFormed bool) {
	node := parse(r, data, limit)
	if node == nil {
		return nil, false
	}
	root = shape(r, node, message.ProtoReflect().Descriptor())
	wellFormed = !r.failed()
	return root, convert(r, data, root, message) && wellFormed
}

// Config returns the configuration with every documented default filled in. It is shared: callers must
// not change it.
func (d *Document) Config() *configv1.Config { return d.config }

// Position returns where a field's value stands. The field is written as in [policy.FieldError]:
// `routes[0].match[1].path`, `routes[2].headers["x-user"]`. Of a field that is not in the file it is the position of the
// nearest enclosing one that is, and of "" the file's, without a line.
func (d *document) Position(field string) policy.Position {
	if field == "" {
		return policy.Position{File: d.file}
	}
	found := d.root.find(field)
	return policy.Position{File: d.file, Line: found.line, Column: found.column}
}

// Finding returns what a constructor found wrong with the message that stands at prefix, at its position in
// the file. A [policy.FieldError] inside err says which field of that message it is, and its path is left out of
// the text. A [policy.Finding] inside err is returned as it is where it names a file, and placed at prefix where it does
// not. A nil err has no finding.
func (d *document) Finding(prefix string, err error) *policy.Finding {
	if err == nil {
		return nil
	}
	var known *policy.Finding
	if errors.As(err, &known) {
		if known.File != "" {
			return known
		}
		return &policy.Finding{Position: d.Position(prefix), Level: known.Level, Message: known.Message}
	}
	field, message := prefix, err.Error()
	var fault *policy.FieldError
	for errors.As(err, &fault) {
		field = join(field, fault.Field)
		message = strings.Replace(message, fault.Error(), fault.Err.Error(), 1)
		err = fault.Err
	}
	return &policy.Finding{Position: d.Position(field), Message: message}
}

func join(prefix, field string) string {
	if prefix == "" || field == "" || strings.HasPrefix(field, "[") {
		return prefix + field
	}
	return prefix + "." + field
}
