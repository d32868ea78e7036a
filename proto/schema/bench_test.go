package schema_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/proto/schema"
)

const full = `{"id": "0198f3a2-7b1c-7def-8abc-0123456789ab", "from": "DE12345678", "to": "FR12345678", "amount": "20", "currency": "EUR",
	"note": "the quick brown fox", "at": "2026-11-28T04:00:00Z", "within": "90s", "items": [{"name": "a", "price": "7"}, {"name": "b"}], "labels": {"k": "v"}, "signature": "AQI=",
	"rate": 1.5, "share": 0.5, "attempt": 1, "sequence": "5", "urgent": true, "codes": [1, 2], "memo": "m", "phone": "5", "priority": 3}`

// BenchmarkMessage is a message with each of twenty fields and its ten constraints, beside what protobuf and protovalidate alone
// take for the same message.
func BenchmarkMessage(b *testing.B) {
	v := newValidator(b, schema.Config{Schema: bankSchema(b, nil)})
	descriptor := transfer(b)
	oracle, err := protovalidate.New(protovalidate.WithMessageDescriptors(descriptor), protovalidate.WithDisableLazy())
	if err != nil {
		b.Fatal(err)
	}
	wire := wireOf(b, full)
	evaluates := func(req *policy.Request) func() error {
		return func() error {
			if outcome, err := v.Evaluate(b.Context(), req, nil); err != nil || outcome.Verdict != policy.Passed {
				return fmt.Errorf("%+v, %w", outcome, err)
			}
			return nil
		}
	}
	decoded := dynamicpb.NewMessage(descriptor)
	if err := proto.Unmarshal(wire, decoded); err != nil {
		b.Fatal(err)
	}
	decode := func(unmarshal func([]byte, proto.Message) error, body []byte, validate bool) func() error {
		return func() error {
			message := dynamicpb.NewMessage(descriptor)
			if err := unmarshal(body, message); err != nil || !validate {
				return err
			}
			return oracle.Validate(message)
		}
	}
	for name, work := range map[string]func() error{
		"gRPC/kasbah":                  evaluates(to(create, request(frame(0, wire), "content-type", "application/grpc"))),
		"gRPC/gzip, kasbah":            evaluates(to(create, request(frame(1, zipped(b, wire)), "content-type", "application/grpc", "grpc-encoding", "gzip"))),
		"gRPC/decoding alone":          decode(proto.Unmarshal, wire, false),
		"gRPC/protovalidate alone":     func() error { return oracle.Validate(decoded) },
		"gRPC/decoding, protovalidate": decode(proto.Unmarshal, wire, true),
		"JSON/kasbah":                  evaluates(request(full, "content-type", "application/json")),
		"JSON/decoding, protovalidate": decode(protojson.Unmarshal, []byte(full), true),
		"refused/kasbah": func() error {
			_, err := v.Evaluate(b.Context(), request(`{"amount":0}`, "content-type", "application/json"), nil)
			return err
		},
		"hostile/a bomb":                refuses(b, v, to(create, request(frame(1, zipped(b, make([]byte, 64<<20))), "content-type", "application/grpc", "grpc-encoding", "gzip"))),
		"hostile/a lie about length":    refuses(b, v, to(create, request("\x00\xff\xff\xff\xff"+string(wire), "content-type", "application/grpc"))),
		"hostile/a megabyte of items":   refuses(b, v, to(create, request(frame(0, []byte(strings.Repeat("\x4a\x00", 500_000))), "content-type", "application/grpc"))),
		"hostile/a megabyte of bracket": refuses(b, v, request(strings.Repeat("[", 1_000_000), "content-type", "application/json")),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			used := cpu(b)
			for b.Loop() {
				if err := work(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpu(b)-used).Seconds()*1e6/float64(b.N), "cpu-µs/op")
		})
	}
}

func refuses(b *testing.B, v *schema.Validator, req *policy.Request) func() error {
	return func() error {
		if outcome, err := v.Evaluate(b.Context(), req, nil); err != nil || outcome.Verdict == policy.Passed {
			return fmt.Errorf("%+v, %w", outcome, err)
		}
		return nil
	}
}

// cpu returns the time that this process has had of all processors, which is what counts on a machine that others share.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
