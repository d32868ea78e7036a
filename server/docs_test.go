package server_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy"
)

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocsNameEveryReason, and none that there is not.
func TestDocsNameEveryReason(t *testing.T) {
	text := readDoc(t, "troubleshooting.md")
	for _, reason := range policy.Reasons() {
		if !regexp.MustCompile(`(?m)^\| ([a-z_]+, )*` + reason.String() + `(, [a-z_]+)* \|`).MatchString(text) {
			t.Errorf("docs/troubleshooting.md does not explain %s", reason)
		}
	}
}

// TestDocsNameEveryMetric, and none that there is not.
func TestDocsNameEveryMetric(t *testing.T) {
	source, err := os.ReadFile("metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`kasbah_[a-z_]+`)
	text := readDoc(t, "operations.md")
	found := name.FindAllString(string(source), -1)
	if len(found) < 10 {
		t.Fatalf("metrics.go names %d metrics", len(found))
	}
	for _, metric := range found {
		if !strings.Contains(text, metric) {
			t.Errorf("docs/operations.md does not name %s", metric)
		}
	}
	for _, metric := range name.FindAllString(text, -1) {
		if !strings.Contains(string(source), `"`+metric+`"`) {
			t.Errorf("docs/operations.md names %s, which there is not", metric)
		}
	}
}
