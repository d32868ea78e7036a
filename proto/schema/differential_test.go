package schema_test

import (
	"errors"
	"regexp"
	"slices"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/proto/schema"
)

// drawMessage fills a message with values near the edges of the constraints of bank.v1.
func drawMessage(t *rapid.T, descriptor protoreflect.MessageDescriptor, depth int) *dynamicpb.Message {
	message := dynamicpb.NewMessage(descriptor)
	for i := range descriptor.Fields().Len() {
		field := descriptor.Fields().Get(i)
		if isDeep := field.Message() != nil && !field.IsMap() && field.Message() == descriptor; isDeep && (depth == 0 || rapid.IntRange(0, 3).Draw(t, "nested") > 0) {
			continue
		}
		if rapid.IntRange(0, 9).Draw(t, string(field.Name())) > 6 {
			continue
		}
		switch {
		case field.IsMap():
			entries := message.Mutable(field).Map()
			for range rapid.IntRange(0, 3).Draw(t, "entries") {
				entries.Set(drawValue(t, field.MapKey(), 0).MapKey(), drawValue(t, field.MapValue(), depth-1))
			}
		case field.IsList():
			list := message.Mutable(field).List()
			for range rapid.SampledFrom([]int{0, 1, 2, 3, 100, 101}).Draw(t, "items") {
				list.Append(drawValue(t, field, depth-1))
			}
		default:
			message.Set(field, drawValue(t, field, depth-1))
		}
	}
	return message
}

func drawValue(t *rapid.T, field protoreflect.FieldDescriptor, depth int) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.MessageKind:
		switch field.Message().FullName() {
		case "google.protobuf.Timestamp", "google.protobuf.Duration":
			message := dynamicpb.NewMessage(field.Message())
			message.Set(field.Message().Fields().ByNumber(1), protoreflect.ValueOfInt64(rapid.Int64Range(-2, 1000).Draw(t, "seconds")))
			return protoreflect.ValueOfMessage(message)
		case "google.protobuf.Struct":
			return protoreflect.ValueOfMessage(dynamicpb.NewMessage(field.Message()))
		}
		return protoreflect.ValueOfMessage(drawMessage(t, field.Message(), max(depth, 0)))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rapid.Int32Range(-1, 3).Draw(t, "enum")))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.OneOf(
			rapid.SampledFrom([]string{"", "DE12345678", "FR12345678", "0198f3a2-7b1c-7def-8abc-0123456789ab", "a@example.com", "@", "é"}), rapid.StringN(0, 150, -1),
		).Draw(t, "string"))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(rapid.SliceOfN(rapid.Byte(), 0, 70).Draw(t, "bytes"))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, "int32"))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.OneOf(rapid.SampledFrom([]int64{-1, 0, 1, 1_000_000, 1_000_001}), rapid.Int64()).Draw(t, "int64"))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, "uint32"))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, "uint64"))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(rapid.Float64().Draw(t, "double"))
	default:
		return protoreflect.ValueOfFloat32(rapid.Float32().Draw(t, "float"))
	}
}

// mapKey is a key in one of protovalidate's paths.
var mapKey = regexp.MustCompile(`\["(?:[^"\\]|\\.)*"\]|(parts)\[-?[0-9]+\]`)

