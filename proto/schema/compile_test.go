package schema_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
	"github.com/kasbah-authz/kasbah/proto/schema"
)

// bankWith returns the descriptors of the tests, with a field of bank.v1.Item under another constraint, which is written in
// protobuf's own form as a FieldRules.
func bankWith(t *testing.T, constraint []byte) []byte {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(bank, set); err != nil {
		t.Fatal(err)
	}
	for _, file := range set.GetFile() {
		for _, message := range file.GetMessageType() {
			if file.GetPackage() == "bank.v1" && message.GetName() == "Item" {
				message.GetField()[0].Options = &descriptorpb.FieldOptions{}
				options := append([]byte{0xba, 0x48, byte(len(constraint))}, constraint...) // field 1159, buf.validate.field
				message.GetField()[0].GetOptions().ProtoReflect().SetUnknown(options)
			}
		}
	}
	data, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func rulesOf(t *testing.T, rules *validate.FieldRules) []byte {
	t.Helper()
	data, err := proto.Marshal(rules)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func celRule(expression string) *validate.FieldRules {
	rule := validate.Rule_builder{Id: proto.String("item.name"), Expression: proto.String(expression)}.Build()
	return validate.FieldRules_builder{Cel: []*validate.Rule{rule}}.Build()
}

// Whatever could keep a constraint from holding is an error at load, which names the file and what in it.
func TestCompileErrors(t *testing.T) {
	t.Parallel()
	withoutImports := func() []byte {
		set := &descriptorpb.FileDescriptorSet{}
		if err := proto.Unmarshal(bank, set); err != nil {
			t.Fatal(err)
		}
		for i, file := range set.GetFile() {
			if file.GetPackage() == "bank.v1" {
				set.File = set.GetFile()[i : i+1]
				break
			}
		}
		data, err := proto.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}()
	for name, c := range map[string]struct {
		data    []byte
		message string
		field   string
		want    string
	}{
		"no file":                       {nil, "", "protobuf.descriptors.file", "file does not exist"},
		"an empty file":                 {[]byte{}, "", "protobuf.descriptors.file", "bank.binpb: it describes no file"},
		"a .proto file":                 {[]byte(`syntax = "proto3";`), "", "protobuf.descriptors.file", "bank.binpb: it is no FileDescriptorSet"},
		"imports left out":              {withoutImports, "", "protobuf.descriptors.file", "buf/validate/validate.proto"},
		"no such message":               {bank, "bank.v1.Nothing", "protobuf.message", `bank.binpb has no message "bank.v1.Nothing"`},
		"CEL that does not parse":       {bankWith(t, rulesOf(t, celRule("this ==="))), "", "protobuf.descriptors.file", "bank.binpb: bank.v1.Item.name: compilation error"},
		"CEL of another type":           {bankWith(t, rulesOf(t, celRule("this.size() > 'x'"))), "", "protobuf.descriptors.file", "bank.v1.Item.name: compilation error"},
		"a constraint of another type":  {bankWith(t, rulesOf(t, validate.FieldRules_builder{Int32: validate.Int32Rules_builder{Const: proto.Int32(1)}.Build()}.Build())), "", "protobuf.descriptors.file", "bank.v1.Item.name"},
		"a constraint unknown here":     {bankWith(t, []byte{0x72, 4, 0xca, 0x3e, 1, 'x'}), "", "protobuf.descriptors.file", "bank.v1.Item.name"}, // field 1001 of StringRules
		"a constraint that is no rules": {bankWith(t, []byte{0x72, 9}), "", "protobuf.descriptors.file", "bank.binpb"},
		"nothing that bodies could be":  {withoutServices(t), "", "protobuf.descriptors.file", "has no service"},
		"a message, and no services":    {withoutServices(t), "bank.v1.Transfer", "", ""},
	} {
		message := &configv1.Schema{Name: "bank", Kind: &configv1.Schema_Protobuf{Protobuf: &configv1.ProtobufSchema{
			Descriptors: &configv1.Descriptors{Source: &configv1.Descriptors_File{File: "bank.binpb"}}, Message: c.message,
		}}}
		compiled, err := schema.Compile(message, func(string) ([]byte, error) {
			if c.data == nil {
				return nil, fs.ErrNotExist
			}
			return c.data, nil
		})
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var fault *policy.FieldError
		if !errors.As(err, &fault) || fault.Field != c.field || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", name, compiled, err)
		}
	}
	if _, err := schema.Compile(&configv1.Schema{Name: "none"}, nil); err == nil {
		t.Error("a schema of no kind was compiled")
	}
}

func withoutServices(t *testing.T) []byte {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(bank, set); err != nil {
		t.Fatal(err)
	}
	for _, file := range set.GetFile() {
		file.Service = nil
	}
	data, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
