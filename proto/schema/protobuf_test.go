package schema_test

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/base64"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
	"github.com/kasbah-authz/kasbah/proto/schema"
)

//go:embed testdata/bank.binpb
var bank []byte

const (
	create = "/bank.v1.Transfers/Create"
	upload = "/bank.v1.Transfers/Upload"
)

// transfer returns the descriptor of bank.v1.Transfer.
func transfer(t testing.TB) protoreflect.MessageDescriptor {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(bank, set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	found, err := files.FindDescriptorByName("bank.v1.Transfer")
	if err != nil {
		t.Fatal(err)
	}
	return found.(protoreflect.MessageDescriptor)
}

// bankSchema compiles the schema of the tests, with its defaults filled in as far as change leaves them.
func bankSchema(t testing.TB, change func(*configv1.Schema)) *schema.Schema {
	t.Helper()
	message := &configv1.Schema{
		Name: "bank", Mode: configv1.ValidationMode_VALIDATION_MODE_ENFORCE,
		Kind: &configv1.Schema_Protobuf{Protobuf: &configv1.ProtobufSchema{
			Descriptors: &configv1.Descriptors{Source: &configv1.Descriptors_File{File: "bank.binpb"}}, Message: "bank.v1.Transfer",
			UnknownFields: configv1.UnknownFields_UNKNOWN_FIELDS_REFUSE, MaxValues: 10_000, MaxDepth: 32,
		}},
	}
	if change != nil {
		change(message)
	}
	s, err := schema.Compile(message, func(string) ([]byte, error) { return bank, nil })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const good = `{"id": "0198f3a2-7b1c-7def-8abc-0123456789ab", "from": "DE12345678", "to": "FR12345678", "amount": "20", "currency": "EUR"}`

// goodWire is the same in protobuf's own form.
func goodWire(t testing.TB) []byte { return wireOf(t, good) }

func wireOf(t testing.TB, text string) []byte {
	t.Helper()
	message := dynamicpb.NewMessage(transfer(t))
	if err := protojson.Unmarshal([]byte(text), message); err != nil {
		t.Fatal(err)
	}
	wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

func frame(flag byte, message []byte) string {
	head := binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message)))
	return string(append(head, message...))
}

