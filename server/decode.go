package server

import (
	"unicode/utf8"
	"unsafe"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// maxQuick is the longest message that is decoded here, in bytes. All strings of a message share its memory, so
// that one that is kept keeps the whole.
const maxQuick = 16 << 10

// decodeCheck reads a check of the form in which Envoy sends nearly all of them, without reflection: a ninth of a check's
// CPU. It returns false for whatever it does not know, such as a field that occurs twice, metadata, or text that is not
// UTF-8: the message is then as it was, or half filled, and protobuf's own decoder has to be asked.
func decodeCheck(wire []byte, check *authv3.CheckRequest) bool {
	if len(wire) > maxQuick {
		return false
	}
	d := decoder{append(make([]byte, 0, len(wire)), wire...)} // the caller takes its buffer back
	attributes := &authv3.AttributeContext{}
	check.Attributes = attributes
	seen := fieldSet(0)
	return len(wire) > 0 && d.fields(func(number protowire.Number, value decoder) bool {
		return number == 1 && seen.first(number) && value.attributes(attributes)
	})
}

// decoder reads the fields of one message, all of them length-delimited or numbers.
type decoder struct{ wire []byte }

// fieldSet tells fields that have been seen. A second one would have to be merged with the first.
type fieldSet uint64

func (s *fieldSet) first(number protowire.Number) bool {
	before := *s
	*s |= 1 << number
	return number < 64 && before != *s
}

// fields visits every field that is length-delimited, and refuses a message with others.
func (d decoder) fields(visit func(number protowire.Number, value decoder) bool) bool {
	for len(d.wire) > 0 {
		number, kind, length := protowire.ConsumeTag(d.wire)
		if length < 0 || kind != protowire.BytesType {
			return false
		}
		value, size := protowire.ConsumeBytes(d.wire[length:])
		if size < 0 || !visit(number, decoder{value}) {
			return false
		}
		d.wire = d.wire[length+size:]
	}
	return true
}

// mixed is fields for a message that holds numbers too.
func (d decoder) mixed(visit func(number protowire.Number, value decoder) bool, count func(number protowire.Number, value uint64) bool) bool {
	for len(d.wire) > 0 {
		number, kind, length := protowire.ConsumeTag(d.wire)
		if length < 0 {
			return false
		}
		switch kind {
		case protowire.BytesType:
			value, size := protowire.ConsumeBytes(d.wire[length:])
			if size < 0 || !visit(number, decoder{value}) {
				return false
			}
			length += size
		case protowire.VarintType:
			value, size := protowire.ConsumeVarint(d.wire[length:])
			if size < 0 || !count(number, value) {
				return false
			}
			length += size
		default:
			return false
		}
		d.wire = d.wire[length:]
	}
	return true
}

// text sets a string.
func (d decoder) text(to *string) bool {
	if !utf8.Valid(d.wire) {
		return false
	}
	*to = unsafe.String(unsafe.SliceData(d.wire), len(d.wire)) //nolint:gosec // the copy that decodeCheck made, which nobody writes to
	return true
}

func (d decoder) attributes(to *authv3.AttributeContext) bool {
	seen := fieldSet(0)
	return d.fields(func(number protowire.Number, value decoder) bool {
		switch number {
		case 1:
			to.Source = &authv3.AttributeContext_Peer{}
			return seen.first(number) && value.peer(to.Source)
		case 2:
			to.Destination = &authv3.AttributeContext_Peer{}
			return seen.first(number) && value.peer(to.Destination)
		case 4:
			to.Request = &authv3.AttributeContext_Request{}
			return seen.first(number) && value.request(to.Request)
		case 10:
			if to.ContextExtensions == nil {
				to.ContextExtensions = map[string]string{}
			}
			return value.entry(to.ContextExtensions)
		case 11: // Envoy sends the metadata's message also where it has none
			to.MetadataContext = &corev3.Metadata{}
			return seen.first(number) && len(value.wire) == 0
		case 13:
			to.RouteMetadataContext = &corev3.Metadata{}
			return seen.first(number) && len(value.wire) == 0
		default:
			return false
		}
	})
}

// entry adds an entry of a map; the last of a key counts.
func (d decoder) entry(to map[string]string) bool {
	var key, value string
	seen := fieldSet(0)
	ok := d.fields(func(number protowire.Number, field decoder) bool {
		switch number {
		case 1:
			return seen.first(number) && field.text(&key)
		case 2:
			return seen.first(number) && field.text(&value)
		default:
			return false
		}
	})
	to[key] = value
	return ok
}

func (d decoder) peer(to *authv3.AttributeContext_Peer) bool {
	seen := fieldSet(0)
	return d.fields(func(number protowire.Number, value decoder) bool {
		if !seen.first(number) {
			return false
		}
		switch number {
		case 1:
			return value.address(to)
		case 2:
			return value.text(&to.Service)
		case 4:
			return value.text(&to.Principal)
		case 5:
			return value.text(&to.Certificate)
		default:
			return false
		}
	})
}

func (d decoder) address(to *authv3.AttributeContext_Peer) bool {
	socket := &corev3.SocketAddress{}
	to.Address = &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: socket}}
	seen := fieldSet(0)
	return len(d.wire) > 0 && d.fields(func(number protowire.Number, value decoder) bool {
		return number == 1 && seen.first(number) && value.socketAddress(socket)
	})
}

