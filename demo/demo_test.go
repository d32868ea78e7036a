package demo_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kasbah-authz/kasbah/demo"
	"github.com/kasbah-authz/kasbah/testdata"
)

// files are what CopyFiles writes.
var files = []string{"kasbah.yaml", "model.conf", "policy.csv"}

// startDemo starts a System on a folder of its own, in which change may edit the files first.
func startDemo(t *testing.T, change func(folder string)) (system *demo.System, folder string) {
	t.Helper()
	folder = t.TempDir()
	if err := demo.CopyFiles(folder); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(folder)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // Envoy may have to be downloaded
	defer cancel()
	system, err := demo.Start(ctx, demo.Options{Folder: folder})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := system.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	return system, folder
}

// edit replaces a text that is in the file, once.
func edit(t *testing.T, path, old, replacement string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(old)) {
		t.Fatalf("%s has no %q", path, old)
	}
	if err := os.WriteFile(path, bytes.Replace(data, []byte(old), []byte(replacement), 1), 0o600); err != nil {
		t.Fatal(err)
	}
}

var row = regexp.MustCompile(`(?m)^(ok   |WRONG)  .* expected (\S+|grpc \d+)\s+actual (\S+|grpc \d+)(  <- .*)?$`)

// The demo's own table: at least 25 requests, every status of the design's table that this configuration can reach, all
// as expected. Afterwards the folder is as it was, and nothing runs.
func TestTry(t *testing.T) {
	t.Parallel()
	system, folder := startDemo(t, nil)
	addresses := []string{system.EnvoyAddr(), system.AdminAddr(), system.IssuerAddr()}
	for _, address := range addresses {
		if !listens(t, address) {
			t.Errorf("nobody listens on %s", address)
		}
	}
	var out bytes.Buffer
	good, err := system.Try(t.Context(), &out)
	if err != nil || !good {
		t.Errorf("Try: %v, %v\n%s", good, err, &out)
	}
	rows := row.FindAllStringSubmatch(out.String(), -1)
	statuses := map[string]int{}
	for _, found := range rows {
		if found[1] != "ok   " || found[2] != found[3] || found[4] != "" {
			t.Errorf("a row that is not as expected in a table that is: %s", found[0])
		}
		statuses[found[3]]++
	}
	if lines := strings.Count(out.String(), "\n"); len(rows) != lines-2 || len(rows) < 25 {
		t.Errorf("%d rows in %d lines:\n%s", len(rows), lines, &out)
	}
	for _, status := range []string{"200", "400", "401", "403", "503", "grpc 0", "grpc 3", "grpc 7", "grpc 14", "grpc 16"} {
		if statuses[status] == 0 {
			t.Errorf("no request ends with %s: %v", status, statuses)
		}
	}
	for _, name := range files {
		compareFile(t, filepath.Join(folder, name), name)
	}
	if err := system.Stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
	for _, address := range addresses {
		if listens(t, address) {
			t.Errorf("%s still listens", address)
		}
	}
}

func compareFile(t *testing.T, path, name string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(testdata.Read(t, "demo/"+name)), string(got)); diff != "" {
		t.Errorf("%s is another (-want +got):\n%s", name, diff)
	}
}

