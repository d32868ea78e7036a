package server

import (
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// messageOverhead is how much larger than the longest body that is looked at a check message may be: headers, of
// which Envoy can be told to take 8 MiB, and bodies from an Envoy that was told to send longer ones. What is larger
// still is refused by grpc-go with an RPC error, which no code of ours can turn into an answer.
const messageOverhead = 64 << 20

// lenientCodec is gRPC's own codec, which is quicker about the messages that there are most of, and differs in one thing: a
// check that cannot be read becomes a check about nothing, which is denied. An error would end the call before Check saw it, and an Envoy may have been told to let such requests
// pass (its CVE-2023-27488: a string that was not UTF-8 made the check unreadable).
type lenientCodec struct{ encoding.CodecV2 }

func newLenientCodec() lenientCodec {
	return lenientCodec{encoding.GetCodecV2(grpcproto.Name)}
}

// Unmarshal reads a message, and never returns an error for a check.
func (c lenientCodec) Unmarshal(data mem.BufferSlice, message any) error {
	check, ok := message.(*authv3.CheckRequest)
	if !ok {
		return c.CodecV2.Unmarshal(data, message)
	}
	if unmarshalQuickly(data, check) {
		return nil
	}
	check.Reset()
	if c.CodecV2.Unmarshal(data, message) != nil {
		check.Reset()
	}
	return nil
}

func unmarshalQuickly(data mem.BufferSlice, check *authv3.CheckRequest) bool {
	if data.Len() > maxQuick {
		return false
	}
	wire := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer wire.Free()
	return decodeCheck(wire.ReadOnlyData(), check)
}

// Marshal writes a message.
func (c lenientCodec) Marshal(message any) (mem.BufferSlice, error) {
	if response, ok := message.(*authv3.CheckResponse); ok {
		if wire, ok := encodeResponse(response); ok {
			return mem.BufferSlice{mem.SliceBuffer(wire)}, nil
		}
	}
	return c.CodecV2.Marshal(message)
}
