package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
)

// fullCheck is a check with everything that Envoy sends of an ordinary request, headers in one of its two forms.
func fullCheck(lines bool) *authv3.CheckRequest {
	address := func(ip string, port uint32) *authv3.AttributeContext_Peer {
		return &authv3.AttributeContext_Peer{Principal: "spiffe://x/y", Service: "s", Certificate: "c", Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: ip, Protocol: corev3.SocketAddress_UDP, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}},
		}}}
	}
	http := &authv3.AttributeContext_HttpRequest{
		Id: "1", Method: "GET", Path: "/ü?x=1", Host: "h", Scheme: "https", Query: "q", Fragment: "f", Size: -1, Protocol: "HTTP/2",
		Body: "text", RawBody: []byte("raw"),
	}
	if lines {
		http.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{}, {Key: "a", Value: "b"}, {Key: "both", Value: "v", RawValue: []byte("r")}}}
		for i := range 20 {
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: fmt.Sprint("x-", i), RawValue: []byte{byte(i), 0xff}})
		}
	} else {
		http.Headers = map[string]string{"a": "b", "c": "", "": "d"}
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: address("10.0.0.1", 4711), Destination: address("::1", 443),
		ContextExtensions: map[string]string{"kasbah.route": "orders", "": ""},
		MetadataContext:   &corev3.Metadata{}, RouteMetadataContext: &corev3.Metadata{},
		Request: &authv3.AttributeContext_Request{Time: &timestamppb.Timestamp{Seconds: 1_800_000_000, Nanos: 5}, Http: http},
	}}
}

// sameReading holds the reading of a check against protobuf's, and reports whether it was done without protobuf.
func sameReading(t interface {
	Fatalf(string, ...any)
}, wire []byte,
) (quick bool) {
	var check authv3.CheckRequest
	var want attributes
	if proto.Unmarshal(wire, &check) == nil {
		want = attributesOf(&check)
	}
	options := cmp.Options{cmp.AllowUnexported(attributes{}), cmpopts.EquateEmpty(), protocmp.Transform()}
	if len(check.GetAttributes().GetRequest().GetHttp().GetHeaders()) > 0 { // a map has no order
		options = append(options, cmpopts.SortSlices(func(a, b policy.Header) bool { return a.Name < b.Name }))
	}
	if diff := cmp.Diff(want, readAttributes(slices.Clone(wire)), options); diff != "" {
		t.Fatalf("%x (-protobuf +read):\n%s", wire, diff)
	}
	var alone attributes
	if len(wire) > maxQuick || !alone.readCheck(slices.Clone(wire)) {
		return false
	}
	if diff := cmp.Diff(want, alone, options); diff != "" {
		t.Fatalf("%x (-protobuf +read without it):\n%s", wire, diff)
	}
	return true
}

// TestReadingAsProtobufDoes: whole messages, and what is left of them when bytes change, go, come or are repeated.
func TestReadingAsProtobufDoes(t *testing.T) {
	wholes := [][]byte{marshal(t, fullCheck(true)), marshal(t, fullCheck(false))}
	for _, whole := range wholes {
		if !sameReading(t, whole) {
			t.Errorf("an ordinary check is not read without protobuf: %x", whole)
		}
	}
	quick := 0
	rapid.Check(t, func(t *rapid.T) {
		wire := slices.Clone(rapid.SampledFrom(wholes).Draw(t, "whole"))
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			at := int(rapid.Uint32().Draw(t, "at") % uint32(len(wire)))
			end := min(len(wire), at+rapid.IntRange(1, 40).Draw(t, "length"))
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			default:
				wire[at] = rapid.SampledFrom([]byte{0, 1, 2, 'a', '/', 0x0a, 0x12, 0x80, 0xff}).Draw(t, "byte")
			case 1:
				wire = append(wire[:at], wire[end:]...)
			case 2:
				wire = append(wire[:end:end], wire[at:]...)
			case 3:
				wire = append(wire, wire...)
			}
			if len(wire) == 0 {
				return
			}
		}
		if sameReading(t, wire) {
			quick++
		}
	})
	if quick == 0 {
		t.Error("no changed message was read without protobuf, which shows little")
	}
}

