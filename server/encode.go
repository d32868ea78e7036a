package server

import (
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/structpb"
)

// encodeResponse writes a response that allows, of the form in which newResponse makes it, without reflection. It returns
// false for any other, and for text that is not UTF-8: protobuf's own encoder has to be asked.
func encodeResponse(response *authv3.CheckResponse) ([]byte, bool) {
	ok := response.GetOkResponse()
	if ok == nil || response.GetStatus() == nil || response.GetStatus().GetCode() != 0 {
		return nil, false
	}
	e := &encoder{wire: make([]byte, 0, 512), valid: true}
	e.message(1, func() {})
	e.message(3, func() {
		e.headers(2, ok.GetHeaders())
		for _, name := range ok.GetHeadersToRemove() {
			e.text(5, name)
		}
		e.headers(6, ok.GetResponseHeadersToAdd())
		for _, parameter := range ok.GetQueryParametersToSet() {
			e.message(7, func() {
				e.text(1, parameter.GetKey())
				e.text(2, parameter.GetValue())
			})
		}
		for _, name := range ok.GetQueryParametersToRemove() {
			e.text(8, name)
		}
	})
	e.metadata(response.GetDynamicMetadata())
	return e.wire, e.valid
}

// encoder appends fields to a message.
type encoder struct {
	wire  []byte
	valid bool
}

// message appends a message, whose length is known once its fields are there.
func (e *encoder) message(number protowire.Number, fields func()) {
	e.wire = protowire.AppendTag(e.wire, number, protowire.BytesType)
	start := len(e.wire)
	fields()
	length := len(e.wire) - start
	size := protowire.SizeVarint(uint64(length))
	for range size {
		e.wire = append(e.wire, 0)
	}
	copy(e.wire[start+size:], e.wire[start:start+length])
	protowire.AppendVarint(e.wire[:start], uint64(length))
}

// text appends a string, also an empty one, which means the same as none.
func (e *encoder) text(number protowire.Number, text string) {
	e.valid = e.valid && utf8.ValidString(text)
	e.wire = protowire.AppendTag(e.wire, number, protowire.BytesType)
	e.wire = protowire.AppendString(e.wire, text)
}

func (e *encoder) headers(number protowire.Number, options []*corev3.HeaderValueOption) {
	for _, option := range options {
		e.valid = e.valid && option.GetAppend() == nil && !option.GetKeepEmptyValue() && len(option.GetHeader().GetRawValue()) == 0 //nolint:staticcheck // deprecated, and not written here
		e.message(number, func() {
			e.message(1, func() {
				e.text(1, option.GetHeader().GetKey())
				e.text(2, option.GetHeader().GetValue())
			})
			e.wire = protowire.AppendTag(e.wire, 3, protowire.VarintType)
			e.wire = protowire.AppendVarint(e.wire, uint64(option.GetAppendAction()))
		})
	}
}

// metadata appends a struct of strings.
func (e *encoder) metadata(metadata *structpb.Struct) {
	if metadata == nil {
		return
	}
	e.message(4, func() {
		for name, value := range metadata.GetFields() {
			text, ok := value.GetKind().(*structpb.Value_StringValue)
			if !ok {
				e.valid = false
				return
			}
			e.message(1, func() {
				e.text(1, name)
				e.message(2, func() { e.text(3, text.StringValue) })
			})
		}
	})
}
