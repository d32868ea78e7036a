package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/testdata"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buffer may be read while a command writes to it.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// call runs a command line and returns its exit code and what it wrote.
func call(ctx context.Context, args ...string) (code int, out, talk string) {
	var stdout, stderr buffer
	code = run(ctx, args, streams{strings.NewReader(""), &stdout, &stderr})
	return code, stdout.String(), stderr.String()
}

// demoFolderCopy is a folder with the demo's files, some of them replaced.
func demoFolderCopy(t *testing.T, replaced map[string]string) string {
	t.Helper()
	issuer, err := keystest.New("https://issuer.example")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	files := map[string]string{"jwks.json": string(issuer.JWKS())}
	for _, name := range []string{"kasbah.yaml", "model.conf", "policy.csv"} {
		data, err := testdata.Demo(name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(data)
	}
	for name, text := range replaced {
		files[name] = text
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string // on standard output or error
	}{
		{nil, exitUsage, "Usage: kasbah COMMAND"},
		{[]string{"help"}, exitOK, "lint"},
		{[]string{"--help"}, exitOK, "serve"},
		{[]string{"sevre"}, exitUsage, `no command "sevre"`},
		{[]string{"lint"}, exitUsage, "at least one"},
		{[]string{"lint", "-h"}, exitOK, "-json"},
		{[]string{"lint", "--jsom", "x"}, exitUsage, "jsom"},
		{[]string{"serve", "kasbah.yaml"}, exitUsage, "--config"},
		{[]string{"serve", "--config", "nowhere.yaml"}, exitFindings, "nowhere.yaml"},
		{[]string{"demo", "-h"}, exitOK, "-once"},
		{[]string{"demo", "--once", "--folder", "nowhere"}, exitFindings, "nowhere"},
		{[]string{"probe", "--url", "http://127.0.0.1:1/readyz"}, exitFindings, "probe"},
		{[]string{"probe", "--url", "::"}, exitUsage, "probe"},
	} {
		code, out, talk := call(t.Context(), c.args...)
		if code != c.code || !strings.Contains(out+talk, c.says) {
			t.Errorf("kasbah %v: exit %d, want %d; said %q, want %q", c.args, code, c.code, out+talk, c.says)
		}
		if code != exitOK && out != "" {
			t.Errorf("kasbah %v: talk on standard output: %q", c.args, out)
		}
	}
}

func TestLint(t *testing.T) {
	good := filepath.Join(demoFolderCopy(t, nil), "kasbah.yaml")
	if code, out, talk := call(t.Context(), "lint", good); code != exitOK || out+talk != "" {
		t.Errorf("the demo: exit %d, %q", code, out+talk)
	}
	bad := demoFolderCopy(t, map[string]string{"policy.csv": "p, reader, /orders/:id, GET, alow\n"})
	code, out, talk := call(t.Context(), "lint", good, filepath.Join(bad, "kasbah.yaml"))
	if want := filepath.Join(bad, "policy.csv") + ":1:30: error: "; code != exitFindings || !strings.HasPrefix(out, want) || talk != "" {
		t.Errorf("a bad policy: exit %d, %q, %q; want %q", code, out, talk, want)
	}
	code, out, _ = call(t.Context(), "lint", "--json", filepath.Join(bad, "kasbah.yaml"))
	var f finding
	if err := json.Unmarshal([]byte(out), &f); err != nil || code != exitFindings || f.Line != 1 || f.Column != 30 || f.Level != "error" || f.Message == "" {
		t.Errorf("as JSON: exit %d, %q, %v", code, out, err)
	}
	typo := demoFolderCopy(t, map[string]string{"kasbah.yaml": "rotes: []\n"})
	if code, out, _ := call(t.Context(), "lint", filepath.Join(typo, "kasbah.yaml")); code != exitFindings || !strings.Contains(out, ":1:1: error: ") || !strings.Contains(out, `"routes"`) {
		t.Errorf("an unknown field: exit %d, %q", code, out)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// await calls until the condition holds, and fails the test when it does not.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(20 * time.Second); !holds(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not within 20s", what)
		}
	}
}

// TestServe: a server that a probe finds ready, that SIGHUP reloads, and that ends with 0.
func TestServe(t *testing.T) {
	config, err := testdata.Demo("kasbah.yaml")
	if err != nil {
		t.Fatal(err)
	}
	local := strings.NewReplacer("drain: 2s", "drain: 0s", "http://partner:9", "http://127.0.0.1:1", "http://issuer:9193", "http://127.0.0.1:1/other").Replace(string(config))
	folder := demoFolderCopy(t, map[string]string{"kasbah.yaml": local})
	admin := freeAddress(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--config", filepath.Join(folder, "kasbah.yaml"), "--listen", "127.0.0.1:0", "--admin", admin}, streams{strings.NewReader(""), &buffer{}, &log})
	}()
	await(t, "ready", func() bool {
		code, _, _ := call(t.Context(), "probe", "--url", "http://"+admin+"/readyz")
		return code == exitOK
	})
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await(t, "a reload that finds nothing new", func() bool {
		_, out, _ := call(t.Context(), "probe", "--url", "http://"+admin+"/metrics")
		return strings.Contains(out, `kasbah_config_reloads_total{result="unchanged"} 1`)
	})
	stop()
	if code := <-ended; code != exitOK {
		t.Errorf("exit %d, log:\n%s", code, log.String())
	}
	if code, _, _ := call(t.Context(), "probe", "--url", "http://"+admin+"/readyz"); code != exitFindings {
		t.Errorf("a probe of nobody: exit %d", code)
	}
}

// TestDemoParts: what docker-compose runs.
func TestDemoParts(t *testing.T) {
	for part, path := range map[string]string{"issuer": "/jwks.json", "upstream": "/"} {
		address := freeAddress(t)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		ended := make(chan int, 1)
		go func() {
			ended <- run(ctx, []string{"demo", part, "--listen", address}, streams{strings.NewReader(""), &buffer{}, &buffer{}})
		}()
		await(t, part, func() bool {
			code, _, _ := call(t.Context(), "probe", "--url", "http://"+address+path)
			return code == exitOK
		})
		stop()
		if code := <-ended; code != exitOK {
			t.Errorf("%s: exit %d", part, code)
		}
	}
}

// TestDocumentedConfigurations: each configuration that README and docs show is one that loads.
func TestDocumentedConfigurations(t *testing.T) {
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(# kasbah.yaml.*?)```")
	found := 0
	for _, document := range append(documents, "../../README.md") {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range block.FindAllStringSubmatch(string(text), -1) {
			found++
			folder := demoFolderCopy(t, map[string]string{"kasbah.yaml": match[1]})
			if code, out, _ := call(t.Context(), "lint", filepath.Join(folder, "kasbah.yaml")); code != exitOK {
				t.Errorf("%s shows a configuration that does not load:\n%s", document, out)
			}
		}
	}
	if found == 0 {
		t.Error("README and docs show no configuration")
	}
}
