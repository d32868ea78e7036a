package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

// configuration is a block of a document that shows a whole configuration.
var configuration = regexp.MustCompile("(?s)```yaml\n(# kasbah.yaml.*?)```")

// lintText lints a configuration that lies beside the demo's files and a jwks.json. Some of these are replaced, by
// pairs of name and text. It returns the exit code and the findings.
func lintText(t *testing.T, text string, replaced ...string) (code int, findings string) {
	t.Helper()
	folder := t.TempDir()
	if err := writeDemo(folder); err != nil {
		t.Fatal(err)
	}
	if code := run(t.Context(), []string{"keys", "create", "--file", filepath.Join(folder, "api-keys.yaml"), "--owner", "acme"}, streams{strings.NewReader(""), io.Discard, os.Stderr}); code != exitOK {
		t.Fatalf("kasbah keys create exits with %d", code)
	}
	if code := run(t.Context(), []string{"signing-keys", "create", "--file", filepath.Join(folder, "signing-keys.json")}, streams{strings.NewReader(""), io.Discard, os.Stderr}); code != exitOK {
		t.Fatalf("kasbah signing-keys create exits with %d", code)
	}
	signer, err := keystest.NewSigner("acme-2026", "ed25519")
	if err != nil {
		t.Fatal(err)
	}
	authority := keystest.NewAuthority("clients", time.Now())
	files := map[string]string{
		"kasbah.yaml": text, "bank.binpb": readDocument(t, "../../proto/schema/testdata/bank.binpb"),
		"clients.pem": string(authority.PEM()), "clients.crl": string(authority.Revoke(nil)), "partner.pem": string(authority.PEM()), "cluster-ca.pem": string(authority.PEM()),
		"batch-secret": strings.Repeat("secret", 8), "client-secret": "s3cret", "nonce-secret": strings.Repeat("nonce", 8), "redis-url": "redis://:s3cret@redis:6379/0",
		"users.htpasswd": "alice:$2y$12$" + strings.Repeat("a", 53) + "\n", "acme.pub": signer.PEM(), "globex-secret": strings.Repeat("secret", 8),
		"revoked.yaml": "revoked:\n- {sub: mallory}\n",
	}
	for ; len(replaced) > 0; replaced = replaced[2:] {
		files[replaced[0]] = replaced[1]
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, talk bytes.Buffer
	code = run(t.Context(), []string{"lint", filepath.Join(folder, "kasbah.yaml")}, streams{strings.NewReader(""), &out, &talk})
	if talk.Len() > 0 {
		t.Errorf("lint talks: %s", &talk)
	}
	return code, strings.ReplaceAll(out.String(), folder+string(filepath.Separator), "")
}

func readDocument(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocumentedConfigurations: each configuration that README and docs show is one that loads, without a warning.
func TestDocumentedConfigurations(t *testing.T) {
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, document := range append(documents, "../../README.md") {
		for _, match := range configuration.FindAllStringSubmatch(readDocument(t, document), -1) {
			found++
			if code, findings := lintText(t, match[1]); code != exitOK || findings != "" {
				t.Errorf("%s shows a configuration that does not load: exit %d\n%s", document, code, findings)
			}
		}
	}
	if found == 0 {
		t.Error("README and docs show no configuration")
	}
}

// TestDocumentedFindings: the findings that README shows are those of its own configuration with the two faults.
func TestDocumentedFindings(t *testing.T) {
	readme := readDocument(t, "../../README.md")
	shown := configuration.FindStringSubmatch(readme)
	if shown == nil {
		t.Fatal("README shows no configuration")
	}
	good := "roles: principal.roles "
	if strings.Count(shown[1], good) != 1 {
		t.Fatalf("README's configuration has no %q", good)
	}
	text := strings.Replace(shown[1], good, "roles: principal.rolez ", 1)
	policy := "p, reader, /orders, GET, allow\np, reader, /orders/:id, GET, alow\n"
	code, findings := lintText(t, text, "policy.csv", policy)
	if code != exitFindings || !strings.Contains(readme, "```\n"+findings+"```") {
		t.Errorf("README does not show what lint says, exit %d:\n%s", code, findings)
	}
}

// TestDocumentedEnvoy: the lines that README takes out of envoy.yaml are there.
func TestDocumentedEnvoy(t *testing.T) {
	shown := regexp.MustCompile("(?s)```yaml\n *# of envoy.yaml\n(.*?)```").FindStringSubmatch(readDocument(t, "../../README.md"))
	if shown == nil {
		t.Fatal("README shows nothing of envoy.yaml")
	}
	there := map[string]bool{}
	for line := range strings.Lines(readDocument(t, "../../envoy/envoy.yaml")) {
		line, _, _ = strings.Cut(line, " #")
		there[strings.TrimSpace(line)] = true
	}
	for line := range strings.Lines(shown[1]) {
		if !there[strings.TrimSpace(line)] {
			t.Errorf("envoy.yaml has no line %q", strings.TrimSpace(line))
		}
	}
}

// TestDocumentedLinks: every file that a document links to is there.
func TestDocumentedLinks(t *testing.T) {
	documents, err := filepath.Glob("../../*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	found := 0
	for _, document := range append(documents, more...) {
		for _, match := range link.FindAllStringSubmatch(readDocument(t, document), -1) {
			if strings.HasPrefix(match[1], "https://") {
				continue
			}
			found++
			if _, err := os.Stat(filepath.Join(filepath.Dir(document), match[1])); err != nil {
				t.Errorf("%s: %v", document, err)
			}
		}
	}
	if found == 0 {
		t.Error("no document links to a file")
	}
}
