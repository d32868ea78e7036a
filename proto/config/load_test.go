package config_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/proto/config"
	"github.com/kasbah-authz/kasbah/testdata"
)

var update = flag.Bool("update", false, "write the findings that are expected into testdata/configs")

// lines returns findings as an expectation holds them: one a line.
func lines(findings policy.Findings) string {
	var text strings.Builder
	for _, finding := range findings {
		text.WriteString(finding.Error() + "\n")
	}
	return text.String()
}

// checkFindings compares findings with the file beside name whose name ends in .txt.
func checkFindings(t *testing.T, name string, findings policy.Findings) {
	t.Helper()
	expected := strings.TrimSuffix(name, ".yaml") + ".txt"
	if *update {
		if err := os.WriteFile(filepath.Join("../../testdata", expected), []byte(lines(findings)), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(testdata.Read(t, expected)), lines(findings)); diff != "" {
		t.Errorf("findings (-expected +found):\n%s", diff)
	}
}

func TestBadConfigurations(t *testing.T) {
	testdata.Each(t, "configs/bad/*.yaml", func(name string, data []byte) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			document, findings := config.Load(filepath.Base(name), data)
			if document != nil {
				t.Error("a bad configuration was loaded")
			}
			if findings.Err() == nil {
				t.Error("no finding is an error")
			}
			if strings.Contains(findings.Error(), "hunter2") {
				t.Error("a finding shows a secret that stands in the wrong place")
			}
			checkFindings(t, name, findings)
		})
	})
}

func TestGoodConfigurations(t *testing.T) {
	warned := false
	testdata.Each(t, "configs/good/*.yaml", func(name string, data []byte) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			document, findings := config.Load(filepath.Base(name), data)
			if document == nil {
				t.Fatalf("findings:\n%v", findings)
			}
			if filepath.Base(name) == "warnings.yaml" {
				warned = true
				checkFindings(t, name, findings)
				return
			}
			if len(findings) > 0 {
				t.Errorf("findings:\n%v", findings)
			}
		})
	})
	if !warned {
		t.Error("configs/good/warnings.yaml is gone")
	}
}

func TestWarningsAreBounded(t *testing.T) {
	var text strings.Builder
	text.WriteString("providers:\n")
	for i := range config.MaxFindings + 7 {
		fmt.Fprintf(&text, "- {name: p%d, jwt: {issuer: https://%d.example, audiences: [a], algorithms: [RS256]}}\n", i, i)
	}
	text.WriteString("routes:\n- {name: a, match: [{path: /a}], public: true}\n")
	document, findings := config.Load("kasbah.yaml", []byte(text.String()))
	if document == nil || len(findings) != config.MaxFindings+1 {
		t.Fatalf("%d findings:\n%v", len(findings), findings)
	}
	if got, want := findings[config.MaxFindings].Error(), "kasbah.yaml: warning: 7 more warnings are not shown"; got != want {
		t.Errorf("the last finding is %q, want %q", got, want)
	}
}

// recorder is a test that goes on after it failed.
type recorder struct{ failures int }

func (*recorder) Helper() {}

func (r *recorder) Fatalf(string, ...any) { r.failures++ }

func TestMissingDataFail(t *testing.T) {
	for name, look := range map[string]func(testdata.T){
		"no match":    func(t testdata.T) { testdata.Each(t, "configs/none/*.yaml", func(string, []byte) {}) },
		"bad pattern": func(t testdata.T) { testdata.Each(t, "[", func(string, []byte) {}) },
		"no file":     func(t testdata.T) { testdata.Read(t, "configs/none.yaml") },
	} {
		r := &recorder{}
		if look(r); r.failures == 0 {
			t.Errorf("%s: the test did not fail", name)
		}
	}
}