func zipped(t testing.TB, message []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(message); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func to(path string, req *policy.Request) *policy.Request {
	req.Path = path
	return req
}

func TestFrames(t *testing.T) {
	t.Parallel()
	v := newValidator(t, schema.Config{Schema: bankSchema(t, nil)})
	small := newValidator(t, schema.Config{Body: &configv1.Body{MaxBytes: 4096}, Schema: bankSchema(t, nil)})
	wire := goodWire(t)
	note := func(length int) []byte {
		return append(bytes.Clone(wire), wireOf(t, `{"note": "`+strings.Repeat("x", length)+`"}`)...)
	}
	gz := []string{"content-type", "application/grpc", "grpc-encoding", "gzip"}
	plain := []string{"content-type", "application/grpc+proto"}
	whole := frame(1, zipped(t, wire))
	damaged := []byte(whole)
	damaged[len(damaged)-6] ^= 1 // of the checksum
	for name, c := range map[string]struct {
		v      *schema.Validator
		path   string
		body   string
		pairs  []string
		reason policy.Reason
		rules  string
	}{
		"one":                          {v, create, frame(0, wire), plain, 0, ""},
		"identity":                     {v, create, frame(0, wire), append([]string{"grpc-encoding", "identity"}, plain...), 0, ""},
		"compressed":                   {v, create, whole, gz, 0, ""},
		"compressed elsewhere":         {v, create, frame(0, wire), gz, 0, ""},
		"server stream":                {v, "/bank.v1.Transfers/Watch", frame(0, wire), plain, 0, ""},
		"a stream of one":              {v, upload, frame(0, wire), plain, 0, ""},
		"a stream of three":            {v, upload, frame(0, wire) + whole + frame(0, wire), gz, 0, ""},
		"the last of a stream":         {v, upload, frame(0, wire) + frame(0, nil), plain, policy.InvalidRequest, "transfer.itself"},
		"empty":                        {v, create, frame(0, nil), plain, policy.InvalidRequest, "transfer.itself"},
		"web":                          {v, create, frame(0, wire), []string{"content-type", "application/grpc-web+proto"}, 0, ""},
		"web, as text":                 {v, create, base64.StdEncoding.EncodeToString([]byte(frame(0, wire))), []string{"content-type", "application/grpc-web-text"}, 0, ""},
		"web, as broken text":          {v, create, base64.StdEncoding.EncodeToString([]byte(frame(0, wire))) + "\n", []string{"content-type", "application/grpc-web-text"}, policy.InvalidRequest, "grpc.base64"},
		"web, with trailers":           {v, create, frame(0, wire) + frame(0x80, []byte("a: b")), []string{"content-type", "application/grpc-web"}, policy.InvalidRequest, "grpc.flag"},
		"no method":                    {v, "/bank.v1.Transfers/Delete", frame(0, wire), plain, policy.InvalidRequest, "protobuf.method"},
		"no method, of another case":   {v, "/bank.v1.transfers/Create", frame(0, wire), plain, policy.InvalidRequest, "protobuf.method"},
		"two of one":                   {v, create, frame(0, wire) + frame(0, wire), plain, policy.InvalidRequest, "grpc.messages"},
		"bytes behind it":              {v, create, frame(0, wire) + "x", plain, policy.InvalidRequest, "grpc.frame"},
		"half a head":                  {v, create, "\x00\x00\x00", plain, policy.InvalidRequest, "grpc.frame"},
		"a length that lies":           {v, create, "\x00\xff\xff\xff\xff" + string(wire), plain, policy.InvalidRequest, "grpc.length"},
		"a length too long by one":     {v, create, frame(0, append(bytes.Clone(wire), 0))[:len(wire)+5], plain, policy.InvalidRequest, "grpc.length"},
		"a length too short":           {v, create, frame(0, wire[:len(wire)-1]) + string(wire[len(wire)-1:]), plain, policy.InvalidRequest, "grpc.frame"},
		"a flag without an encoding":   {v, create, whole, plain, policy.InvalidRequest, "grpc.flag"},
		"a flag with identity":         {v, create, whole, append([]string{"grpc-encoding", "identity"}, plain...), policy.InvalidRequest, "grpc.flag"},
		"an unknown flag":              {v, create, frame(2, wire), gz, policy.InvalidRequest, "grpc.flag"},
		"an unknown encoding":          {v, create, frame(1, wire), []string{"content-type", "application/grpc", "grpc-encoding", "zstd"}, policy.InvalidRequest, "grpc.encoding"},
		"two encodings":                {v, create, frame(0, wire), append([]string{"grpc-encoding", "identity"}, gz...), policy.InvalidRequest, "grpc.encoding"},
		"compressed twice over":        {v, create, frame(0, wire), append([]string{"content-encoding", "gzip"}, gz...), policy.InvalidRequest, "body.content_encoding"},
		"no gzip":                      {v, create, frame(1, wire), gz, policy.InvalidRequest, "grpc.gzip"},
		"gzip of nothing":              {v, create, frame(1, nil), gz, policy.InvalidRequest, "grpc.gzip"},
		"cut gzip":                     {v, create, frame(1, zipped(t, wire)[:30]), gz, policy.InvalidRequest, "grpc.gzip"},
		"gzip without its end":         {v, create, frame(1, zipped(t, wire)[:len(zipped(t, wire))-8]), gz, policy.InvalidRequest, "grpc.gzip"},
		"gzip of a wrong checksum":     {v, create, string(damaged), gz, policy.InvalidRequest, "grpc.gzip"},
		"gzip of two":                  {v, create, frame(1, append(zipped(t, wire), zipped(t, nil)...)), gz, policy.InvalidRequest, "grpc.gzip"},
		"gzip and more":                {v, create, frame(1, append(zipped(t, wire), 0)), gz, policy.InvalidRequest, "grpc.gzip"},
		"a bomb":                       {v, create, frame(1, zipped(t, make([]byte, 64<<20))), gz, policy.BodyTooLarge, "body.max_bytes"},
		"a bomb by ratio":              {v, create, frame(1, zipped(t, note(100_000))), gz, policy.BodyTooLarge, "body.max_bytes"},
		"a bomb by many":               {v, upload, strings.Repeat(frame(1, zipped(t, note(60_000))), 30), gz, policy.BodyTooLarge, "body.max_bytes"},
		"long together":                {small, upload, frame(1, zipped(t, note(3000))) + frame(0, note(2000)), gz, policy.BodyTooLarge, "body.max_bytes"},
		"longer than the route allows": {small, create, frame(1, zipped(t, note(5000))), gz, policy.BodyTooLarge, "body.max_bytes"},
		"no type":                      {v, create, frame(0, wire), nil, policy.InvalidRequest, "body.content_type"},
		"another codec":                {v, create, frame(0, wire), []string{"content-type", "application/grpc+json"}, policy.InvalidRequest, "body.content_type"},
		"with a parameter":             {v, create, frame(0, wire), []string{"content-type", "application/grpc; charset=utf-8"}, policy.InvalidRequest, "body.content_type"},
	} {
		outcome := evaluate(t, c.v, to(c.path, request(c.body, c.pairs...)))
		want := policy.Denied
		if c.rules == "" {
			want = policy.Passed
		}
		if first, _, _ := strings.Cut(rules(outcome), " "); outcome.Verdict != want || outcome.Reason != c.reason || first != c.rules {
			t.Errorf("%s: %+v", name, outcome)
		}
		if (outcome.Parsed != nil) != (c.rules == "" && c.path != upload) {
			t.Errorf("%s: whether there is a body to read: %v", name, outcome.Parsed != nil)
		}
	}
	get := to(create, request(frame(0, wire), plain...))
	get.Method = "GET"
	if outcome := evaluate(t, v, get); rules(outcome) != "protobuf.method" {
		t.Errorf("GET: %+v", outcome)
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	refuse := newValidator(t, schema.Config{Schema: bankSchema(t, nil)})
	with := func(fields configv1.UnknownFields) *schema.Validator {
		return newValidator(t, schema.Config{Schema: bankSchema(t, func(s *configv1.Schema) { s.GetProtobuf().UnknownFields = fields })})
	}
	allow, count := with(configv1.UnknownFields_UNKNOWN_FIELDS_ALLOW), with(configv1.UnknownFields_UNKNOWN_FIELDS_COUNT)
	report := configv1.ValidationMode_VALIDATION_MODE_REPORT
	reports := newValidator(t, schema.Config{Body: &configv1.Body{Mode: report}, Schema: bankSchema(t, func(s *configv1.Schema) { s.Mode = report })})
	services := newValidator(t, schema.Config{Schema: bankSchema(t, func(s *configv1.Schema) { s.GetProtobuf().Message = "" })})
	wire := goodWire(t)
	unknown := string(protowire.AppendVarint(protowire.AppendTag(bytes.Clone(wire), 999, protowire.VarintType), 1))
	item := protowire.AppendBytes(protowire.AppendTag(nil, 9, protowire.BytesType), protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
	deep := func(levels int) string {
		text := good
		for range levels {
			text = strings.TrimSuffix(good, "}") + `, "previous": ` + text + "}"
		}
		return string(wireOf(t, text))
	}
	wide := func(field protowire.Number, value []byte, times int) string {
		return string(wire) + strings.Repeat(string(protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), value)), times)
	}
	more := func(members string) string { return strings.TrimSuffix(good, "}") + "," + members + "}" }
	for name, c := range map[string]struct {
		v      *schema.Validator
		path   string
		body   string
		of     string
		passes bool
		rules  string
	}{
		"JSON":                             {refuse, "/transfers", good, "json", true, ""},
		"protobuf":                         {refuse, "/transfers", string(wire), "proto", true, ""},
		"Connect, JSON":                    {services, create, good, "json", true, ""},
		"Connect, protobuf":                {services, create, string(wire), "proto", true, ""},
		"no message for it":                {services, "/transfers", good, "json", false, "protobuf.method"},
		"a stream as JSON":                 {services, upload, good, "json", false, "protobuf.method"},
		"two violations":                   {refuse, "/transfers", `{"id": "0198f3a2-7b1c-7def-8abc-0123456789ab", "from": "DE12345678", "to": "DE12345678", "amount": -1, "currency": "EUR"}`, "json", false, "transfer.itself int64.gt_lte"},
		"a list":                           {refuse, "/transfers", more(`"items": [{"name": "a"}, {"price": -2}]`), "json", false, "string.min_len int64.gte"},
		"a map":                            {refuse, "/transfers", more(`"labels": {"hunter2": ""}`), "json", false, "string.min_len"},
		"of another type":                  {refuse, "/transfers", more(`"note": 1`), "json", false, "protobuf.json"},
		"no object":                        {refuse, "/transfers", `[]`, "json", false, "protobuf.json"},
		"out of range":                     {refuse, "/transfers", more(`"attempt": 4294967296`), "json", false, "protobuf.json"},
		"a field under both of its names":  {refuse, "/transfers", more(`"note": "a", "note": "b"`), "json", false, "json.duplicate_name"},
		"both of a choice":                 {refuse, "/transfers", more(`"email": "a@example.com", "phone": 1`), "json", false, "protobuf.json"},
		"an unknown member":                {refuse, "/transfers", more(`"hunter2": 1`), "json", false, "protobuf.unknown_fields"},
		"an unknown member, allowed":       {allow, "/transfers", more(`"hunter2": 1`), "json", true, ""},
		"an unknown member, counted":       {count, "/transfers", more(`"hunter2": 1`), "json", true, "protobuf.unknown_fields"},
		"an unknown enum":                  {refuse, "/transfers", strings.ReplaceAll(good, "EUR", "XXX"), "json", false, "protobuf.unknown_fields"},
		"an unknown field":                 {refuse, "/transfers", unknown, "proto", false, "protobuf.unknown_fields"},
		"an unknown field, allowed":        {allow, "/transfers", unknown, "proto", true, ""},
		"an unknown field, counted":        {count, "/transfers", unknown, "proto", true, "protobuf.unknown_fields"},
		"an unknown field, inside":         {refuse, "/transfers", string(wire) + string(item), "proto", false, "protobuf.unknown_fields"},
		"a field of another form":          {refuse, "/transfers", string(protowire.AppendVarint(protowire.AppendTag(bytes.Clone(wire), 1, protowire.VarintType), 1)), "proto", false, "protobuf.unknown_fields"},
		"no message":                       {refuse, "/transfers", "\xff", "proto", false, "protobuf.wire"},
		"half a message":                   {refuse, "/transfers", string(wire[:len(wire)-1]), "proto", false, "protobuf.wire"},
		"a string that is not UTF-8":       {refuse, "/transfers", wide(6, []byte("\xff"), 1), "proto", false, "protobuf.wire"},
		"deep":                             {refuse, "/transfers", deep(32), "proto", true, ""},
		"too deep":                         {refuse, "/transfers", deep(33), "proto", false, "protobuf.max_depth"},
		"many items":                       {refuse, "/transfers", wide(9, nil, 20_000), "proto", false, "protobuf.max_values"},
		"many numbers, packed":             {refuse, "/transfers", wide(17, bytes.Repeat([]byte{1}, 10_000), 1), "proto", false, "protobuf.max_values"},
		"many entries":                     {refuse, "/transfers", wide(10, []byte{0x12, 1, 'x'}, 10_000), "proto", false, "protobuf.max_values"},
		"more violations than are told of": {refuse, "/transfers", wide(9, nil, 90), "proto", false, strings.TrimSpace(strings.Repeat("string.min_len ", 20))},
		"a large message is told one":      {refuse, "/transfers", wide(9, nil, 2000), "proto", false, "repeated.max_items"},
		"reported":                         {reports, "/transfers", `{}`, "json", true, "transfer.itself string.uuid_empty string.pattern string.pattern int64.gt_lte enum.not_in"},
		"reported, no JSON":                {reports, "/transfers", `{`, "json", true, "json.syntax"},
		"reported, nothing":                {reports, "/transfers", "", "json", true, "body.missing"},
	} {
		outcome := evaluate(t, c.v, to(c.path, request(c.body, "content-type", "application/"+c.of)))
		if (outcome.Verdict == policy.Passed) != c.passes || rules(outcome) != c.rules {
			t.Errorf("%s: %+v", name, outcome)
		}
		for _, violation := range outcome.Violations {
			if strings.Contains(violation.Field+violation.Message+outcome.Detail, "hunter2") {
				t.Errorf("%s: the body is quoted: %+v", name, outcome)
			}
		}
		if valid := c.passes && (c.rules == "" || c.v == count); (outcome.Parsed != nil) != valid {
			t.Errorf("%s: whether there is a body to read: %v", name, outcome.Parsed != nil)
		}
	}
}

// A route's own limits that are only to be reported keep no schema from being enforced.
func TestReportedForm(t *testing.T) {
	t.Parallel()
	report := configv1.ValidationMode_VALIDATION_MODE_REPORT
	body := &configv1.Body{Mode: report, Json: &configv1.JsonLimits{MaxMembers: 2}}
	v := newValidator(t, schema.Config{Body: body, Schema: bankSchema(t, nil)})
	both := newValidator(t, schema.Config{Body: body, Schema: bankSchema(t, func(s *configv1.Schema) { s.Mode = report })})
	for name, c := range map[string]struct {
		v      *schema.Validator
		body   string
		passes bool
		rules  string
	}{
		"too many members":              {v, good, true, "json.max_members"},
		"and against the schema":        {v, `{"id": "x", "from": "DE12345678", "to": "FR12345678", "amount": 1, "currency": "EUR"}`, false, "string.uuid"},
		"and against both":              {both, `{"id": "x", "from": "DE12345678", "to": "FR12345678", "amount": 1, "currency": "EUR"}`, true, "json.max_members string.uuid"},
		"no JSON":                       {v, `{`, false, "json.syntax"},
		"none":                          {v, ``, false, "body.missing"},
		"two readings":                  {v, `{"id": "x", "id": "y"}`, false, "json.duplicate_name"},
		"nothing wrong but the members": {both, good, true, "json.max_members"},
	} {
		outcome := evaluate(t, c.v, request(c.body, "content-type", "application/json"))
		if (outcome.Verdict == policy.Passed) != c.passes || rules(outcome) != c.rules || outcome.Parsed != nil {
			t.Errorf("%s: %+v", name, outcome)
		}
	}
}

// What policies see of a message.
func TestParsedMessage(t *testing.T) {
	t.Parallel()
	v := newValidator(t, schema.Config{Schema: bankSchema(t, nil)})
	text := strings.TrimSuffix(good, "}") + `, "at": "2026-11-28T04:00:00.5Z", "within": "90s", "items": [{"name": "a", "price": "7"}], "labels": {"k": "v"}, "signature": "AQI=",
		"rate": 1.5, "share": 0.5, "sequence": "18446744073709551615", "urgent": true, "codes": [1, -2], "memo": "m", "extra": {"a": [1, null, {"b": "c"}]}, "phone": "5", "priority": -3,
		"parts": {"4": {"name": "p"}}, "checksum": "9"}`
	item := func(name string, price int64) map[string]any { return map[string]any{"name": name, "price": price} }
	want := map[string]any{
		"id": "0198f3a2-7b1c-7def-8abc-0123456789ab", "from": "DE12345678", "to": "FR12345678", "amount": int64(20), "currency": "EUR", "note": "",
		"at": time.Date(2026, 11, 28, 4, 0, 0, 5e8, time.UTC), "within": 90 * time.Second, "items": []any{item("a", 7)}, "labels": map[string]any{"k": "v"},
		"signature": []byte{1, 2}, "rate": 1.5, "share": 0.5, "attempt": uint64(0), "sequence": uint64(1<<64 - 1), "urgent": true, "codes": []any{int64(1), int64(-2)}, "memo": "m",
		"extra": map[string]any{"a": []any{1.0, nil, map[string]any{"b": "c"}}}, "phone": int64(5), "priority": int64(-3), "parts": map[string]any{"4": item("p", 0)}, "checksum": uint64(9),
	}
	for of, body := range map[string]string{"json": text, "proto": string(wireOf(t, text))} {
		outcome := evaluate(t, v, request(body, "content-type", "application/"+of))
		if outcome.Parsed == nil {
			t.Fatalf("%s: %+v", of, outcome)
		}
		if got, err := outcome.Parsed(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %#v, %v\nwant %#v", of, got, err, want)
		}
	}
	outcome := evaluate(t, v, request(strings.TrimSuffix(good, "}")+`, "within": "315576000000s"}`, "content-type", "application/json"))
	if got, err := outcome.Parsed(); err == nil {
		t.Errorf("a duration that Go has no room for is %v", got)
	}
}