func (d decoder) socketAddress(to *corev3.SocketAddress) bool {
	seen := fieldSet(0)
	return d.mixed(func(number protowire.Number, value decoder) bool {
		return number == 2 && seen.first(number) && value.text(&to.Address)
	}, func(number protowire.Number, value uint64) bool {
		to.PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: uint32(value)}
		return number == 3 && seen.first(number)
	})
}

func (d decoder) request(to *authv3.AttributeContext_Request) bool {
	seen := fieldSet(0)
	return d.fields(func(number protowire.Number, value decoder) bool {
		if !seen.first(number) {
			return false
		}
		switch number {
		case 1:
			to.Time = &timestamppb.Timestamp{}
			return value.timestamp(to.Time)
		case 2:
			to.Http = &authv3.AttributeContext_HttpRequest{}
			return value.http(to.Http)
		default:
			return false
		}
	})
}

func (d decoder) timestamp(to *timestamppb.Timestamp) bool {
	seen := fieldSet(0)
	return d.mixed(func(protowire.Number, decoder) bool { return false }, func(number protowire.Number, value uint64) bool {
		switch number {
		case 1:
			to.Seconds = int64(value)
		case 2:
			to.Nanos = int32(value)
		default:
			return false
		}
		return seen.first(number)
	})
}

func (d decoder) http(to *authv3.AttributeContext_HttpRequest) bool {
	texts := [...]*string{1: &to.Id, 2: &to.Method, 4: &to.Path, 5: &to.Host, 6: &to.Scheme, 7: &to.Query, 8: &to.Fragment, 10: &to.Protocol, 11: &to.Body}
	seen := fieldSet(0)
	return d.mixed(func(number protowire.Number, value decoder) bool {
		switch {
		case number == 3:
			if to.Headers == nil {
				to.Headers = map[string]string{}
			}
			return value.entry(to.Headers)
		case !seen.first(number):
			return false
		case number == 12:
			to.RawBody = value.wire[:len(value.wire):len(value.wire)]
			return true
		case number == 13:
			to.HeaderMap = &corev3.HeaderMap{}
			return value.headers(to.HeaderMap)
		case int(number) < len(texts) && texts[number] != nil:
			return value.text(texts[number])
		default:
			return false
		}
	}, func(number protowire.Number, value uint64) bool {
		to.Size = int64(value)
		return number == 9 && seen.first(number)
	})
}

// headerLines is how many lines are made at a time.
const headerLines = 16

func (d decoder) headers(to *corev3.HeaderMap) bool {
	var free []corev3.HeaderValue
	return d.fields(func(number protowire.Number, line decoder) bool {
		if number != 1 {
			return false
		}
		if len(free) == 0 {
			free = make([]corev3.HeaderValue, headerLines)
		}
		value := &free[0]
		free = free[1:]
		to.Headers = append(to.Headers, value)
		seen := fieldSet(0)
		return line.fields(func(number protowire.Number, field decoder) bool {
			if !seen.first(number) {
				return false
			}
			switch number {
			case 1:
				return field.text(&value.Key)
			case 2:
				return field.text(&value.Value)
			case 3:
				value.RawValue = field.wire[:len(field.wire):len(field.wire)]
				return true
			default:
				return false
			}
		})
	})
}
