package server_test

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/server"
	"github.com/kasbah-authz/kasbah/server/servertest"
	"github.com/kasbah-authz/kasbah/testdata"
)

// TestLintFindsWhatNewFinds: one loader, and so one list of findings, for every bad configuration and for faults in each
// file that one names.
func TestLintFindsWhatNewFinds(t *testing.T) {
	folder := t.TempDir()
	if err := os.CopyFS(folder, testdata.Files()); err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(folder, "configs", "bad", "*.yaml"))
	if err != nil || len(paths) < 30 {
		t.Fatalf("%d bad configurations, %v", len(paths), err)
	}
	for name, text := range map[string]string{
		"policy.csv": "p, reader\nq, x\n", "model.conf": "[matchers]\nm = (\n", "jwks.json": "{}",
		servertest.ConfigFile: replaceOnce(t, servertest.Orders(testIssuer(t))[servertest.ConfigFile], "principal.roles", "principal.rolls"),
	} {
		broken := filepath.Join(folder, "broken-"+name)
		files := servertest.Orders(testIssuer(t))
		files[name] = text
		for file, content := range files {
			servertest.Write(t, filepath.Join(broken, file), content)
		}
		paths = append(paths, filepath.Join(broken, servertest.ConfigFile))
	}
	for _, path := range paths {
		linted := server.Lint(t.Context(), server.Config{Path: path, Client: &http.Client{}, Now: time.Now})
		s, err := newAt(path)
		var findings policy.Findings
		if s != nil || !errors.As(err, &findings) {
			t.Errorf("%s: New: server %t, %v; want findings", path, s != nil, err)
			continue
		}
		if linted.Err() == nil || linted.Error() != findings.Error() {
			t.Errorf("%s: lint finds\n%v\nand New\n%v", path, linted, findings)
		}
		for _, finding := range linted {
			if !strings.HasPrefix(finding.File, folder) {
				t.Errorf("%s: a finding nowhere: %v", path, finding)
			}
		}
	}
}

func newAt(path string) (*server.Server, error) {
	return server.New(server.Config{
		Path: path, Listen: "127.0.0.1:0", Admin: "off", Client: &http.Client{}, Now: time.Now, Log: func(slog.Leveler, bool) slog.Handler { return slog.DiscardHandler },
	})
}

// TestWholeConfigurationsLoad: those of the good ones that are whole systems have no finding at all, once the files
// that they name are there.
func TestWholeConfigurationsLoad(t *testing.T) {
	folder := t.TempDir()
	if err := os.CopyFS(folder, testdata.Files()); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(folder, "configs", "good")
	files := servertest.Orders(testIssuer(t))
	delete(files, servertest.ConfigFile)
	for name, text := range files {
		servertest.Write(t, filepath.Join(good, name), text)
	}
	for _, name := range []string{"minimal.yaml", "crlf.yaml", "design.yaml"} {
		if findings := server.Lint(t.Context(), server.Config{Path: filepath.Join(good, name), Client: &http.Client{}, Now: time.Now}); len(findings) > 0 {
			t.Errorf("%s:\n%v", name, findings)
		}
	}
}
