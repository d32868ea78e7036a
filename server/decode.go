package server

import (
	"slices"
	"unicode/utf8"
	"unsafe"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/kasbah-authz/kasbah/policy"
)

// maxQuick is the longest message that is decoded here, in bytes. All strings of a message share its memory, so
// that one that is kept keeps the whole.
const maxQuick = 16 << 10

// readAttributes reads a CheckRequest. What cannot be read has no HTTP attributes. The attributes keep the memory of wire,
// which nobody may write to any more.
//
// The form in which Envoy sends nearly all checks is read here, without protobuf's reflection and without a tree of messages
// in between; any other, such as a field that occurs twice, metadata, or text that is not UTF-8, by protobuf.
func readAttributes(wire []byte) attributes {
	var quick attributes
	if len(wire) <= maxQuick && quick.readCheck(wire) {
		return quick
	}
	var check authv3.CheckRequest
	if proto.Unmarshal(wire, &check) != nil {
		return attributes{}
	}
	return attributesOf(&check)
}

// attributesOf takes the attributes from protobuf's own message. Envoy has two forms for headers: one line each, as bytes
// (encode_raw_headers), and a map in which repeated lines are already joined by commas.
func attributesOf(check *authv3.CheckRequest) attributes {
	said := check.GetAttributes()
	http := said.GetRequest().GetHttp()
	lines := http.GetHeaderMap().GetHeaders()
	headers := make(policy.Headers, 0, len(lines)+len(http.GetHeaders()))
	for _, line := range lines {
		value := line.GetValue()
		if raw := line.GetRawValue(); len(raw) > 0 {
			value = string(raw)
		}
		headers = append(headers, policy.Header{Name: line.GetKey(), Value: value})
	}
	for name, value := range http.GetHeaders() {
		headers = append(headers, policy.Header{Name: name, Value: value})
	}
	return attributes{
		http: http != nil,
		id:   http.GetId(), method: http.GetMethod(), path: http.GetPath(), host: http.GetHost(), scheme: http.GetScheme(),
		protocol: http.GetProtocol(), size: http.GetSize(), headers: headers, rawBody: http.GetRawBody(), body: http.GetBody(),
		source: newPeer(said.GetSource()), destination: newPeer(said.GetDestination()),
		extensions: said.GetContextExtensions(), metadata: said.GetMetadataContext().GetFilterMetadata(),
	}
}

func newPeer(peer *authv3.AttributeContext_Peer) policy.Peer {
	socket := peer.GetAddress().GetSocketAddress()
	return policy.Peer{
		Address:     socket.GetAddress(),
		Port:        socket.GetPortValue(),
		Principal:   peer.GetPrincipal(),
		Certificate: peer.GetCertificate(),
	}
}

// The wire types of fields that Envoy sends.
const (
	number    = 0
	delimited = 2
)

// fields steps through the fields of one message.
type fields struct {
	rest     []byte
	tag      uint64 // number of the field and its wire type, as protobuf writes them
	value    []byte // of a delimited one
	count    uint64 // of a number
	repeated uint64 // the numbers of fields of which there may be many, as bits
	seen     uint64
	unknown  bool // whether there is anything that is not known here; then what was read is of no use
}

// next steps to the next field. A second one of a field that is not repeated would have to be merged with the first, and is
// not known.
func (f *fields) next() bool {
	if f.unknown || len(f.rest) == 0 {
		return false
	}
	f.unknown = true
	tag, length := protowire.ConsumeVarint(f.rest)
	if length < 0 || tag>>3 == 0 || tag>>3 > 63 {
		return false
	}
	bit := uint64(1) << (tag >> 3)
	if f.seen&bit&^f.repeated != 0 {
		return false
	}
	size := 0
	switch tag & 7 {
	case delimited:
		f.value, size = protowire.ConsumeBytes(f.rest[length:])
	case number:
		f.count, size = protowire.ConsumeVarint(f.rest[length:])
	default:
		return false
	}
	if size < 0 {
		return false
	}
	f.tag, f.seen, f.rest, f.unknown = tag, f.seen|bit, f.rest[length+size:], false
	return true
}

// text sets a string to the field's value, without a copy.
func (f *fields) text(to *string) {
	*to = unsafe.String(unsafe.SliceData(f.value), len(f.value)) //nolint:gosec // nobody writes to the message any more
	f.unknown = !utf8.Valid(f.value)
}

func (a *attributes) readCheck(wire []byte) bool {
	f := fields{rest: wire}
	for f.next() {
		f.unknown = f.tag != 1<<3|delimited || !a.readContext(f.value)
	}
	return !f.unknown
}

func (a *attributes) readContext(wire []byte) bool {
	f := fields{rest: wire, repeated: 1 << 10}
	for f.next() {
		switch f.tag {
		case 1<<3 | delimited:
			f.unknown = !readPeer(f.value, &a.source)
		case 2<<3 | delimited:
			f.unknown = !readPeer(f.value, &a.destination)
		case 4<<3 | delimited:
			f.unknown = !a.readRequest(f.value)
		case 10<<3 | delimited:
			var key, value string
			if a.extensions == nil {
				a.extensions = map[string]string{}
			}
			f.unknown = !readEntry(f.value, &key, &value)
			a.extensions[key] = value
		case 11<<3 | delimited, 13<<3 | delimited: // the metadata; Envoy sends the message also where there is none
			f.unknown = len(f.value) > 0
		default:
			f.unknown = true
		}
	}
	return !f.unknown
}

