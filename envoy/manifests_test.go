package envoy_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kasbah-authz/kasbah/envoy"
	"github.com/kasbah-authz/kasbah/envoy/envoytest"
)

// The manifests are decoded into the types of Istio, Kubernetes and Envoy Gateway. Those are a hundred modules that the
// gate has no use for, so the tests are a module of their own. This one runs them: go -C envoy/manifesttest test ./...
func TestManifests(t *testing.T) {
	command := exec.CommandContext(t.Context(), "go", "test", "-count=1", "./...")
	command.Dir = "manifesttest"
	command.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=auto")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Errorf("go -C envoy/manifesttest test ./...: %v\n%s", err, out)
	}
}

func TestFilesAreEmbedded(t *testing.T) {
	for _, pattern := range []string{"envoy.yaml", "istio/*.yaml", "gateway/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(paths), err)
		}
		for _, path := range paths {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := fs.ReadFile(envoy.Files(), filepath.ToSlash(path))
			if err != nil || string(got) != string(want) {
				t.Errorf("%s is not embedded as it is: %v", path, err)
			}
		}
	}
}

// The configuration inside the ConfigMap is taken out for the tests that lint it.
func TestConfigMapHoldsAConfiguration(t *testing.T) {
	manifest, err := fs.ReadFile(envoy.Files(), "istio/config-map.yaml")
	if err != nil {
		t.Fatal(err)
	}
	data, err := envoytest.ConfigMapData(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kasbah.yaml", "model.conf", "policy.csv"} {
		if data[name] == "" {
			t.Errorf("there is no %s in the ConfigMap", name)
		}
	}
}
