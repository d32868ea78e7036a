package suite_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy/suite"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, name := range []string{
		"b_test.yaml", "a/deep/x_test.yaml", "a/y_test.yaml", "a/kasbah.yaml", "a/x_test.yml", "test.yaml", ".git/z_test.yaml", "a/.hidden/z_test.yaml",
	} {
		write(t, filepath.Join(folder, name), good)
	}
	if err := os.Mkdir(filepath.Join(folder, "folder_test.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"a/loop": folder, "a/folder_test.yaml": folder, "linked": folder + "/a/deep", "linked_test.yaml": folder + "/test.yaml"} {
		if err := os.Symlink(to, filepath.Join(folder, link)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string][]string{
		"":              {"a/deep/x_test.yaml", "a/y_test.yaml", "b_test.yaml", "linked_test.yaml"},
		"/":             {"a/deep/x_test.yaml", "a/y_test.yaml", "b_test.yaml", "linked_test.yaml"},
		"/a":            {"a/deep/x_test.yaml", "a/y_test.yaml"},
		"/.git":         {".git/z_test.yaml"}, // named outright
		"/b_test.yaml":  {"b_test.yaml"},
		"/a/../a/deep/": {"a/deep/x_test.yaml"},
		"/linked":       {"linked/x_test.yaml"}, // named outright
	} {
		got, err := suite.Find(folder + path)
		for i := range want {
			want[i] = filepath.Join(folder, want[i])
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
	for path, want := range map[string]string{
		"/folder_test.yaml": "no file at or below " + folder + "/folder_test.yaml ends in _test.yaml",
		"/gone":             "reading " + folder + "/gone: no such file or directory",
		"/a/kasbah.yaml":    "kasbah.yaml is no suite; the names of suites end in _test.yaml",
	} {
		if got, err := suite.Find(folder + path); err == nil || !strings.Contains(err.Error(), want) || got != nil {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}

// TestFindFaults: what cannot be looked into is no empty folder.
func TestFindFaults(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write(t, filepath.Join(folder, "a_test.yaml"), good)
	link := filepath.Join(folder, "b_test.yaml")
	if err := os.Symlink("gone", link); err != nil {
		t.Fatal(err)
	}
	if got, err := suite.Find(folder); err == nil || err.Error() != "reading "+link+": no such file or directory" {
		t.Errorf("a link to nothing: %q, %v", got, err)
	}
	if got, err := suite.Find("/dev/null"); err == nil || got != nil {
		t.Errorf("a device: %q, %v", got, err)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "x_test.yaml")
	write(t, path, good)
	if s, findings := suite.Load(path); s == nil || len(findings) > 0 || s.File != path || s.ConfigPath() != filepath.Join(folder, "kasbah.yaml") {
		t.Errorf("%+v, %v", s, findings)
	}
	for _, bad := range []string{folder, filepath.Join(folder, "gone_test.yaml")} {
		if s, findings := suite.Load(bad); s != nil || len(findings) != 1 || findings[0].File != bad || !strings.Contains(findings[0].Message, "reading "+bad) {
			t.Errorf("%s: %v, %v", bad, s, findings)
		}
	}
	write(t, path, good+strings.Repeat("#", 1<<20))
	if s, findings := suite.Load(path); s != nil || !strings.Contains(findings.Error(), "longer than 1048576 bytes") {
		t.Errorf("%v", findings)
	}
}
