package demo_test

import (
	"encoding/base64"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip" // the client's compressor
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/kasbah-authz/kasbah/demo"
	"github.com/kasbah-authz/kasbah/keys/keystest"
)

const schemaConfig = `server: {drain: 0s}
providers:
- name: corp
  jwt: {issuer: http://issuer:9193, audiences: [api], algorithms: [RS256], jwks: {file: jwks.json}}
enforcers:
- name: limits
  model:
    inline: |
      [request_definition]
      r = sub, amount, currency
      [policy_definition]
      p = sub, currency
      [policy_effect]
      e = some(where (p.eft == allow))
      [matchers]
      m = r.sub == p.sub && r.currency == p.currency && r.amount <= 1000
  policy: {inline: "p, alice, EUR"}
  request: {sub: principal.id, amount: body.amount, currency: body.currency}
schemas:
- name: bank
  protobuf: {descriptors: {file: bank.binpb}, message: bank.v1.Transfer}
- name: tried
  mode: report
  protobuf: {descriptors: {file: bank.binpb}, message: bank.v1.Transfer}
routes:
- name: streams
  match: [{path: /bank.v1.Transfers/Upload}]
  authenticate: [corp]
  validate: bank
  any_principal: true
- name: transfers
  match: [{path: /bank.v1.Transfers/}, {path: /transfers, methods: [POST]}]
  authenticate: [corp]
  validate: bank
  rules:
  - {id: own-name, expression: body.note != principal.id, message: the note must not be your own name}
  - {id: small, expression: body.amount < 100, message: that is much, mode: report}
  authorize: limits
  headers: {x-amount: body.amount, x-at: body.at}
- name: tried
  match: [{path: /tried, methods: [POST]}]
  public: true
  validate: tried
`

const transferText = `{"id": "0198f3a2-7b1c-7def-8abc-0123456789ab", "from": "DE12345678", "to": "FR12345678", "amount": "20", "currency": "EUR"}`

