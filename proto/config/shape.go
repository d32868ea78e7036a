package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	durationName protoreflect.FullName = "google.protobuf.Duration"
	secretName   protoreflect.FullName = "kasbah.config.v1.Secret"
)

// maxItems bounds every list and map. It is the largest bound of any in config.proto, and is held here already
// because checking constraints costs far more than counting.
const maxItems = 10_000

// shaper holds YAML nodes against the descriptors of messages. It goes no deeper than the messages do,
// so that the nesting of a hostile file costs nothing here.
type shaper struct{ *report }

// shape reports everything about the nodes that does not fit such a message, and returns where everything is.
func shape(r *report, root *yaml.Node, message protoreflect.MessageDescriptor) *place {
	s := shaper{r}
	at := newPlace(nil, nil, root)
	if s.plain(root, at) {
		s.message(root, message, at)
	}
	return at
}

func (s shaper) fault(at *place, format string, arguments ...any) {
	at.markBroken()
	s.errorf(at.line, at.column, format, arguments...)
}

// faultKey reports a fault of a key; at is the place of the message or map that it stands in.
func (s shaper) faultKey(at *place, key *yaml.Node, format string, arguments ...any) {
	at.taint()
	s.errorf(key.Line, key.Column, format, arguments...)
}

// plain refuses a node that stands for another one or for something else than it shows.
func (s shaper) plain(node *yaml.Node, at *place) bool {
	switch {
	case node.Kind == yaml.AliasNode:
		s.fault(at, "aliases are not supported; write the value out")
	case node.Anchor != "":
		s.fault(at, "anchors are not supported")
	case node.Style&yaml.TaggedStyle != 0:
		s.fault(at, "tags are not supported; put a string in quotes instead")
	case isNull(node):
		s.fault(at, "there is no value here; leave the field out, or give it one")
	default:
		return true
	}
	return false
}

// key returns the text of a mapping's key that is new to seen.
func (s shaper) key(node *yaml.Node, at *place, seen map[string]int) (string, bool) {
	switch {
	case node.Kind != yaml.ScalarNode || node.Anchor != "" || node.Style&yaml.TaggedStyle != 0:
		s.faultKey(at, node, "a name must be plain text")
		return "", false
	case node.Value == "" || isNull(node):
		s.faultKey(at, node, "a name is missing")
		return "", false
	case strings.ContainsFunc(node.Value, func(c rune) bool { return c < ' ' || hidden(c) }):
		s.faultKey(at, node, "the name %s holds a character that is not allowed", quote(node.Value))
		return "", false
	case seen[node.Value] != 0:
		s.faultKey(at, node, "a second %s; the first is on line %d", quote(node.Value), seen[node.Value])
		return "", false
	}
	seen[node.Value] = node.Line
	return node.Value, true
}

func (s shaper) message(node *yaml.Node, descriptor protoreflect.MessageDescriptor, at *place) {
	if node.Kind != yaml.MappingNode {
		found := kindOf(node)
		if node.Kind == yaml.ScalarNode && holdsSecret(descriptor, 2) {
			found = "a text, which is not shown, as it may be a secret"
		}
		s.fault(at, "expected fields (%s), not %s", fieldNames(descriptor), found)
		return
	}
	at.fields = make(map[string]*place, len(node.Content)/2)
	seen := make(map[string]int, len(node.Content)/2)
	choices := map[protoreflect.FullName]*yaml.Node{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		name, ok := s.key(key, at, seen)
		if !ok {
			continue
		}
		field := descriptor.Fields().ByName(protoreflect.Name(name))
		if field == nil {
			s.unknown(key, descriptor, at)
			continue
		}
		child := newPlace(at, key, value)
		at.fields[name] = child
		if oneof := field.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
			if first := choices[oneof.FullName()]; first != nil {
				s.faultKey(at, key, "%s cannot stand beside %s, which is on line %d", name, first.Value, first.Line)
			} else {
				choices[oneof.FullName()] = key
			}
		}
		s.field(value, field, child)
	}
}

