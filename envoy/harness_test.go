package envoy_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"go.uber.org/goleak"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bootstrap is the file that operators copy.
func bootstrap(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// An authorizer is an ext_authz server that answers as the test says and keeps what it was asked.
type authorizer struct {
	authv3.UnimplementedAuthorizationServer
	address string
	server  *grpc.Server
	health  *health.Server

	mu     sync.Mutex
	answer func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error)
	asked  []*authv3.CheckRequest
}

func newAuthorizer(t *testing.T) *authorizer {
	t.Helper()
	listener := listen(t)
	a := &authorizer{address: listener.Addr().String(), server: grpc.NewServer(), health: health.NewServer()}
	a.answers(func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) { return allow(nil), nil })
	authv3.RegisterAuthorizationServer(a.server, a)
	grpc_health_v1.RegisterHealthServer(a.server, a.health)
	a.health.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	done := make(chan error, 1)
	go func() { done <- a.server.Serve(listener) }()
	t.Cleanup(func() {
		a.server.Stop()
		if err := <-done; err != nil {
			t.Errorf("the ext_authz server ended with %v", err)
		}
	})
	return a
}

func (a *authorizer) Check(ctx context.Context, request *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	a.mu.Lock()
	a.asked = append(a.asked, request)
	answer := a.answer
	a.mu.Unlock()
	return answer(ctx, request)
}

func (a *authorizer) answers(answer func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

// always answers every check so.
func (a *authorizer) always(response *authv3.CheckResponse) {
	a.answers(func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) { return response, nil })
}

// taken returns the checks since the last call.
func (a *authorizer) taken() []*authv3.CheckRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := a.asked
	a.asked = nil
	return asked
}

// one returns the only check since the last call.
func (a *authorizer) one(t *testing.T) *authv3.CheckRequest {
	t.Helper()
	asked := a.taken()
	if len(asked) != 1 {
		t.Fatalf("%d checks, want 1", len(asked))
	}
	return asked[0]
}

func allow(ok *authv3.OkHttpResponse) *authv3.CheckResponse {
	if ok == nil {
		ok = &authv3.OkHttpResponse{}
	}
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok},
	}
}

func deny(code typev3.StatusCode, body string, headers ...*corev3.HeaderValueOption) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: code}, Headers: headers, Body: body,
		}},
	}
}

func set(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// An upstream is the service behind Envoy. It keeps what reached it.
type upstream struct {
	address string
	mu      sync.Mutex
	seen    []*http.Request
	bodies  []string
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	listener := listen(t)
	u := &upstream{address: listener.Addr().String()}
	var both http.Protocols
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: &both, Handler: http.HandlerFunc(u.serve)}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return u
}

func (u *upstream) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	u.mu.Lock()
	u.seen, u.bodies = append(u.seen, r), append(u.bodies, string(body))
	u.mu.Unlock()
	if r.Header.Get("Content-Type") == "application/grpc" {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "grpc-status")
		_, _ = w.Write([]byte{0, 0, 0, 0, 0}) // one empty message
		w.Header().Set("grpc-status", "0")
		return
	}
	_, _ = fmt.Fprintf(w, "%s %s", r.Proto, r.RequestURI)
}

func (u *upstream) taken() []*http.Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen := u.seen
	u.seen, u.bodies = nil, nil
	return seen
}

func (u *upstream) one(t *testing.T) *http.Request {
	t.Helper()
	seen := u.taken()
	if len(seen) != 1 {
		t.Fatalf("the upstream saw %d requests, want 1", len(seen))
	}
	return seen[0]
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// A system is an Envoy with envoy.yaml, an authorizer and an upstream.
type system struct {
	envoy   *envoytest.Process
	address string
	authz   *authorizer
	up      *upstream
	log     *logBuffer
}

func newSystem(t *testing.T) *system {
	t.Helper()
	return newSystemWith(t, bootstrap(t))
}

func newSystemWith(t *testing.T, text []byte) *system {
	t.Helper()
	s := &system{authz: newAuthorizer(t), up: newUpstream(t), log: &logBuffer{}}
	s.envoy = envoytest.Run(t, envoytest.Config{
		Bootstrap: text,
		Addresses: map[string]string{"0.0.0.0:10000": "127.0.0.1:0", "127.0.0.1:9191": s.authz.address, "127.0.0.1:8080": s.up.address},
		Stdout:    s.log,
	})
	s.address = s.envoy.Listener("http")
	return s
}

// logBuffer keeps the access log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// lines returns the complete lines so far.
func (b *logBuffer) lines() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := bytes.SplitAfter(bytes.Clone(b.text.Bytes()), []byte("\n"))
	return lines[:len(lines)-1]
}

// raw sends these bytes on a connection of their own and returns the answer. It is how a client sends what
// net/http would not.
func (s *system) raw(t *testing.T, request string) (*http.Response, string) {
	t.Helper()
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	if err := connection.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(connection, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// get is a GET of that request target with these header lines.
func get(target string, lines ...string) string {
	request := "GET " + target + " HTTP/1.1\r\nHost: api.example.com\r\n"
	for _, line := range lines {
		request += line + "\r\n"
	}
	return request + "\r\n"
}

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