func listens(t *testing.T, address string) bool {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.WithoutCancel(t.Context()), "tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// A table with a wrong verdict is reported so: the policy allows what must be denied, and a header is not as it must be.
func TestTryFails(t *testing.T) {
	t.Parallel()
	system, folder := startDemo(t, func(folder string) {
		edit(t, filepath.Join(folder, "policy.csv"), "p, writer,", "p, reader, /orders/:id, DELETE, allow\np, writer,")
		edit(t, filepath.Join(folder, "kasbah.yaml"), "    x-roles: principal.roles\n", "")
	})
	before, err := os.ReadFile(filepath.Join(folder, "policy.csv"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	good, err := system.Try(t.Context(), &out)
	if err != nil || good {
		t.Errorf("Try of another policy: %v, %v", good, err)
	}
	wrong := map[string]bool{}
	for _, found := range row.FindAllStringSubmatch(out.String(), -1) {
		if found[1] == "WRONG" {
			wrong[strings.TrimSpace(found[0][len("WRONG"):len("WRONG")+48])+found[4]] = true
		}
	}
	want := map[string]bool{
		"a method that no rule allows  <- another verdict":      true,
		"a role in the token  <- the upstream saw x-roles: []":  true,
		`a forged role  <- the upstream saw x-roles: ["admin"]`: true,
	}
	if diff := cmp.Diff(want, wrong); diff != "" {
		t.Errorf("what is wrong (-want +got):\n%s", diff)
	}
	if !strings.Contains(out.String(), " as expected, 3 not\n") {
		t.Errorf("the last line does not count them: %q", out.String()[max(0, out.Len()-80):])
	}
	after, err := os.ReadFile(filepath.Join(folder, "policy.csv"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the policy is another: %v", err)
	}
}

// Try says what it needs, and leaves the policy alone that does not have it.
func TestTryWithoutTheLine(t *testing.T) {
	t.Parallel()
	system, folder := startDemo(t, func(folder string) {
		edit(t, filepath.Join(folder, "policy.csv"), "g, alice, reader", "g,  alice, reader")
	})
	good, err := system.Try(t.Context(), io.Discard)
	if err == nil || good || !strings.Contains(err.Error(), `no line "g, alice, reader"`) {
		t.Errorf("Try: %v, %v", good, err)
	}
	if data, err := os.ReadFile(filepath.Join(folder, "policy.csv")); err != nil || !bytes.Contains(data, []byte("g,  alice, reader\n")) {
		t.Errorf("the policy is another: %v", err)
	}
}

// A Try that is cut short fails, and restores the folder too.
func TestTryEndsWithItsContext(t *testing.T) {
	t.Parallel()
	system, folder := startDemo(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if good, err := system.Try(ctx, io.Discard); good {
		t.Errorf("Try without time: %v, %v", good, err)
	}
	compareFile(t, filepath.Join(folder, "policy.csv"), "policy.csv")
}

// A demo that cannot start leaves nothing behind; the check for goroutines that are left is TestMain's.
func TestStartFails(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(folder string, options *demo.Options)
		want    string
	}{
		"no configuration": {func(folder string, _ *demo.Options) {
			if err := os.Remove(filepath.Join(folder, "kasbah.yaml")); err != nil {
				t.Fatal(err)
			}
		}, "kasbah.yaml"},
		"a broken policy": {func(folder string, _ *demo.Options) {
			edit(t, filepath.Join(folder, "policy.csv"), "GET, allow", "GET, allwo")
		}, "policy.csv:2"},
		"an address in use": {func(_ string, options *demo.Options) {
			listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = listener.Close() })
			options.Upstream = listener.Addr().String()
		}, "starting the upstream"},
		"an address that is none": {func(_ string, options *demo.Options) { options.Envoy = "nowhere" }, "starting Envoy"},
	} {
		t.Run(name, func(t *testing.T) {
			options := demo.Options{Folder: t.TempDir()}
			if err := demo.CopyFiles(options.Folder); err != nil {
				t.Fatal(err)
			}
			test.prepare(options.Folder, &options)
			system, err := demo.Start(t.Context(), options)
			if err == nil {
				t.Fatalf("it started: %v", system.Stop())
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not speak of %q", err, test.want)
			}
		})
	}
	t.Run("no time", func(t *testing.T) {
		folder := t.TempDir()
		if err := demo.CopyFiles(folder); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if system, err := demo.Start(ctx, demo.Options{Folder: folder}); err == nil {
			t.Errorf("it started: %v", system.Stop())
		}
	})
}

// CopyFiles replaces no file that somebody has edited.
func TestCopyFiles(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new")
	if err := demo.CopyFiles(folder); err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		compareFile(t, filepath.Join(folder, name), name)
	}
	edited := filepath.Join(folder, "policy.csv")
	if err := os.WriteFile(edited, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "model.conf")); err != nil {
		t.Fatal(err)
	}
	if err := demo.CopyFiles(folder); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(edited); err != nil || string(data) != "mine" {
		t.Errorf("the edited file is %q, %v", data, err)
	}
	compareFile(t, filepath.Join(folder, "model.conf"), "model.conf")
	if err := demo.CopyFiles(filepath.Join(edited, "below")); err == nil {
		t.Error("a folder below a file was made")
	}
}

// The tokens that the demo prints do what its curl lines promise.
func TestTokens(t *testing.T) {
	t.Parallel()
	system, _ := startDemo(t, nil)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	for _, test := range []struct {
		method, path, token string
		want                int
	}{
		{"GET", "/healthz", "", 200},
		{"GET", "/orders/7", "", 401},
		{"GET", "/orders/7", system.Token("alice"), 200},
		{"DELETE", "/orders/7", system.Token("alice"), 403},
		{"DELETE", "/orders/7", system.Token("carol", "admin"), 200},
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, "http://"+system.EnvoyAddr()+test.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if test.token != "" {
			request.Header.Set("Authorization", "Bearer "+test.token)
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if response.StatusCode != test.want {
			t.Errorf("%s %s: %s, want %d", test.method, test.path, response.Status, test.want)
		}
	}
	select {
	case <-system.Done():
		t.Error("Envoy is said to have ended")
	default:
	}
}
