package config_test

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"buf.build/go/protoyaml"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/proto/config"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
	"github.com/kasbah-authz/kasbah/testdata"
)

// enumName is the value of one of the enum fields, as protojson and protoyaml write it.
var enumName = regexp.MustCompile(`((?:level|format|decisions|authentication|id|on_failure)"?:\s*"?)(?:LOG_[A-Z]+|CLIENT_AUTHENTICATION|CERTIFICATE_NAME|REVOCATION_FAILURE)_([A-Z_]+)`)

// asWritten writes the enums of what marshal made of a message as an operator would.
func asWritten(t interface {
	Helper()
	Fatalf(format string, arguments ...any)
}, data []byte, err error,
) []byte {
	t.Helper()
	if err != nil {
		t.Fatalf("writing: %v", err)
	}
	return enumName.ReplaceAllFunc(data, func(match []byte) []byte {
		parts := enumName.FindSubmatch(match)
		return append(parts[1], bytes.ToLower(parts[2])...)
	})
}

var (
	someName = rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,8}`)
	someText = rapid.Custom(func(t *rapid.T) string {
		// It begins with no space: the YAML package writes text that does so that it does not read it again.
		return rapid.SampledFrom([]string{"a", "-", "~", "0", "'", `"`, "#", "{", "*", "no"}).Draw(t, "first") +
			rapid.StringOfN(rapid.RuneFrom([]rune("ab:#-{}[]'\"|>&*!%@`,? \n\té~0")), 0, 12, -1).Draw(t, "rest")
	})
	someDuration = rapid.Custom(func(t *rapid.T) *durationpb.Duration {
		if rapid.Bool().Draw(t, "absent") {
			return nil
		}
		return durationpb.New(time.Duration(rapid.Int64Range(int64(time.Second), int64(time.Minute)).Draw(t, "duration")))
	})
)

// somePolicy draws one of each kind of source.
var somePolicy = rapid.Custom(func(t *rapid.T) *configv1.Policy {
	return rapid.SampledFrom([]*configv1.Policy{
		{Source: &configv1.Policy_Inline{Inline: rapid.SampledFrom([]string{"", "p, a\n"}).Draw(t, "inline")}},
		{Source: &configv1.Policy_File{File: someText.Draw(t, "file")}},
		{Source: &configv1.Policy_Postgres{Postgres: &configv1.Postgres{
			Url: &configv1.Secret{Source: &configv1.Secret_Env{Env: "DATABASE_URL"}}, Poll: someDuration.Draw(t, "poll"),
		}}},
		{Source: &configv1.Policy_Sqlite{Sqlite: &configv1.Sqlite{
			Path: someText.Draw(t, "path"), Table: rapid.SampledFrom([]string{"", "rules"}).Draw(t, "table"),
		}}},
	}).Draw(t, "source")
})