// TestGeneratedChecksAreReadAsProtobufDoes: fields of every message in any order, number and type, known and unknown.
func TestGeneratedChecksAreReadAsProtobufDoes(t *testing.T) {
	text := rapid.SampledFrom([]string{"", "a", "GET", "/x", "ü", "\xff", strings.Repeat("long", 50)})
	// Which fields of which message hold messages, by the names that the generator below gives them.
	inside := map[string]map[protowire.Number]string{
		"check": {1: "context"}, "context": {1: "peer", 2: "peer", 4: "request", 10: "entry", 11: "metadata", 12: "other", 13: "metadata"},
		"peer": {1: "address", 3: "entry"}, "address": {1: "socket", 2: "other"}, "request": {1: "time", 2: "http"},
		"http": {3: "entry", 13: "lines"}, "lines": {1: "line"}, "metadata": {1: "other"},
	}
	// Fields that are likelier than others, so that most messages are ones that can be read.
	usual := map[string][]protowire.Number{
		"check": {1}, "context": {1, 2, 4, 10, 10, 11}, "peer": {1, 2, 4, 5}, "address": {1}, "socket": {2, 3}, "request": {1, 2}, "time": {1, 2},
		"http": {1, 2, 3, 3, 4, 5, 6, 9, 10, 11, 12, 13}, "entry": {1, 2}, "lines": {1, 1, 1}, "line": {1, 2, 3},
	}
	numbers := map[string][]protowire.Number{"socket": {1, 3}, "time": {1, 2}, "http": {9}}
	var generate func(t *rapid.T, name string) []byte
	generate = func(t *rapid.T, name string) (wire []byte) {
		fields := rapid.Permutation(usual[name]).Draw(t, name)
		fields = fields[:rapid.IntRange(0, len(fields)).Draw(t, "fields")]
		if rapid.IntRange(0, 15).Draw(t, "odd") == 0 {
			fields = append(slices.Clone(fields), protowire.Number(rapid.SampledFrom([]int{1, 2, 3, 4, 7, 10, 12, 13, 14, 63, 64, 1000}).Draw(t, "number")))
		}
		for _, field := range fields {
			odd := rapid.IntRange(0, 60).Draw(t, "type") == 0
			switch {
			case slices.Contains(numbers[name], field) != odd:
				wire = protowire.AppendTag(wire, field, protowire.VarintType)
				wire = protowire.AppendVarint(wire, rapid.Uint64().Draw(t, "count"))
			case inside[name][field] != "":
				wire = protowire.AppendTag(wire, field, protowire.BytesType)
				wire = protowire.AppendBytes(wire, generate(t, inside[name][field]))
			default:
				wire = protowire.AppendTag(wire, field, protowire.BytesType)
				wire = protowire.AppendString(wire, text.Draw(t, "text"))
			}
		}
		return wire
	}
	quick, slow := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		for range 10 {
			if sameReading(t, generate(t, "check")) {
				quick++
			} else {
				slow++
			}
		}
	})
	if quick < 100 || slow < 100 {
		t.Errorf("%d were read without protobuf and %d with it, which shows little", quick, slow)
	}
}

// TestWhatProtobufReads is left to it: each is answered as before, only later.
func TestWhatProtobufReads(t *testing.T) {
	many := fullCheck(false)
	for i := range maxMerged {
		many.Attributes.Request.Http.Headers[fmt.Sprint("x-", i)] = "v"
	}
	long := fullCheck(true)
	long.Attributes.Request.Http.Path = "/" + strings.Repeat("a", maxQuick)
	metadata := fullCheck(true)
	metadata.Attributes.MetadataContext.FilterMetadata = map[string]*structpb.Struct{"n": {Fields: map[string]*structpb.Value{"x": structpb.NewNumberValue(1)}}}
	pipe := fullCheck(true)
	pipe.Attributes.Source.Address = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/x"}}}
	both := fullCheck(true)
	both.Attributes.Request.Http.Headers = map[string]string{"a": "b"}
	whole := marshal(t, fullCheck(true))
	for name, wire := range map[string][]byte{
		"many headers": marshal(t, many), "a long message": marshal(t, long), "metadata": marshal(t, metadata), "a pipe": marshal(t, pipe),
		"both forms of headers": marshal(t, both), "two messages": append(slices.Clone(whole), whole...), "a cut message": whole[:len(whole)-1],
		"a group": {1<<3 | 3, 1<<3 | 4}, "field 0": {2, 0}, "a tag that is cut": {0x80},
	} {
		if sameReading(t, wire) {
			t.Errorf("%s is read without protobuf", name)
		}
	}
}

func FuzzReadAttributes(f *testing.F) {
	f.Add(marshal(f, fullCheck(true)))
	f.Add(marshal(f, fullCheck(false)))
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0})
	f.Add([]byte{0x0a, 2, 0x0a, 0})
	f.Fuzz(func(t *testing.T, wire []byte) { sameReading(t, wire) })
}
