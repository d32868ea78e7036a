package demo_test

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/kasbah-authz/kasbah/demo"
	"github.com/kasbah-authz/kasbah/envoy"
	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/server"
)

// A gate is one Kasbah with the configuration of testdata/threats. Tests put an upstream behind it and one or
// more Envoys in front.
type gate struct {
	folder  string
	issuer  *keystest.Issuer
	address string
	public  string // where the public service is, empty where there is none
	stop    func() // ends Kasbah, once
	log     *lines
}

// logged reports whether Kasbah has logged a line with that text.
func (g *gate) logged(text string) bool {
	return slices.ContainsFunc(g.log.all(), func(line string) bool { return strings.Contains(line, text) })
}

func newGate(t *testing.T) *gate {
	t.Helper()
	return newGateOf(t, os.DirFS("testdata/threats"), nil)
}

// newGateOf starts a Kasbah with the configuration of those files, and of others by name, in a folder of the test's own.
func newGateOf(t *testing.T, files fs.FS, more map[string]string) *gate {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, files); err != nil {
		t.Fatal(err)
	}
	issuer, err := keystest.New(demo.IssuerURL)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "jwks.json"), issuer.JWKS(), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range more {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := &lines{}
	kasbah, err := server.New(server.Config{
		Path: filepath.Join(folder, "kasbah.yaml"), Listen: "127.0.0.1:0", Admin: "off",
		Client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		Log: func(level slog.Leveler, _ bool) slog.Handler {
			return slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})
		},
		Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- kasbah.Run(ctx) }()
	g := &gate{folder: folder, issuer: issuer, address: kasbah.Addr().String(), log: log}
	if at := kasbah.PublicAddr(); at != nil {
		g.public = at.String()
	}
	g.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Kasbah ended with %v", err)
		}
	})
	t.Cleanup(func() {
		g.stop()
		if t.Failed() {
			t.Logf("Kasbah's log:\n%s", strings.Join(log.all(), "\n"))
		}
	})
	return g
}

// An edge is one Envoy before the gate.
type edge struct {
	name    string
	address string
	envoy   *envoytest.Process
	log     *lines // the access log

	mu       sync.Mutex
	verdicts map[string]int // of the attacks that were tried, by their bytes
}

// edge starts an Envoy with the envoy.yaml that operators copy and these changes. It waits for a decision as long as it
// takes: which verdict a request gets must not depend on how busy the machine of the tests is.
func (g *gate) edge(t *testing.T, name, upstream string, changes ...func(*bootstrap)) *edge {
	t.Helper()
	e := &edge{name: name, log: &lines{}, verdicts: map[string]int{}}
	e.envoy = envoytest.Run(t, envoytest.Config{
		Bootstrap: newBootstrap(t, append(slices.Clip(changes), patient)...),
		Addresses: map[string]string{"0.0.0.0:10000": "127.0.0.1:0", "127.0.0.1:9191": g.address, "127.0.0.1:8080": upstream},
		Stdout:    e.log,
	})
	e.address = e.envoy.Listener("http")
	e.awaitHealthy(t, 1)
	return e
}

// awaitHealthy waits until Envoy's health checks have found that many replicas of Kasbah.
func (e *edge) awaitHealthy(t *testing.T, replicas int64) {
	t.Helper()
	await(t, "replicas of Kasbah to be healthy", func() bool { return e.stat(t, `^cluster\.kasbah\.membership_healthy$`) == replicas })
}

