package config_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kasbah-authz/kasbah/proto/config"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
	"github.com/kasbah-authz/kasbah/testdata"
)

// undocumentable are the fields whose default is no value of the field.
var undocumentable = map[string]bool{
	"Provider.forward":             true, // false
	"HttpClient.private_addresses": true, // false
	"Jwt.types":                    true, // absence accepts a token without a type
	"Enforcer.request":             true, // depends on the model
}

var (
	messageLine = regexp.MustCompile(`^message (\w+) \{`)
	commentLine = regexp.MustCompile(`^\s+// (.*)`)
	fieldLine   = regexp.MustCompile(`^\s+(?:repeated |map<string, )?[\w.]+>? (\w+) = \d+`)
	defaultText = regexp.MustCompile(`Default:? (?:the )?"?(.+?)"?(?: ones)?[.;](?: |$)`)
)

// documented returns the default that the schema's comments give each field, by "Message.field".
func documented(t *testing.T) map[string]string {
	t.Helper()
	defaults := map[string]string{}
	message, comment := "", ""
	for line := range strings.Lines(schema(t)) {
		line = strings.TrimSuffix(line, "\n")
		if m := messageLine.FindStringSubmatch(line); m != nil {
			message = m[1]
		} else if m := commentLine.FindStringSubmatch(line); m != nil {
			comment += m[1] + " "
			continue
		} else if m := fieldLine.FindStringSubmatch(line); m != nil {
			if d := defaultText.FindStringSubmatch(comment); d != nil && !undocumentable[message+"."+m[1]] {
				defaults[message+"."+m[1]] = d[1]
			}
		}
		comment = ""
	}
	return defaults
}

// filled returns the fields of a message that are set, and of those below it, as config.proto writes them.
func filled(m protoreflect.Message, into map[string]string) map[string]string {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		name := string(m.Descriptor().Name()) + "." + string(field.Name())
		switch {
		case field.IsList():
			for i := range value.List().Len() {
				filled(value.List().Get(i).Message(), into)
			}
		case field.Enum() != nil:
			text := string(field.Enum().Values().ByNumber(value.Enum()).Name())
			into[name] = text[strings.LastIndex(text, "_")+1:]
		case field.Message() == nil:
			into[name] = value.String()
		default:
			if duration, ok := value.Message().Interface().(*durationpb.Duration); ok {
				into[name] = duration.AsDuration().String()
				break
			}
			filled(value.Message(), into)
		}
		return true
	})
	return into
}

func sameValue(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	durationA, errA := time.ParseDuration(a)
	durationB, errB := time.ParseDuration(b)
	return errA == nil && errB == nil && durationA == durationB
}

func TestDefaultsAreTheDocumentedOnes(t *testing.T) {
	message := &configv1.Config{
		Replay:        &configv1.Replay{Redis: &configv1.Redis{}},
		InternalToken: &configv1.InternalToken{},
		Revocations:   &configv1.RevocationStore{Source: &configv1.RevocationStore_Postgres{Postgres: &configv1.RevocationPostgres{}}},
		Providers: []*configv1.Provider{
			{Kind: &configv1.Provider_Jwt{Jwt: &configv1.Jwt{Proof: &configv1.Proof{Dpop: &configv1.Dpop{Nonce: &configv1.DpopNonce{}}}}}, Enrich: &configv1.Enrichment{}},
			{Kind: &configv1.Provider_ApiKey{ApiKey: &configv1.ApiKey{}}},
			{Kind: &configv1.Provider_ApiKey{ApiKey: &configv1.ApiKey{Store: &configv1.ApiKeyStore{Source: &configv1.ApiKeyStore_Postgres{Postgres: &configv1.ApiKeyPostgres{}}}}}},
			{Kind: &configv1.Provider_ApiKey{ApiKey: &configv1.ApiKey{Store: &configv1.ApiKeyStore{Source: &configv1.ApiKeyStore_Sqlite{Sqlite: &configv1.ApiKeySqlite{}}}}}},
			{Kind: &configv1.Provider_Introspection{Introspection: &configv1.Introspection{}}},
			{Kind: &configv1.Provider_HttpSignature{HttpSignature: &configv1.HttpSignature{}}},
			{Kind: &configv1.Provider_ClientCertificate{ClientCertificate: &configv1.ClientCertificate{Forwarded: &configv1.ForwardedCertificate{}}}},
		},
		Enforcers: []*configv1.Enforcer{
			{Policy: &configv1.Policy{Source: &configv1.Policy_Postgres{Postgres: &configv1.Postgres{}}}},
			{Policy: &configv1.Policy{Source: &configv1.Policy_Sqlite{Sqlite: &configv1.Sqlite{}}}},
		},
		Schemas: []*configv1.Schema{{Kind: &configv1.Schema_Protobuf{Protobuf: &configv1.ProtobufSchema{}}}},
		Routes:  []*configv1.Route{{Body: &configv1.Body{}, Rules: []*configv1.Rule{{}}}},
	}
	config.FillDefaults(message)
	message.Routes[0].Body.MaxBytes = 0 // which is that of the server
	got, want := filled(message.ProtoReflect(), map[string]string{}), documented(t)
	if len(want) < 15 {
		t.Fatalf("config.proto documents %d defaults only; are its comments read rightly?", len(want))
	}
	for name, value := range want {
		if !sameValue(got[name], value) {
			t.Errorf("%s is %q by default, and its comment says %q", name, got[name], value)
		}
	}
	for name, value := range got {
		if want[name] == "" {
			t.Errorf("%s is %q by default, and its comment does not say so", name, value)
		}
	}
}