// unknown reports a field that the message does not have, with the name that was most likely meant.
func (s shaper) unknown(key *yaml.Node, descriptor protoreflect.MessageDescriptor, at *place) {
	if s.full() {
		s.faultKey(at, key, "unknown field")
		return
	}
	fields := descriptor.Fields()
	meant := ""
	if camel := fields.ByJSONName(key.Value); camel != nil {
		meant = string(camel.Name())
	} else {
		names := make([]string, fields.Len())
		for i := range names {
			names[i] = string(fields.Get(i).Name())
		}
		meant = nearest(key.Value, names)
	}
	if meant != "" {
		s.faultKey(at, key, "unknown field %s; did you mean %q?", quote(key.Value), meant)
		return
	}
	s.faultKey(at, key, "unknown field %s; known here: %s", quote(key.Value), fieldNames(descriptor))
}

func (s shaper) field(node *yaml.Node, field protoreflect.FieldDescriptor, at *place) {
	if !s.plain(node, at) {
		return
	}
	switch {
	case field.IsList():
		s.list(node, field, at)
	case field.IsMap():
		s.entries(node, field, at)
	default:
		s.value(node, field, at)
	}
}

func (s shaper) list(node *yaml.Node, field protoreflect.FieldDescriptor, at *place) {
	if node.Kind != yaml.SequenceNode {
		s.fault(at, "expected a list, as in [a, b], not %s", kindOf(node))
		return
	}
	if len(node.Content) == 0 {
		s.fault(at, "the list is empty; leave the field out, or name something")
		return
	}
	if !s.fits(len(node.Content), at) {
		return
	}
	at.items = make([]*place, len(node.Content))
	for i, content := range node.Content {
		at.items[i] = newPlace(at, nil, content)
		if s.plain(content, at.items[i]) {
			s.value(content, field, at.items[i])
		}
	}
}

func (s shaper) fits(count int, at *place) bool {
	if count <= maxItems {
		return true
	}
	s.tooLarge = true
	s.fault(at, "there are %d entries here, and at most %d are read", count, maxItems)
	return false
}

func (s shaper) entries(node *yaml.Node, field protoreflect.FieldDescriptor, at *place) {
	if node.Kind != yaml.MappingNode {
		s.fault(at, "expected names and values, as in {name: value}, not %s", kindOf(node))
		return
	}
	if !s.fits(len(node.Content)/2, at) {
		return
	}
	at.fields = make(map[string]*place, len(node.Content)/2)
	seen := make(map[string]int, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		name, ok := s.key(key, at, seen)
		if !ok {
			continue
		}
		child := newPlace(at, key, value)
		at.fields[name] = child
		if s.plain(value, child) {
			s.value(value, field.MapValue(), child)
		}
	}
}

func (s shaper) value(node *yaml.Node, field protoreflect.FieldDescriptor, at *place) {
	if field.Message() != nil && field.Message().FullName() != durationName {
		s.message(node, field.Message(), at)
		return
	}
	if node.Kind != yaml.ScalarNode {
		s.fault(at, "expected %s, not %s", scalarName(field), kindOf(node))
		return
	}
	s.scalar(node, field, at)
}

func fieldNames(descriptor protoreflect.MessageDescriptor) string {
	names := make([]string, descriptor.Fields().Len())
	for i := range names {
		names[i] = string(descriptor.Fields().Get(i).Name())
	}
	return strings.Join(names, ", ")
}

// holdsSecret reports whether a text in the place of such a message may be meant for a secret in it, that many messages
// deep: an operator who does not know where a connection string goes writes it in one of these places.
func holdsSecret(descriptor protoreflect.MessageDescriptor, depth int) bool {
	if descriptor.FullName() == secretName {
		return true
	}
	for i := range descriptor.Fields().Len() {
		if inner := descriptor.Fields().Get(i).Message(); inner != nil && depth > 0 && holdsSecret(inner, depth-1) {
			return true
		}
	}
	return false
}

func kindOf(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			return "the text " + quote(node.Value)
		}
		return quote(node.Value)
	case yaml.DocumentNode, yaml.AliasNode:
	}
	return "this"
}
