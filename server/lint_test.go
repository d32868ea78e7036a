package server_test

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
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

// TestLintFindsRulesWithoutEffect, which New does not look for; of a policy that several enforcers share, those that have
// no effect under any of them.
func TestLintFindsRulesWithoutEffect(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"model.conf": "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n[policy_effect]\ne = some(where (p.eft == allow))\n" +
			"[matchers]\nm = r.sub == p.sub && r.obj == p.obj\nm2 = r.sub == p.sub && r.obj == p.obj && r.act == p.act\n",
		"policy.csv": "p, alice, /a, GET\np, alice, /a, POST\np, alice, \"/a\", GET\np, , /a, GET\n",
		"one.yaml":   lintedEnforcers("- {name: one, model: {file: model.conf}, policy: {file: policy.csv}}"),
		"two.yaml": lintedEnforcers("- {name: one, model: {file: model.conf}, policy: {file: policy.csv}}",
			"- {name: two, model: {file: model.conf}, policy: {file: policy.csv}, context: {request: r, policy: p, effect: e, matcher: m2}}"),
	} {
		servertest.Write(t, filepath.Join(folder, name), text)
	}
	for name, want := range map[string][]string{"one.yaml": {"2:1", "4:1"}, "two.yaml": {"4:1"}} {
		path := filepath.Join(folder, name)
		var places []string
		for _, finding := range server.Lint(t.Context(), server.Config{Path: path, Client: &http.Client{}, Now: time.Now}) {
			if finding.Level == policy.LevelWarning && filepath.Base(finding.File) == "policy.csv" && !strings.Contains(finding.Message, "repeats") {
				places = append(places, strings.TrimPrefix(finding.Position.String(), finding.File+":"))
			}
		}
		if !slices.Equal(places, want) {
			t.Errorf("%s: findings at %q, want %q", name, places, want)
		}
	}
}

func lintedEnforcers(enforcers ...string) string {
	return "enforcers:\n" + strings.Join(enforcers, "\n") + "\nroutes:\n- {name: all, match: [{path: /}], public: true}\n"
}
