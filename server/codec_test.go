package server

import (
	"bytes"
	"context"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestMessagesAreCopied: the transport uses its buffers again, while what was read is still in use.
func TestMessagesAreCopied(t *testing.T) {
	first, second := []byte("one, "), []byte("two")
	var m message
	if err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(first), mem.SliceBuffer(second)}, &m); err != nil {
		t.Fatal(err)
	}
	clear(first)
	clear(second)
	if string(m.wire) != "one, two" {
		t.Errorf("read %q", m.wire)
	}
	wire, err := newCodec().Marshal(&m)
	if err != nil || string(wire.Materialize()) != "one, two" {
		t.Errorf("written as %q, %v", wire.Materialize(), err)
	}
}

// TestOtherMessages are those of health and reflection, which are protobuf's.
func TestOtherMessages(t *testing.T) {
	wire, err := newCodec().Marshal(wrapperspb.String("text"))
	if err != nil {
		t.Fatal(err)
	}
	var got wrapperspb.StringValue
	if err := newCodec().Unmarshal(wire, &got); err != nil || got.GetValue() != "text" {
		t.Errorf("%v, %v", &got, err)
	}
	if newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer{0xff}}, &got) == nil {
		t.Error("what is no message is read")
	}
}

type echo struct{}

func (echo) answer(_ context.Context, check []byte) []byte { return bytes.ToUpper(check) }

// TestServiceIsEnvoys: the description differs from the generated one in what its handler takes and gives.
func TestServiceIsEnvoys(t *testing.T) {
	service, generated := newService(), authv3.Authorization_ServiceDesc
	if service.ServiceName != generated.ServiceName || service.Metadata != generated.Metadata || len(service.Streams) != 0 ||
		len(service.Methods) != len(generated.Methods) || service.Methods[0].MethodName != generated.Methods[0].MethodName {
		t.Errorf("%+v", service)
	}
	answer, err := service.Methods[0].Handler(echo{}, t.Context(), func(to any) error {
		return newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer("check")}, to)
	}, nil)
	if m, ok := answer.(*message); err != nil || !ok || string(m.wire) != "CHECK" {
		t.Errorf("%v, %v", answer, err)
	}
	if answer, err := service.Methods[0].Handler(echo{}, t.Context(), func(any) error { return context.Canceled }, nil); err == nil {
		t.Errorf("what the transport did not give is answered: %v", answer)
	}
}

func marshal(t interface{ Fatal(...any) }, message proto.Message) []byte {
	wire, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return wire
}
