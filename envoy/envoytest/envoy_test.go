package envoytest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A listener that forwards to one endpoint, and no admin.
const bootstrap = `
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 0.0.0.0, port_value: 10000}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          access_log:
          - name: envoy.access_loggers.stdout
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
              log_format: {text_format_source: {inline_string: "seen %REQ(:PATH)%\n"}}
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: back}}]}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: back
    load_assignment:
      cluster_name: back
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 8080}}}}]}]
`

func backend(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "upstream saw %s", r.URL.Path)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return listener.Addr().String()
}

func get(ctx context.Context, address, path string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }

func (b *buffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ask() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited 20 s for %s", what)
		}
	}
}

func TestRunForwardsAndCounts(t *testing.T) {
	var stdout buffer
	envoy := envoytest.Run(t, envoytest.Config{
		Bootstrap: []byte(bootstrap),
		Addresses: map[string]string{"0.0.0.0:10000": "127.0.0.1:0", "127.0.0.1:8080": backend(t)},
		Stdout:    &stdout,
	})
	status, body, err := get(t.Context(), envoy.Listener("front"), "/hello")
	if err != nil || status != http.StatusOK || body != "upstream saw /hello" {
		t.Fatalf("got %d %q, %v", status, body, err)
	}
	if got := envoy.Listener("no such"); got != "" {
		t.Errorf("a listener that does not exist is at %q", got)
	}
	eventually(t, "the access log", func() bool { return strings.Contains(stdout.String(), "seen /hello\n") })
	eventually(t, "the counter", func() bool {
		stats, err := envoy.Stats(t.Context(), `^cluster\.back\.upstream_rq_`)
		if err != nil {
			t.Fatal(err)
		}
		if len(stats) == 0 {
			t.Fatal("no statistics")
		}
		for name := range stats {
			if !strings.HasPrefix(name, "cluster.back.upstream_rq_") {
				t.Fatalf("the filter let %s through", name)
			}
		}
		return stats["cluster.back.upstream_rq_completed"] == 1
	})
	envoy.Stop()
	envoy.Stop()
	if err := envoy.Err(); err != nil {
		t.Errorf("stopped on purpose, and Err says %v", err)
	}
	if _, _, err := get(t.Context(), envoy.Listener("front"), "/"); err == nil {
		t.Error("Envoy still answers after Stop")
	}
}

func TestSeveralAtOnce(t *testing.T) {
	upstream := backend(t)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			p, err := envoytest.Start(t.Context(), envoytest.Config{
				Bootstrap: []byte(bootstrap),
				Addresses: map[string]string{"0.0.0.0:10000": "0.0.0.0:0", "127.0.0.1:8080": upstream},
			})
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Stop()
			if status, _, err := get(t.Context(), p.Listener("front"), "/"); status != http.StatusOK {
				t.Errorf("got %d, %v", status, err)
			}
		})
	}
	all.Wait()
}

func TestDeathIsSeen(t *testing.T) {
	p, err := envoytest.Start(t.Context(), envoytest.Config{
		Bootstrap: []byte(bootstrap),
		Addresses: map[string]string{"0.0.0.0:10000": "127.0.0.1:0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if err := p.Err(); err != nil {
		t.Fatalf("running, and Err says %v", err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.Admin()+"/quitquitquit", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if response, err := transport.RoundTrip(request); err == nil {
		_ = response.Body.Close()
	}
	select {
	case <-p.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("Envoy was told to quit and did not")
	}
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("Err says %v", err)
	}
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	ended, end := context.WithCancel(t.Context())
	end()
	for _, c := range []struct {
		name      string
		ctx       context.Context
		bootstrap string
		addresses map[string]string
		want      string
	}{
		{"unknown field", t.Context(), "static_resource: {}", nil, "static_resource"},
		{"not YAML", t.Context(), "a: [", nil, "reading the bootstrap"},
		{"a list", t.Context(), "- a", nil, "not a YAML mapping"},
		{"empty", t.Context(), "", nil, "not a YAML mapping"},
		{"absent address", t.Context(), bootstrap, map[string]string{"127.0.0.1:1": "127.0.0.1:0"}, "no socket_address of the bootstrap is 127.0.0.1:1"},
		{"no port", t.Context(), bootstrap, map[string]string{"0.0.0.0:10000": "127.0.0.1"}, "is not host:port"},
		{"bad port", t.Context(), bootstrap, map[string]string{"0.0.0.0:10000": "127.0.0.1:70000"}, "from 0 to 65535"},
		{"never ready", short, neverReady, nil, "is live"},
		{"ended context", ended, bootstrap, nil, "context canceled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := envoytest.Start(c.ctx, envoytest.Config{Bootstrap: []byte(c.bootstrap), Addresses: c.addresses})
			if err == nil {
				p.Stop()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error does not say %q: %v", c.want, err)
			}
		})
	}
}

// It waits for a cluster whose endpoints come from a server that does not exist.
const neverReady = `
node: {id: x, cluster: x}
static_resources:
  clusters:
  - name: waiting
    type: EDS
    eds_cluster_config:
      eds_config:
        initial_fetch_timeout: 0s
        resource_api_version: V3
        api_config_source: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: nowhere}}]}
  - name: nowhere
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: nowhere
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]
`

func TestValidate(t *testing.T) {
	options := envoytest.FromEnvironment()
	if err := envoytest.Validate(t.Context(), options, []byte(bootstrap)); err != nil {
		t.Error(err)
	}
	err := envoytest.Validate(t.Context(), options, []byte(strings.Replace(bootstrap, "stat_prefix", "stat_prefixes", 1)))
	if err == nil || !strings.Contains(err.Error(), "stat_prefixes") {
		t.Errorf("an unknown field is no error, or not named: %v", err)
	}
}

// script writes an executable that says what Envoy says of its version.
func script(t *testing.T, name, text string) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestFindTakesOnlyFixedReleases(t *testing.T) {
	for version, fixed := range map[string]bool{
		"1.38.3": false, "1.38.4": true, "1.38.10": true, "1.39.0": false, "1.39.1": true,
		"1.40.0": true, "1.41.0-dev": true, "2.0.0": true, "1.9.9": false, "0.40.0": false,
	} {
		folder := script(t, "envoy", "echo; echo 'envoy  version: 0123abcd/"+version+"/Clean/RELEASE/BoringSSL'")
		for _, options := range []envoytest.Options{{Path: folder}, {Envoy: filepath.Join(folder, "envoy")}} {
			found, err := envoytest.Find(t.Context(), options)
			if fixed && (err != nil || found != filepath.Join(folder, "envoy")) {
				t.Errorf("%s: found %q, %v", version, found, err)
			}
			if !fixed && (!errors.Is(err, envoytest.ErrTooOld) || !strings.Contains(err.Error(), version) || found != "") {
				t.Errorf("%s: found %q, %v; want ErrTooOld", version, found, err)
			}
		}
	}
}

func TestFindRefusesWhatIsNoEnvoy(t *testing.T) {
	for name, text := range map[string]string{
		"other program": "echo something else 1.40.0",
		"fails":         "echo broken >&2; exit 3",
	} {
		folder := script(t, "envoy", text)
		if found, err := envoytest.Find(t.Context(), envoytest.Options{Path: folder}); err == nil || found != "" {
			t.Errorf("%s: found %q", name, found)
		}
	}
	if found, err := envoytest.Find(t.Context(), envoytest.Options{Envoy: "/no/such/envoy", Path: os.Getenv("PATH")}); err == nil {
		t.Errorf("what is named is not there, and %q was taken instead", found)
	}
}
