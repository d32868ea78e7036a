package server

import (
	"context"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// messageOverhead is how much larger than the longest body that is looked at a check message may be: headers, of
// which Envoy can be told to take 8 MiB, and bodies from an Envoy that was told to send longer ones. What is larger
// still is refused by grpc-go with an RPC error, which no code of ours can turn into an answer.
const messageOverhead = 64 << 20

// message is a check or its answer as the bytes on the wire. Reading them is the checker's, which has an answer also for
// those that cannot be read: an error of the codec's would end the call before, and an Envoy may have been told to let such
// requests pass (its CVE-2023-27488: a string that was not UTF-8 made the check unreadable).
type message struct{ wire []byte }

// codec is gRPC's own, but for messages.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(grpcproto.Name)} }

// Unmarshal reads a message. It copies: the buffers are gRPC's, which uses them again.
func (c codec) Unmarshal(data mem.BufferSlice, to any) error {
	if m, ok := to.(*message); ok {
		m.wire = data.Materialize()
		return nil
	}
	return c.CodecV2.Unmarshal(data, to)
}

// Marshal writes a message, which is gRPC's from then on.
func (c codec) Marshal(from any) (mem.BufferSlice, error) {
	if m, ok := from.(*message); ok {
		return mem.BufferSlice{mem.SliceBuffer(m.wire)}, nil
	}
	return c.CodecV2.Marshal(from)
}

// answerer is what stands behind the Authorization service.
type answerer interface {
	answer(ctx context.Context, check []byte) (response []byte)
}

// newService describes the Authorization service (envoy.service.auth.v3) as one that takes and gives messages.
func newService() *grpc.ServiceDesc {
	service := authv3.Authorization_ServiceDesc
	service.HandlerType = (*answerer)(nil)
	service.Methods = []grpc.MethodDesc{{
		MethodName: "Check",
		Handler: func(service any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			m := &message{}
			if err := decode(m); err != nil {
				return nil, err
			}
			m.wire = service.(answerer).answer(ctx, m.wire)
			return m, nil
		},
	}}
	return &service
}