// stat returns the sum of the stats whose names match. There must be one.
func (e *edge) stat(t *testing.T, pattern string) int64 {
	t.Helper()
	stats, err := e.envoy.Stats(context.WithoutCancel(t.Context()), pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(stats) == 0 {
		t.Fatalf("Envoy has no stat %s", pattern)
	}
	var sum int64
	for _, value := range stats {
		sum += value
	}
	return sum
}

// noErrors demands that Kasbah answered every check that Envoy asked, and with a CheckResponse: an RPC error is no
// denial where failure_mode_allow is set.
func (e *edge) noErrors(t *testing.T) {
	t.Helper()
	for what, pattern := range map[string]string{
		"errors of ext_authz":         `ext_authz\.kasbah\.error$`,
		"requests let in by an error": `ext_authz\.kasbah\.failure_mode_allowed$`,
		"answers that Envoy refused":  `ext_authz\.kasbah\.invalid$`,
		"checks that timed out":       `^cluster\.kasbah\.upstream_rq_timeout$`,
	} {
		if got := e.stat(t, pattern); got != 0 {
			t.Errorf("%s: %d %s", e.name, got, what)
		}
	}
	if asked := e.stat(t, `ext_authz\.kasbah\.(ok|denied)$`); asked == 0 {
		t.Errorf("%s: Kasbah was asked about nothing", e.name)
	}
}

// bootstrap is envoy.yaml as a tree. A change of something that is not there fails the test: then the file is not
// the one that the test was written for.
type bootstrap struct {
	t    *testing.T
	root map[string]any
}

func newBootstrap(t *testing.T, changes ...func(*bootstrap)) []byte {
	t.Helper()
	text, err := fs.ReadFile(envoy.Files(), "envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b := &bootstrap{t: t}
	if err := yaml.Unmarshal(text, &b.root); err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		change(b)
	}
	if text, err = yaml.Marshal(b.root); err != nil {
		t.Fatal(err)
	}
	return text
}

// at walks down the tree by names and indexes.
func (b *bootstrap) at(node any, path ...any) any {
	b.t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			mapping, ok := node.(map[string]any)
			if node = mapping[step]; !ok || node == nil {
				b.t.Fatalf("envoy.yaml has no %v of %v", step, path)
			}
		case int:
			list, ok := node.([]any)
			if !ok || step >= len(list) {
				b.t.Fatalf("envoy.yaml has no item %d of %v", step, path)
			}
			node = list[step]
		}
	}
	return node
}

func (b *bootstrap) mapping(node any, path ...any) map[string]any {
	b.t.Helper()
	found, ok := b.at(node, path...).(map[string]any)
	if !ok {
		b.t.Fatalf("%v of envoy.yaml is no mapping", path)
	}
	return found
}

// replace gives a field that is there another value.
func (b *bootstrap) replace(mapping map[string]any, name string, value any) {
	b.t.Helper()
	if _, ok := mapping[name]; !ok {
		b.t.Fatalf("envoy.yaml has no %s", name)
	}
	mapping[name] = value
}

func (b *bootstrap) manager() map[string]any {
	return b.mapping(b.root, "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config")
}

func (b *bootstrap) extAuthz() map[string]any {
	return b.mapping(b.manager(), "http_filters", 0, "typed_config")
}

// cluster returns the cluster of that name.
func (b *bootstrap) cluster(name string) map[string]any {
	for i := range b.at(b.root, "static_resources", "clusters").([]any) {
		if c := b.mapping(b.root, "static_resources", "clusters", i); c["name"] == name {
			return c
		}
	}
	b.t.Fatalf("envoy.yaml has no cluster %s", name)
	return nil
}

// lax takes away what Envoy does against ambiguous requests, and opens the gate when Kasbah does not answer: what is
// denied then is denied by Kasbah alone.
func lax(b *bootstrap) {
	manager := b.manager()
	b.replace(manager, "normalize_path", false)
	b.replace(manager, "merge_slashes", false)
	b.replace(manager, "path_with_escaped_slashes_action", "KEEP_UNCHANGED")
	b.replace(manager, "strip_trailing_host_dot", false)
	b.replace(manager, "max_request_headers_kb", 96)
	b.replace(b.mapping(manager, "common_http_protocol_options"), "headers_with_underscores_action", "ALLOW")
	b.replace(b.extAuthz(), "failure_mode_allow", true)
}

// patient makes Envoy wait for a decision as the tests do.
func patient(b *bootstrap) {
	service := b.mapping(b.extAuthz(), "grpc_service")
	b.replace(service, "timeout", patience.String())
	b.replace(b.mapping(service, "retry_policy", "retry_back_off"), "max_interval", patience.String())
}

// joinedHeaders makes Envoy describe headers in its older form, in which repeated lines are one.
func joinedHeaders(b *bootstrap) { b.replace(b.extAuthz(), "encode_raw_headers", false) }

// lines keeps what is written to it, by lines.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// all returns the whole lines so far.
func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := strings.Split(l.text.String(), "\n")
	return all[:len(all)-1]
}

// patience is how long tests wait for what must come.
const patience = 30 * time.Second

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}