// Every verdict, and every violation, is protovalidate's own about the same message: over gRPC, plain and compressed, in
// protobuf's form and as JSON.
func TestAgreesWithProtovalidate(t *testing.T) {
	t.Parallel()
	v := newValidator(t, schema.Config{Schema: bankSchema(t, nil)})
	descriptor := transfer(t)
	oracle, err := protovalidate.New(protovalidate.WithMessageDescriptors(descriptor))
	if err != nil {
		t.Fatal(err)
	}
	valid, invalid := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		message := drawMessage(rt, descriptor, 2)
		if rapid.Bool().Draw(rt, "near") { // otherwise hardly one would be valid
			proto.Merge(message, func() proto.Message {
				near := dynamicpb.NewMessage(descriptor)
				if err := protojson.Unmarshal([]byte(good), near); err != nil {
					rt.Fatal(err)
				}
				return near
			}())
		}
		var want []string
		var broken *protovalidate.ValidationError
		switch err := oracle.Validate(message); {
		case errors.As(err, &broken):
			for _, violation := range broken.Violations {
				want = append(want, mapKey.ReplaceAllString(protovalidate.FieldPathString(violation.Proto.GetField()), "$1[*]")+" "+violation.Proto.GetRuleId())
			}
			invalid++
		case err != nil:
			rt.Fatal(err)
		default:
			valid++
		}
		wire, err := proto.Marshal(message)
		if err != nil {
			rt.Fatal(err)
		}
		text, err := protojson.Marshal(message)
		if err != nil {
			rt.Fatal(err)
		}
		for how, req := range map[string]*policy.Request{
			"gRPC":       to(create, request(frame(0, wire), "content-type", "application/grpc")),
			"compressed": to(create, request(frame(1, zipped(t, wire)), "content-type", "application/grpc", "grpc-encoding", "gzip")),
			"protobuf":   request(string(wire), "content-type", "application/proto"),
			"JSON":       request(string(text), "content-type", "application/json"),
		} {
			if len(req.Body.Bytes) == 0 {
				continue // an empty message, which is no body
			}
			req.Time = time.Now()
			outcome := evaluate(t, v, req)
			if (outcome.Verdict == policy.Passed) != (want == nil) {
				rt.Fatalf("%s: %+v, want %q", how, outcome, want)
			}
			var got []string
			for _, violation := range outcome.Violations {
				got = append(got, violation.Field+" "+violation.Rule)
			}
			if len(want) > 20 { // more is not told
				if len(got) != 20 && len(got) != 1 {
					rt.Fatalf("%s: %d violations", how, len(got))
				}
				continue
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) && len(got) != 1 { // of a large message only one is told
				rt.Fatalf("%s: %q, want %q", how, got, want)
			}
		}
	})
	if valid == 0 || invalid == 0 {
		t.Errorf("%d valid and %d invalid messages: nothing was compared", valid, invalid)
	}
}

func FuzzFrames(f *testing.F) {
	wire := goodWire(f)
	f.Add([]byte(frame(0, wire)), true)
	f.Add([]byte(frame(1, zipped(f, wire))), true)
	f.Add([]byte(frame(1, zipped(f, wire))+frame(0, nil)), false)
	f.Add([]byte("\x00\xff\xff\xff\xff"), true)
	v := newValidator(f, schema.Config{Schema: bankSchema(f, nil)})
	descriptor := transfer(f)
	f.Fuzz(func(t *testing.T, body []byte, unary bool) {
		path := upload
		if unary {
			path = create
		}
		outcome := evaluate(t, v, to(path, request(string(body), "content-type", "application/grpc", "grpc-encoding", "gzip")))
		if outcome.Verdict != policy.Passed || !unary {
			return
		}
		// What passes is one message, plain or compressed, that protobuf reads and protovalidate finds valid.
		message := dynamicpb.NewMessage(descriptor)
		if body[0] == 0 && (proto.Unmarshal(body[5:], message) != nil || len(message.GetUnknown()) > 0 || protovalidate.Validate(message) != nil) {
			t.Errorf("%q passed", body)
		}
		if _, err := outcome.Parsed(); err != nil && err.Error() != "a duration is longer than 292 years" {
			t.Error(err)
		}
	})
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte(good), true)
	f.Add(goodWire(f), false)
	f.Add([]byte("\x4a\x00\x4a\x00"), false)
	v := newValidator(f, schema.Config{Schema: bankSchema(f, nil)})
	descriptor := transfer(f)
	f.Fuzz(func(t *testing.T, body []byte, text bool) {
		contentType, unmarshal := "application/proto", proto.Unmarshal
		if text {
			contentType, unmarshal = "application/json", protojson.Unmarshal
		}
		outcome := evaluate(t, v, request(string(body), "content-type", contentType))
		if outcome.Verdict != policy.Passed {
			return
		}
		message := dynamicpb.NewMessage(descriptor)
		if unmarshal(body, message) != nil || len(message.GetUnknown()) > 0 || protovalidate.Validate(message) != nil {
			t.Errorf("%q passed", body)
		}
	})
}
