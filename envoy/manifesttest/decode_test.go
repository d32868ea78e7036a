package manifesttest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"
)

// documents are the YAML documents of a file, each with its kind.
func documents(t *testing.T, path string) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	byKind := map[string][]byte{}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return byKind
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		document, err := yaml.Marshal(&node)
		if err != nil {
			t.Fatal(err)
		}
		var meta struct{ Kind string }
		if err := node.Decode(&meta); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if byKind[meta.Kind] != nil {
			t.Fatalf("%s: two documents of kind %q", path, meta.Kind)
		}
		byKind[meta.Kind] = document
	}
}

// document is the document of that kind, as JSON.
func document(t *testing.T, path, kind string) []byte {
	t.Helper()
	text, ok := documents(t, path)[kind]
	if !ok {
		t.Fatalf("%s has no %s", path, kind)
	}
	text, err := kyaml.YAMLToJSONStrict(text) // a key that stands twice is an error
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return text
}

// strict decodes as the API server does with strict field validation: unknown, misspelled and duplicate fields are errors.
func strict(t *testing.T, text []byte, into any) {
	t.Helper()
	faults, err := kjson.UnmarshalStrict(text, into)
	if err := errors.Join(append(faults, err)...); err != nil {
		t.Fatalf("%T: %v", into, err)
	}
}

// strictProto decodes into an Istio type, whose own decoder would let unknown fields pass.
func strictProto(t *testing.T, text []byte, into proto.Message) {
	t.Helper()
	if err := protojson.Unmarshal(text, into); err != nil {
		t.Fatalf("%T: %v", into, err)
	}
}

// istioSpec decodes a custom resource of Istio: its head as Kubernetes does, its spec as a message.
func istioSpec(t *testing.T, path, kind, version string, into proto.Message) {
	t.Helper()
	var whole struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"metadata"`
		Spec json.RawMessage `json:"spec"`
	}
	strict(t, document(t, path, kind), &whole)
	if whole.APIVersion != version || whole.Metadata.Name == "" {
		t.Errorf("%s: apiVersion %q, name %q", path, whole.APIVersion, whole.Metadata.Name)
	}
	strictProto(t, whole.Spec, into)
}

// Every document of every manifest is one that a test below decodes.
func TestNothingIsLeftOut(t *testing.T) {
	known := strings.Fields("Namespace ServiceAccount ConfigMap Deployment Service PodDisruptionBudget NetworkPolicy " +
		"PeerAuthentication AuthorizationPolicy Kustomization SecurityPolicy ClientTrafficPolicy Gateway HTTPRoute ReferenceGrant")
	counted := 0
	for _, pattern := range []string{"../istio/*.yaml", "../gateway/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			for kind := range documents(t, path) {
				counted++
				if kind == "" && filepath.Base(path) == "mesh-config.yaml" {
					counted-- // values of a chart, no manifest
					continue
				}
				found := false
				for _, k := range known {
					found = found || k == kind
				}
				if !found {
					t.Errorf("%s: nobody tests the kind %q", path, kind)
				}
			}
		}
	}
	if counted != len(known) {
		t.Errorf("%d documents, want %d", counted, len(known))
	}
}

func TestStrictIsStrict(t *testing.T) {
	for _, text := range []string{`{"replica": 2}`, `{"Replicas": 2}`, `{"replicas": 2, "replicas": 3}`, `{"replicas": "2"}`} {
		var spec struct {
			Replicas int `json:"replicas"`
		}
		faults, err := kjson.UnmarshalStrict([]byte(text), &spec)
		if err == nil && len(faults) == 0 {
			t.Errorf("%s is no error", text)
		}
	}
}
