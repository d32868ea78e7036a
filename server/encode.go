package server

import (
	"slices"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/kasbah-authz/kasbah/policy"
)

// bareDenial is a CheckResponse that denies, with status INTERNAL and 500 and nothing else: the last resort. An empty one
// would be an allow.
const bareDenial = "\x0a\x02\x08\x0d\x12\x05\x0a\x03\x08\xf4\x03"

// encodeDenial writes the CheckResponse of a Decision as a denial, whatever the Decision says.
func encodeDenial(d *policy.Decision, grpcCaller bool) []byte {
	wire, err := proto.Marshal(newDenial(d, grpcCaller))
	if err != nil {
		return []byte(bareDenial)
	}
	return wire
}

// encodeAllow writes the CheckResponse that allows what an Allow allows, with what it changes. There is one for nearly every
// check, so it is written without a tree of messages in between. It returns false for text that is not UTF-8, which no
// message may hold.
func encodeAllow(d *policy.Decision) ([]byte, bool) {
	e := &encoder{wire: make([]byte, 0, 512), valid: true}
	e.message(1, func() {}) // the status; code 0 is OK
	e.message(3, func() {   // the response that allows
		e.overwrite(2, d.Set)
		e.texts(5, d.Remove)
		e.overwrite(6, d.Response)
		for i := range d.Query {
			e.message(7, func() {
				e.text(1, escapeQuery(d.Query[i].Name))
				e.text(2, escapeQuery(d.Query[i].Value))
			})
		}
		e.texts(8, d.RemoveQuery)
	})
	e.message(4, func() { // the metadata, a Struct
		texts, count := describe(d)
		for i := range count {
			e.message(1, func() {
				e.text(1, texts[i].name)
				e.message(2, func() { e.text(3, texts[i].text) })
			})
		}
	})
	return e.wire, e.valid
}

// encoder appends fields to a message.
type encoder struct {
	wire  []byte
	valid bool
}

// message appends a message, whose length is known once its fields are there. Most are so short that it takes one byte.
func (e *encoder) message(number protowire.Number, fields func()) {
	e.wire = append(protowire.AppendTag(e.wire, number, protowire.BytesType), 0)
	start := len(e.wire)
	fields()
	length := uint64(len(e.wire) - start)
	if length < 0x80 {
		e.wire[start-1] = byte(length)
		return
	}
	var prefix [10]byte
	e.wire = slices.Replace(e.wire, start-1, start, protowire.AppendVarint(prefix[:0], length)...)
}

// text appends a string, also an empty one, which means the same as none.
func (e *encoder) text(number protowire.Number, text string) {
	e.valid = e.valid && utf8.ValidString(text)
	e.wire = protowire.AppendTag(e.wire, number, protowire.BytesType)
	e.wire = protowire.AppendString(e.wire, text)
}

func (e *encoder) texts(number protowire.Number, texts []string) {
	for _, text := range texts {
		e.text(number, text)
	}
}

// overwrite makes each mutation replace every line of its name. Envoy would otherwise append, and the
// upstream might read the client's line instead of ours.
func (e *encoder) overwrite(number protowire.Number, mutations []policy.Mutation) {
	for i := range mutations {
		e.message(number, func() {
			e.message(1, func() {
				e.text(1, mutations[i].Name)
				e.text(2, mutations[i].Value)
			})
			e.wire = protowire.AppendTag(e.wire, 3, protowire.VarintType)
			e.wire = protowire.AppendVarint(e.wire, uint64(corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
		})
	}
}