// someConfig draws a message that satisfies every constraint and every lint.
var someConfig = rapid.Custom(func(t *rapid.T) *configv1.Config {
	message := &configv1.Config{}
	if rapid.Bool().Draw(t, "server") {
		message.Server = &configv1.Server{
			Listen: rapid.SampledFrom([]string{"", "unix:///a b", "[::1]:1"}).Draw(t, "listen"),
			Admin:  rapid.SampledFrom([]string{"", "off", "localhost:0"}).Draw(t, "admin"),
			Drain:  someDuration.Draw(t, "drain"), ShutdownTimeout: someDuration.Draw(t, "shutdown"),
			MaxBodyBytes: rapid.Uint32Range(0, 1<<28).Draw(t, "body"), Reflection: rapid.Bool().Draw(t, "reflection"),
			Log: &configv1.Log{
				Level:     configv1.LogLevel(rapid.Int32Range(0, 4).Draw(t, "level")),
				Format:    configv1.LogFormat(rapid.Int32Range(0, 2).Draw(t, "format")),
				Decisions: configv1.LogDecisions(rapid.Int32Range(0, 3).Draw(t, "decisions")),
			},
			CredentialCache: &configv1.CredentialCache{MaxBytes: rapid.Uint64().Draw(t, "bytes")},
		}
	}
	providers := rapid.SliceOfNDistinct(someName, 1, 3, rapid.ID[string]).Draw(t, "providers")
	for _, name := range providers {
		message.Providers = append(message.Providers, &configv1.Provider{
			Name: name, Forward: rapid.Bool().Draw(t, "forward"),
			Kind: &configv1.Provider_Jwt{Jwt: &configv1.Jwt{
				Issuer: "https://" + name, Audiences: rapid.SliceOfN(someText, 1, 2).Draw(t, "audiences"),
				Algorithms: []string{"RS256", "EdDSA"}, Leeway: someDuration.Draw(t, "leeway"),
				Jwks: &configv1.Jwks{Source: &configv1.Jwks_Inline{Inline: someText.Draw(t, "jwks")}},
			}},
		})
	}
	message.Enforcers = []*configv1.Enforcer{{
		Name:   "orders",
		Model:  &configv1.Source{Source: &configv1.Source_Inline{Inline: someText.Draw(t, "model")}},
		Policy: somePolicy.Draw(t, "policy"), AllowShrink: rapid.Bool().Draw(t, "shrink"),
	}}
	for i, name := range rapid.SliceOfNDistinct(someName, 1, 4, rapid.ID[string]).Draw(t, "routes") {
		route := &configv1.Route{Name: name, Match: []*configv1.Match{{Path: fmt.Sprintf("/%d", i)}}, Authenticate: providers}
		if route.AnyPrincipal = i > 0 && rapid.Bool().Draw(t, "any"); !route.AnyPrincipal {
			route.Authorize = "orders"
		}
		route.Headers = rapid.MapOfN(rapid.StringMatching(`x-[a-z]{1,4}`), someText, 0, 3).Draw(t, "headers")
		route.Query = rapid.MapOfN(rapid.StringMatching(`[a-z~:"#\[]{1,5}`), someText, 0, 3).Draw(t, "query")
		message.Routes = append(message.Routes, route)
	}
	return message
})

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		message := someConfig.Draw(t, "config")
		want := proto.CloneOf(message)
		config.FillDefaults(want)
		yaml, err := protoyaml.MarshalOptions{UseProtoNames: true}.Marshal(message)
		checkSame(t, want, asWritten(t, yaml, err))
		json, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message) // which is YAML, too
		checkSame(t, want, asWritten(t, json, err))
	})
}

func checkSame(t *rapid.T, want *configv1.Config, data []byte) {
	t.Helper()
	document, findings := config.Load("kasbah.yaml", data)
	if document == nil || len(findings) > 0 {
		t.Fatalf("findings:\n%v\n%s", findings, data)
	}
	if diff := cmp.Diff(want, document.Config(), protocmp.Transform()); diff != "" {
		t.Errorf("what was written is not what was loaded:\n%s", diff)
	}
}

// TestEveryKeyMatters takes each known key of a good file, misspells it, and expects a finding that names it.
func TestEveryKeyMatters(t *testing.T) {
	data := string(testdata.Read(t, "configs/good/every_field.yaml"))
	changed := 0
	for _, key := range knownKeys((&configv1.Config{}).ProtoReflect().Descriptor(), map[string]bool{}) {
		misspelled := regexp.MustCompile(`\b`+key+`:`).ReplaceAllString(data, key+"_:")
		if misspelled == data {
			continue // one that the file cannot hold beside another of its oneof
		}
		changed++
		document, findings := config.Load("kasbah.yaml", []byte(misspelled))
		if document != nil || !strings.Contains(findings.Error(), `_"; did you mean "`+key+`"?`) {
			t.Errorf("%s_ for %s: %v", key, key, findings)
		}
	}
	if changed < 40 {
		t.Errorf("only %d keys were tried", changed)
	}
}

func knownKeys(message protoreflect.MessageDescriptor, into map[string]bool) []string {
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		into[string(field.Name())] = true
		if inner := field.Message(); inner != nil && !field.IsMap() && inner.FullName() != "google.protobuf.Duration" {
			knownKeys(inner, into)
		}
	}
	return slices.Sorted(maps.Keys(into))
}
