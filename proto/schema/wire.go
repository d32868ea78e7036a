package schema

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// meter walks over a message in protobuf's own form before anything is built of it: an element of a list takes a byte there, and
// hundreds in memory.
type meter struct {
	contract *contract
	values   int  // messages, elements and entries so far
	unknown  bool // there is a field that its message does not have
}

var errWire = invalid("protobuf.wire", "a message is not in protobuf's form")

// message measures one message that may nest depth others.
func (m *meter) message(wire []byte, descriptor protoreflect.MessageDescriptor, depth int) *finding {
	if depth < 0 {
		return invalid("protobuf.max_depth", fmt.Sprintf("messages are nested deeper than %d", m.contract.maxDepth))
	}
	if found := m.count(1); found != nil {
		return found
	}
	for len(wire) > 0 {
		number, kind, length := protowire.ConsumeTag(wire)
		if length < 0 {
			return errWire
		}
		wire = wire[length:]
		size := protowire.ConsumeFieldValue(number, kind, wire)
		if size < 0 {
			return errWire
		}
		if found := m.field(wire[:size], number, kind, descriptor, depth); found != nil {
			return found
		}
		wire = wire[size:]
	}
	return nil
}

func (m *meter) count(values int) *finding {
	if m.values += values; m.values > m.contract.maxValues {
		return invalid("protobuf.max_values", fmt.Sprintf("there are more than %d messages and elements", m.contract.maxValues))
	}
	return nil
}

// field measures the value of one field, which is whole.
func (m *meter) field(value []byte, number protowire.Number, kind protowire.Type, descriptor protoreflect.MessageDescriptor, depth int) *finding {
	field := descriptor.Fields().ByNumber(number)
	if field == nil && descriptor.ExtensionRanges().Has(number) {
		if extension, err := m.contract.types.FindExtensionByNumber(descriptor.FullName(), number); err == nil {
			field = extension.TypeDescriptor()
		}
	}
	if field == nil {
		m.unknown = true
		return nil
	}
	own := wireType(field.Kind())
	switch {
	case kind == own && kind == protowire.StartGroupType:
		content, _ := protowire.ConsumeGroup(number, value)
		return m.message(content, field.Message(), depth-1)
	case kind == own && field.Message() != nil:
		content, _ := protowire.ConsumeBytes(value)
		return m.message(content, field.Message(), depth-1)
	case kind == own && field.IsList():
		return m.count(1)
	case kind == own:
		return nil
	case kind == protowire.BytesType && field.IsList() && own != protowire.StartGroupType: // packed
		content, _ := protowire.ConsumeBytes(value)
		return m.count(packed(content, own))
	}
	m.unknown = true // what every parser makes of a field whose value has another form
	return nil
}

// packed returns how many numbers there are in a packed list.
func packed(content []byte, kind protowire.Type) int {
	switch kind {
	case protowire.Fixed32Type:
		return len(content) / 4
	case protowire.Fixed64Type:
		return len(content) / 8
	default:
		count := 0
		for _, c := range content {
			if c < 0x80 {
				count++
			}
		}
		return count
	}
}

func wireType(kind protoreflect.Kind) protowire.Type {
	switch kind {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	default:
		return protowire.VarintType
	}
}
