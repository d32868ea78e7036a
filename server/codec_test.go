package server

import (
	"fmt"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
)

// fullCheck is a check with everything that Envoy sends of an ordinary request.
func fullCheck() *authv3.CheckRequest {
	address := func(ip string, port uint32) *authv3.AttributeContext_Peer {
		return &authv3.AttributeContext_Peer{Principal: "spiffe://x/y", Service: "s", Certificate: "c", Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}},
		}}}
	}
	headers := &corev3.HeaderMap{}
	for i := range 20 {
		headers.Headers = append(headers.Headers, &corev3.HeaderValue{Key: fmt.Sprint("x-", i), RawValue: []byte{byte(i), 0xff}})
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: address("10.0.0.1", 4711), Destination: address("::1", 443),
		ContextExtensions: map[string]string{"kasbah.route": "orders", "": ""},
		MetadataContext:   &corev3.Metadata{}, RouteMetadataContext: &corev3.Metadata{},
		Request: &authv3.AttributeContext_Request{
			Time: &timestamppb.Timestamp{Seconds: 1_800_000_000, Nanos: 5},
			Http: &authv3.AttributeContext_HttpRequest{
				Id: "1", Method: "GET", Path: "/ü?x=1", Host: "h", Scheme: "https", Query: "q", Fragment: "f", Size: -1, Protocol: "HTTP/2",
				Headers: map[string]string{"a": "b", "c": ""}, HeaderMap: headers, Body: "text", RawBody: []byte("raw"),
			},
		},
	}}
}

func marshal(t interface{ Fatal(...any) }, message proto.Message) []byte {
	wire, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// sameDecoding holds the codec against protobuf's own: the same message, or one about nothing.
func sameDecoding(t interface {
	Fatalf(string, ...any)
}, wire []byte,
) (quick bool) {
	var want, got, alone authv3.CheckRequest
	if proto.Unmarshal(wire, &want) != nil {
		want.Reset()
	}
	given := append([]byte{}, wire...)
	if err := newLenientCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(given)}, &got); err != nil {
		t.Fatalf("%x: %v", wire, err)
	}
	quick = decodeCheck(given, &alone)
	clear(given) // the transport uses its buffers again
	if !proto.Equal(&want, &got) {
		t.Fatalf("%x\nprotobuf: %v\ndecoded:  %v", wire, &want, &got)
	}
	if quick && !proto.Equal(&want, &alone) {
		t.Fatalf("%x\nprotobuf: %v\nquickly:  %v", wire, &want, &alone)
	}
	return quick
}

// TestDecodingAsProtobufDoes: whole messages, and what is left of them when bytes change, go, come or are repeated.
func TestDecodingAsProtobufDoes(t *testing.T) {
	whole := marshal(t, fullCheck())
	if !sameDecoding(t, whole) {
		t.Error("an ordinary check is not decoded quickly")
	}
	quick := 0
	rapid.Check(t, func(t *rapid.T) {
		wire := append([]byte{}, whole...)
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			at := rapid.Custom(func(t *rapid.T) int { return int(rapid.Uint32().Draw(t, "at") % uint32(len(wire))) }).Draw(t, "at")
			end := min(len(wire), at+rapid.IntRange(1, 40).Draw(t, "length"))
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0, 4, 5, 6, 7, 8, 9:
				wire[at] = rapid.SampledFrom([]byte{0, 1, 2, 'a', '/', 0x0a, 0x12, 0x80, 0xff}).Draw(t, "byte")
			case 1:
				wire = append(wire[:at], wire[end:]...)
			case 2:
				wire = append(wire[:end:end], wire[at:]...)
			default:
				wire = append(wire, wire...)
			}
			if len(wire) == 0 {
				return
			}
		}
		if sameDecoding(t, wire) {
			quick++
		}
	})
	if quick == 0 {
		t.Error("no changed message was decoded quickly, which shows little")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(marshal(f, fullCheck()))
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0})
	f.Add([]byte{0x0a, 2, 0x0a, 0})
	f.Fuzz(func(t *testing.T, wire []byte) { sameDecoding(t, wire) })
}

// TestEncodingAsProtobufDoes: every response that allows is read by protobuf as what it was.
func TestEncodingAsProtobufDoes(t *testing.T) {
	text := rapid.StringN(0, 40, 200)
	mutations := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) policy.Mutation {
		return policy.Mutation{Name: text.Draw(t, "name"), Value: text.Draw(t, "value")}
	}), 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		d := policy.Decision{
			ID: text.Draw(t, "id"), Effect: policy.Effect(rapid.IntRange(0, 1).Draw(t, "effect")), Route: text.Draw(t, "route"), Reason: policy.NoReason,
			Set: mutations.Draw(t, "set"), Response: mutations.Draw(t, "response"), Query: mutations.Draw(t, "query"),
			Remove: rapid.SliceOf(text).Draw(t, "remove"), RemoveQuery: rapid.SliceOf(text).Draw(t, "remove query"),
			Principal: &policy.Principal{ID: text.Draw(t, "principal")},
		}
		response := newResponse(&d, false)
		wire, err := newLenientCodec().Marshal(response)
		if err != nil {
			t.Fatal(err)
		}
		var got authv3.CheckResponse
		if err := proto.Unmarshal(wire.Materialize(), &got); err != nil || !proto.Equal(response, &got) {
			t.Fatalf("%v\n%v\n%v", err, response, &got)
		}
		if _, quick := encodeResponse(response); quick != (d.Effect == policy.Allow) {
			t.Fatal("quick", quick)
		}
	})
	for name, response := range map[string]*authv3.CheckResponse{
		"no status": {HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}},
		"a number in the metadata": func() *authv3.CheckResponse {
			r := newResponse(&policy.Decision{Effect: policy.Allow, Principal: &policy.Principal{}}, false)
			r.DynamicMetadata.Fields["n"] = structpb.NewNumberValue(1)
			return r
		}(),
	} {
		if _, quick := encodeResponse(response); quick {
			t.Errorf("%s is encoded quickly", name)
		}
	}
}