// bankMessages makes messages of bank.v1.Transfer from JSON, and returns their descriptors' file.
func bankMessages(t *testing.T) (file []byte, transfer func(text string) *dynamicpb.Message) {
	t.Helper()
	file, err := os.ReadFile("../proto/schema/testdata/bank.binpb")
	if err != nil {
		t.Fatal(err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(file, set); err != nil {
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
	return file, func(text string) *dynamicpb.Message {
		t.Helper()
		message := dynamicpb.NewMessage(found.(protoreflect.MessageDescriptor))
		if err := protojson.Unmarshal([]byte(text), message); err != nil {
			t.Fatal(err)
		}
		return message
	}
}

// invoke makes a unary call through Envoy.
func invoke(t *testing.T, e *edge, method, token string, message proto.Message, options ...grpc.CallOption) *status.Status {
	t.Helper()
	connection, err := grpc.NewClient("passthrough:///"+e.address, grpc.WithAuthority("api.example.com"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	return status.Convert(connection.Invoke(ctx, method, message, &emptypb.Empty{}, options...))
}

// A message reaches the upstream only where it satisfies the constraints of its .proto file, plain and compressed, and its
// sender is told which it breaks in the details of gRPC's status.
func TestValidationOfGRPC(t *testing.T) {
	file, transfer := bankMessages(t)
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": schemaConfig, "bank.binpb": string(file)})
	alice := g.issuer.Token(keystest.Claims{Subject: "alice"})
	edges := []*edge{g.edge(t, "hardened", serve(t, demo.Upstream())), g.edge(t, "lax", serve(t, demo.Upstream()), lax)}
	change := func(old, replacement string) *dynamicpb.Message {
		return transfer(strings.Replace(transferText, old, replacement, 1))
	}
	unknown := transfer(transferText)
	unknown.SetUnknown([]byte{0xb8, 0x3e, 1}) // field 999
	bomb := transfer(transferText)
	bomb.SetUnknown(append([]byte{0xba, 0x3e, 0x80, 0x80, 0x80, 0x04}, make([]byte, 8<<20)...))
	for name, c := range map[string]struct {
		method  string
		message proto.Message
		code    codes.Code
		broken  string
	}{
		"allowed":                        {"Create", transfer(transferText), codes.OK, ""},
		"not by the policy":              {"Create", change(`"20"`, `"2000"`), codes.PermissionDenied, ""},
		"against a constraint":           {"Create", change("DE12345678", "hunter2"), codes.InvalidArgument, "from STRING_PATTERN"},
		"against one of the message":     {"Create", change("FR12345678", "DE12345678"), codes.InvalidArgument, " TRANSFER_ITSELF"},
		"against one of an item":         {"Create", change(`"id"`, `"items": [{"name": "a"}, {"name": ""}], "id"`), codes.InvalidArgument, "items[1].name STRING_MIN_LEN"},
		"with a field unknown":           {"Create", unknown, codes.InvalidArgument, " PROTOBUF_UNKNOWN_FIELDS"},
		"of a method that there is not":  {"Delete", transfer(transferText), codes.InvalidArgument, " PROTOBUF_METHOD"},
		"against a rule":                 {"Create", change(`"id"`, `"note": "alice", "id"`), codes.InvalidArgument, " OWN_NAME"},
		"longer than can be looked at":   {"Create", bomb, codes.ResourceExhausted, " BODY_MAX_BYTES"},
		"an empty one":                   {"Create", &emptypb.Empty{}, codes.InvalidArgument, " TRANSFER_ITSELF, id STRING_UUID_EMPTY, from STRING_PATTERN, to STRING_PATTERN, amount INT64_GT_LTE, currency ENUM_NOT_IN"},
		"a stream's method, one message": {"Upload", transfer(transferText), codes.OK, ""},
	} {
		for _, e := range edges {
			for how, options := range map[string][]grpc.CallOption{"plain": nil, "gzip": {grpc.UseCompressor("gzip")}} {
				got := invoke(t, e, "/bank.v1.Transfers/"+c.method, alice, c.message, options...)
				var broken []string
				for _, detail := range got.Details() {
					for _, v := range detail.(*errdetails.BadRequest).GetFieldViolations() {
						broken = append(broken, v.GetField()+" "+v.GetReason())
						if v.GetDescription() == "" {
							t.Errorf("%s: nothing is said about %s", name, v.GetReason())
						}
					}
				}
				if got.Code() != c.code || strings.Join(broken, ", ") != c.broken {
					t.Errorf("%s, %s, %s: %v %q, want %v %q", e.name, name, how, got, broken, c.code, c.broken)
				}
			}
		}
	}
	for _, e := range edges {
		e.noErrors(t)
	}
	await(t, "the rule that is only reported", func() bool { return g.logged("violations=small ") })
	for _, line := range g.log.all() {
		if strings.Contains(line, "hunter2") {
			t.Errorf("the log quotes a body: %s", line)
		}
	}
}

// A client's stream passes if it comes to its end within what Envoy sends, and each message is good.
func TestValidationOfStreams(t *testing.T) {
	file, transfer := bankMessages(t)
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": schemaConfig, "bank.binpb": string(file)})
	alice := g.issuer.Token(keystest.Claims{Subject: "alice"})
	e := g.edge(t, "hardened", serve(t, demo.Upstream()))
	connection, err := grpc.NewClient("passthrough:///"+e.address, grpc.WithAuthority("api.example.com"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	good, bad := transfer(transferText), transfer(strings.Replace(transferText, "DE12345678", "x", 1))
	for name, c := range map[string]struct {
		messages []proto.Message
		want     codes.Code
	}{"all good": {[]proto.Message{good, good, good}, codes.OK}, "the last is bad": {[]proto.Message{good, good, bad}, codes.InvalidArgument}} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+alice)
		stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, "/bank.v1.Transfers/Upload", grpc.UseCompressor("gzip"))
		if err != nil {
			t.Fatal(err)
		}
		for _, message := range c.messages {
			if err := stream.SendMsg(message); err != nil {
				t.Fatal(err)
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&emptypb.Empty{}); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if c.want == codes.OK {
			_ = stream.RecvMsg(&emptypb.Empty{}) // the end, so that the stream is let go
		}
	}
	e.noErrors(t)
}

// The same messages as JSON, as curl sends them.
func TestValidationOfMessagesAsJSON(t *testing.T) {
	file, _ := bankMessages(t)
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": schemaConfig, "bank.binpb": string(file)})
	alice := g.issuer.Token(keystest.Claims{Subject: "alice"})
	e := g.edge(t, "hardened", serve(t, demo.Upstream()))
	broken := strings.Replace(transferText, `"20"`, `-1`, 1)
	for name, c := range map[string]struct {
		path, body string
		status     int
		rules      string
	}{
		"allowed":              {"/transfers", transferText, 200, ""},
		"over Connect":         {"/bank.v1.Transfers/Create", transferText, 200, ""},
		"not by the policy":    {"/transfers", strings.Replace(transferText, "EUR", "USD", 1), 403, ""},
		"against a constraint": {"/transfers", broken, 400, "int64.gt_lte"},
		"two readings":         {"/transfers", strings.Replace(transferText, `"amount"`, `"amount": 1, "amount"`, 1), 400, "json.duplicate_name"},
		"unknown members":      {"/transfers", strings.Replace(transferText, `"amount"`, `"Amount": 1, "amount"`, 1), 400, "protobuf.unknown_fields"},
		"no such method":       {"/bank.v1.Transfers/Delete", transferText, 200, ""}, // is held against the route's message
		"reported":             {"/tried", broken, 200, ""},
		"reported, no JSON":    {"/tried", "{", 200, ""},
	} {
		if status, told := post(t, e, false, c.path, alice, c.body, "content-type", "application/json"); status != c.status || told.broken() != c.rules {
			t.Errorf("%s: %d %q, want %d %q", name, status, told.broken(), c.status, c.rules)
		}
	}
	e.noErrors(t)
	await(t, "the report in the log", func() bool { return g.logged(`violations="amount: int64.gt_lte"`) })
}

// transcoder is Envoy's filter that makes gRPC of JSON, in front of Kasbah or behind it.
func transcoder(file []byte, inFront bool) func(*bootstrap) {
	return func(b *bootstrap) {
		filter := map[string]any{"name": "envoy.filters.http.grpc_json_transcoder", "typed_config": map[string]any{
			"@type":                "type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
			"proto_descriptor_bin": base64.StdEncoding.EncodeToString(file), "services": []any{"bank.v1.Transfers"}, "auto_mapping": true, "convert_grpc_status": true,
		}}
		manager := b.manager()
		filters, at := b.at(manager, "http_filters").([]any), 1
		if inFront {
			at = 0
		}
		b.replace(manager, "http_filters", slices.Insert(filters, at, any(filter)))
	}
}

// Envoy may make gRPC of JSON behind Kasbah. In front of it nothing passes: Envoy then says of the body that it is as long as the
// JSON was, and a body that is shorter than it is said to be may have been cut.
func TestValidationBesideTranscoding(t *testing.T) {
	file, _ := bankMessages(t)
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": schemaConfig, "bank.binpb": string(file)})
	alice := g.issuer.Token(keystest.Claims{Subject: "alice"})
	behind := g.edge(t, "behind", serve(t, demo.Upstream()), transcoder(file, false))
	inFront := g.edge(t, "in front", serve(t, demo.Upstream()), transcoder(file, true))
	for what, c := range map[string]struct {
		body   string
		status int
	}{
		"allowed":              {transferText, 200},
		"not by the policy":    {strings.Replace(transferText, "EUR", "USD", 1), 403},
		"against a constraint": {strings.Replace(transferText, `"20"`, `"0"`, 1), 400},
	} {
		if status, _ := post(t, behind, true, "/bank.v1.Transfers/Create", alice, c.body, "content-type", "application/json"); status != c.status {
			t.Errorf("behind, %s: %d, want %d", what, status, c.status)
		}
		if status, _ := post(t, inFront, true, "/bank.v1.Transfers/Create", alice, c.body, "content-type", "application/json"); status != 429 {
			t.Errorf("in front, %s: %d", what, status)
		}
	}
	behind.noErrors(t)
	inFront.noErrors(t)
}
