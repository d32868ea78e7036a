package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/server"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(benchChild); what != "" { // a server of the benchmarks
		if err := serveBench(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait for a condition.
const patience = 20 * time.Second

const (
	modelText = `[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act
`
	policyText = "p, reader, /orders/:id, GET\ng, alice, reader\n"
	configText = `
server: {drain: 200ms, shutdown_timeout: 2s, log: {level: debug, decisions: all}}
providers:
- name: corp
  jwt: {issuer: "http://issuer:9193", audiences: [api], algorithms: [RS256], jwks: {file: jwks.json}}
enforcers:
- name: orders
  model: {file: model.conf}
  policy: {file: policy.csv}
routes:
- name: orders
  match: [{path: /orders/}]
  authenticate: [corp]
  authorize: orders
  headers: {x-user: principal.id}
- name: health
  match: [{path: /healthz}]
  public: true
`
)

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// fixture is one running server with its files.
type fixture struct {
	t       *testing.T
	folder  string
	issuer  *keystest.Issuer
	server  *server.Server
	log     *logBuffer
	stop    context.CancelFunc
	running *running
	reload  chan struct{}
	creds   credentials.TransportCredentials
}

// files are what a fixture begins with; more is added or replaced by name.
func (f *fixture) files(more map[string]string) map[string]string {
	all := map[string]string{
		"kasbah.yaml": configText, "model.conf": modelText, "policy.csv": policyText, "jwks.json": string(f.issuer.JWKS()),
	}
	for name, text := range more {
		all[name] = text
	}
	return all
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	issuer, err := keystest.New("http://issuer:9193")
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t: t, folder: t.TempDir(), issuer: issuer, log: &logBuffer{}, reload: make(chan struct{}), creds: insecure.NewCredentials()}
}

func (f *fixture) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.folder, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// replace is write in one step, so that no reload finds half of the file.
func (f *fixture) replace(name, text string) {
	f.t.Helper()
	f.write("."+name, text)
	if err := os.Rename(filepath.Join(f.folder, "."+name), filepath.Join(f.folder, name)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) config() server.Config {
	return server.Config{
		Path: filepath.Join(f.folder, "kasbah.yaml"), Listen: "127.0.0.1:0", Admin: "127.0.0.1:0",
		Client: &http.Client{}, Now: time.Now, Reload: f.reload,
		Log: func(level slog.Leveler, _ bool) slog.Handler {
			return slog.NewJSONHandler(f.log, &slog.HandlerOptions{Level: level})
		},
	}
}

// start runs a server on those files until the test ends.
func start(t *testing.T, more map[string]string) *fixture {
	t.Helper()
	f := newFixture(t)
	for name, text := range f.files(more) {
		f.write(name, text)
	}
	f.run(f.config())
	return f
}

func (f *fixture) run(cfg server.Config) {
	f.t.Helper()
	s, err := server.New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = s.Run(ctx)
	}()
	f.server, f.stop, f.running = s, stop, r
	f.t.Cleanup(func() { // of this run: a fixture may run again
		stop()
		<-r.done
		if !r.taken && r.err != nil {
			f.t.Errorf("Run: %v", r.err)
		}
	})
}

// running is one run of a server, and what it returned.
type running struct {
	done  chan struct{}
	err   error // once done is closed
	taken bool  // a test has seen the error
}

// end stops the server and returns what Run returned.
func (f *fixture) end() error {
	f.stop()
	<-f.running.done
	f.running.taken = true
	return f.running.err
}

func (f *fixture) dial() *grpc.ClientConn {
	f.t.Helper()
	target := f.server.Addr().String()
	if f.server.Addr().Network() == "unix" {
		target = "unix://" + target
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(f.creds))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (f *fixture) token(subject string) string {
	return f.issuer.Token(keystest.Claims{Subject: subject})
}

// get is a CheckRequest for a GET of that path, with a token unless it is empty.
func get(path, token string) *authv3.CheckRequest {
	http := &authv3.AttributeContext_HttpRequest{
		Id: "42", Method: "GET", Scheme: "https", Host: "api.example.com", Path: path, Protocol: "HTTP/2",
		HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "accept", RawValue: []byte("*/*")}}},
	}
	if token != "" {
		http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: "authorization", RawValue: []byte("Bearer " + token)})
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: http}}}
}

// status is the HTTP status of an answer, 200 for an allow.
func status(response *authv3.CheckResponse) int {
	if response.GetOkResponse() != nil {
		return http.StatusOK
	}
	return int(response.GetDeniedResponse().GetStatus().GetCode())
}

// ask sends one check and demands a CheckResponse: an RPC error is no denial.
func ask(t *testing.T, conn *grpc.ClientConn, in *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	response, err := authv3.NewAuthorizationClient(conn).Check(ctx, in)
	if err != nil {
		t.Fatalf("an RPC error in place of an answer: %v", err)
	}
	return response
}

// await returns when the condition holds, and fails the test when it does not within patience.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// admin asks the admin service and returns status and body.
func (f *fixture) admin(path string) (int, string) {
	f.t.Helper()
	recorder := httptest.NewRecorder()
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + f.server.AdminAddr().String() + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	if _, err := io.Copy(recorder, response.Body); err != nil {
		f.t.Fatal(err)
	}
	return response.StatusCode, recorder.Body.String()
}

// metric returns the value of one series as it is printed, empty where there is none.
func (f *fixture) metric(series string) string {
	f.t.Helper()
	_, text := f.admin("/metrics")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (f *fixture) serving(conn *grpc.ClientConn, service string) bool {
	response, err := healthpb.NewHealthClient(conn).Check(f.t.Context(), &healthpb.HealthCheckRequest{Service: service})
	return err == nil && response.GetStatus() == healthpb.HealthCheckResponse_SERVING
}

// listen returns a listener on a free port of loopback.
func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}