func TestDefaultsLeaveWhatIsWritten(t *testing.T) {
	document := load(t, string(testdata.Read(t, "configs/good/every_field.yaml")))
	server, jwt := document.Config().GetServer(), document.Config().GetProviders()[0].GetJwt()
	for name, same := range map[string]bool{
		"listen":       server.GetListen() == "[::1]:9191",
		"admin":        server.GetAdmin() == "off",
		"drain":        server.GetDrain() != nil && server.GetDrain().AsDuration() == 0,
		"grace":        server.GetConnection().GetMaxAgeGrace().AsDuration() == 200*time.Millisecond,
		"log":          server.GetLog().GetDecisions() == configv1.LogDecisions_LOG_DECISIONS_ALL,
		"level":        server.GetLog().GetLevel() == configv1.LogLevel_LOG_LEVEL_DEBUG,
		"cache":        server.GetCredentialCache().GetMaxAge().AsDuration() == 1500*time.Millisecond,
		"leeway":       jwt.GetLeeway() != nil && jwt.GetLeeway().AsDuration() == 0,
		"principal.id": jwt.GetPrincipal().GetId() == "email",
	} {
		if !same {
			t.Errorf("%s was changed: %v", name, document.Config())
		}
	}
	again := proto.CloneOf(document.Config())
	config.FillDefaults(again)
	if !proto.Equal(again, document.Config()) {
		t.Error("filling defaults in twice is not filling them in once")
	}
}

// TestScalarTypes makes sure that config.proto uses no type of field that this package cannot check.
func TestScalarTypes(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	var walk func(protoreflect.MessageDescriptor)
	walk = func(message protoreflect.MessageDescriptor) {
		if seen[message.FullName()] || message.FullName() == "google.protobuf.Duration" {
			return
		}
		seen[message.FullName()] = true
		for i := range message.Fields().Len() {
			field := message.Fields().Get(i)
			switch value := field; {
			case field.IsMap() && (field.MapKey().Kind() != protoreflect.StringKind || field.MapValue().Kind() != protoreflect.StringKind):
				t.Errorf("%s: only maps of strings are checked", field.FullName())
			case value.Message() != nil && !field.IsMap():
				walk(value.Message())
			case field.Enum() != nil:
				if field.IsList() || !strings.HasSuffix(string(field.Enum().Values().ByNumber(0).Name()), "_UNSPECIFIED") {
					t.Errorf("%s: only single enums with a zero named …_UNSPECIFIED are read", field.FullName())
				}
			default:
				switch field.Kind() {
				case protoreflect.BoolKind, protoreflect.StringKind, protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.MessageKind:
				default:
					t.Errorf("%s: the type %s is not checked", field.FullName(), strconv.Quote(field.Kind().String()))
				}
			}
		}
	}
	walk((&configv1.Config{}).ProtoReflect().Descriptor())
	if len(seen) < 10 {
		t.Errorf("only %d messages were seen", len(seen))
	}
}