// readEntry reads an entry of a map.
func readEntry(wire []byte, key, value *string) bool {
	f := fields{rest: wire}
	for f.next() {
		switch f.tag {
		case 1<<3 | delimited:
			f.text(key)
		case 2<<3 | delimited:
			f.text(value)
		default:
			f.unknown = true
		}
	}
	return !f.unknown
}

func readPeer(wire []byte, to *policy.Peer) bool {
	f := fields{rest: wire}
	var service string
	for f.next() {
		switch f.tag {
		case 1<<3 | delimited:
			f.unknown = !readAddress(f.value, to)
		case 2<<3 | delimited:
			f.text(&service)
		case 4<<3 | delimited:
			f.text(&to.Principal)
		case 5<<3 | delimited:
			f.text(&to.Certificate)
		default:
			f.unknown = true
		}
	}
	return !f.unknown
}

func readAddress(wire []byte, to *policy.Peer) bool {
	f := fields{rest: wire}
	for f.next() {
		f.unknown = f.tag != 1<<3|delimited || !readSocketAddress(f.value, to)
	}
	return !f.unknown
}

func readSocketAddress(wire []byte, to *policy.Peer) bool {
	f := fields{rest: wire}
	for f.next() {
		switch f.tag {
		case 1<<3 | number: // TCP or UDP
		case 2<<3 | delimited:
			f.text(&to.Address)
		case 3<<3 | number:
			to.Port = uint32(f.count) // as protobuf cuts it
		default:
			f.unknown = true
		}
	}
	return !f.unknown
}

func (a *attributes) readRequest(wire []byte) bool {
	f := fields{rest: wire}
	for f.next() {
		switch f.tag {
		case 1<<3 | delimited:
			f.unknown = !readTime(f.value)
		case 2<<3 | delimited:
			a.http = true
			f.unknown = !a.readHTTP(f.value)
		default:
			f.unknown = true
		}
	}
	return !f.unknown
}

// readTime reads Envoy's time of the request, of which no use is made.
func readTime(wire []byte) bool {
	f := fields{rest: wire}
	for f.next() {
		f.unknown = f.tag != 1<<3|number && f.tag != 2<<3|number
	}
	return !f.unknown
}

func (a *attributes) readHTTP(wire []byte) bool {
	f := fields{rest: wire, repeated: 1 << 3}
	var query, fragment string // parts of the path
	for f.next() {
		switch f.tag {
		case 1<<3 | delimited:
			f.text(&a.id)
		case 2<<3 | delimited:
			f.text(&a.method)
		case 3<<3 | delimited:
			f.unknown = f.seen&(1<<13) != 0 || !a.readHeader(f.value)
		case 4<<3 | delimited:
			f.text(&a.path)
		case 5<<3 | delimited:
			f.text(&a.host)
		case 6<<3 | delimited:
			f.text(&a.scheme)
		case 7<<3 | delimited:
			f.text(&query)
		case 8<<3 | delimited:
			f.text(&fragment)
		case 9<<3 | number:
			a.size = int64(f.count) // as protobuf writes negative numbers
		case 10<<3 | delimited:
			f.text(&a.protocol)
		case 11<<3 | delimited:
			f.text(&a.body)
		case 12<<3 | delimited:
			a.rawBody = slices.Clip(f.value)
		case 13<<3 | delimited:
			f.unknown = f.seen&(1<<3) != 0 || !a.readLines(f.value)
		default:
			f.unknown = true
		}
	}
	return !f.unknown
}

// maxMerged is how many headers are read in the form of a map, in which one that occurs again replaces the first.
const maxMerged = 128

func (a *attributes) readHeader(wire []byte) bool {
	var header policy.Header
	if !readEntry(wire, &header.Name, &header.Value) {
		return false
	}
	_, again := a.headers.Get(header.Name)
	a.headers = append(a.headers, header)
	return again == 0 && len(a.headers) <= maxMerged
}

func (a *attributes) readLines(wire []byte) bool {
	f := fields{rest: wire, repeated: 1 << 1}
	count := 0
	for f.next() {
		count++
	}
	a.headers = make(policy.Headers, 0, count)
	f = fields{rest: wire, repeated: 1 << 1}
	for f.next() {
		f.unknown = f.tag != 1<<3|delimited || !a.readLine(f.value)
	}
	return !f.unknown
}

// readLine reads a line of the headers, whose value is text or, where there are any, bytes.
func (a *attributes) readLine(wire []byte) bool {
	f := fields{rest: wire}
	var header policy.Header
	var raw []byte
	for f.next() {
		switch f.tag {
		case 1<<3 | delimited:
			f.text(&header.Name)
		case 2<<3 | delimited:
			f.text(&header.Value)
		case 3<<3 | delimited:
			raw = f.value
		default:
			f.unknown = true
		}
	}
	if len(raw) > 0 {
		header.Value = unsafe.String(unsafe.SliceData(raw), len(raw)) //nolint:gosec // as in text
	}
	a.headers = append(a.headers, header)
	return !f.unknown
}
