package server_test

import (
	"context"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/kasbah-authz/kasbah/envoy"
	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/server"
	"github.com/kasbah-authz/kasbah/testdata"
)

const authorization = "envoy.service.auth.v3.Authorization"

// TestDrain: after the end is asked for, health and readiness say no, while checks are still answered.
func TestDrain(t *testing.T) {
	f := start(t, map[string]string{"kasbah.yaml": strings.Replace(configText, "drain: 200ms", "drain: 2s", 1)})
	conn := f.dial()
	for _, service := range []string{"", authorization} {
		await(t, "serving "+service, func() bool { return f.serving(conn, service) })
	}
	if code, _ := f.admin("/readyz"); code != http.StatusOK {
		t.Errorf("/readyz is %d while serving", code)
	}
	f.stop()
	await(t, "not serving", func() bool { return !f.serving(conn, authorization) && !f.serving(conn, "") })
	if code, body := f.admin("/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz is %d while draining: %s", code, body)
	}
	if code, _ := f.admin("/livez"); code != http.StatusOK {
		t.Errorf("/livez is %d while draining", code)
	}
	for range 10 {
		if got := ask(t, conn, get("/orders/7", f.token("alice"))); got.GetOkResponse() == nil {
			t.Errorf("while draining, alice gets %v", got)
		}
	}
	if err := f.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := net.DialTimeout("tcp", f.server.Addr().String(), time.Second); err == nil {
		t.Error("it still listens")
	}
}

// TestHealthWaitsForKeys: not serving until the issuer was asked once, well or not.
func TestHealthWaitsForKeys(t *testing.T) {
	asked, release := make(chan struct{}, 8), make(chan struct{})
	issuer := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-release
		w.WriteHeader(http.StatusInternalServerError)
	})}
	listener := listen(t)
	go func() { _ = issuer.Serve(listener) }()
	t.Cleanup(func() { _ = issuer.Close() })
	f := start(t, map[string]string{"kasbah.yaml": strings.Replace(configText, "jwks: {file: jwks.json}", "jwks: {url: 'http://"+listener.Addr().String()+"/jwks.json'}}\n  client: {private_addresses: true", 1)})
	conn := f.dial()
	<-asked
	if code, _ := f.admin("/readyz"); f.serving(conn, authorization) || code != http.StatusServiceUnavailable {
		t.Errorf("serving before the keys were asked for; /readyz is %d", code)
	}
	close(release)
	await(t, "serving", func() bool { return f.serving(conn, authorization) })
	if got := ask(t, conn, get("/orders/7", f.token("alice"))).GetDeniedResponse(); got.GetStatus().GetCode() != 503 {
		t.Errorf("without keys, a token gets %v", got)
	}
	if got := ask(t, conn, get("/healthz", "")); got.GetOkResponse() == nil {
		t.Errorf("without keys, a public route gets %v", got)
	}
}

// TestNothingElseListens: the port knows Authorization, health, and reflection where it is switched on.
func TestNothingElseListens(t *testing.T) {
	for _, on := range []bool{false, true} {
		config := configText
		if on {
			config = strings.Replace(config, "server: {", "server: {reflection: true, ", 1)
		}
		conn := start(t, map[string]string{"kasbah.yaml": config}).dial()
		for _, method := range []string{"/x.Y/Z", "/" + authorization + "/Other", "/envoy.service.auth.v2.Authorization/Check", "//" + authorization + "/Check", "/grpc.channelz.v1.Channelz/GetServers"} {
			err := conn.Invoke(t.Context(), method, &emptypb.Empty{}, &emptypb.Empty{})
			if grpcstatus.Code(err) != codes.Unimplemented {
				t.Errorf("%s: %v, want Unimplemented", method, err)
			}
		}
		stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
		answer, err := stream.Recv()
		if (err == nil) != on {
			t.Errorf("reflection %t: %v, %v", on, answer, err)
		}
		_ = stream.CloseSend()
	}
}

// TestUnixSocket: a socket that a dead process left is replaced, one that somebody answers on is not.
func TestUnixSocket(t *testing.T) {
	f := newFixture(t)
	for name, text := range f.files(nil) {
		f.write(name, text)
	}
	socket := filepath.Join(f.folder, "s.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	cfg := f.config()
	cfg.Listen = "unix://" + socket
	f.run(cfg)
	if got := ask(t, f.dial(), get("/orders/7", f.token("alice"))); got.GetOkResponse() == nil {
		t.Errorf("over the socket, alice gets %v", got)
	}
	if second, err := server.New(cfg); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second server on the socket: %v, %v", second, err)
	}
	if err := os.WriteFile(filepath.Join(f.folder, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Listen = "unix://" + filepath.Join(f.folder, "file")
	if second, err := server.New(cfg); err == nil {
		t.Errorf("a server in place of a file: %v", second)
	}
}

// TestNewRefuses: an address that is taken, and a configuration that does not load, with all its findings.
func TestNewRefuses(t *testing.T) {
	taken := listen(t)
	defer taken.Close()
	f := newFixture(t)
	for name, text := range f.files(nil) {
		f.write(name, text)
	}
	for name, change := range map[string]func(*server.Config){
		"listen": func(c *server.Config) { c.Listen = taken.Addr().String() },
		"admin":  func(c *server.Config) { c.Admin = taken.Addr().String() },
		"path":   func(c *server.Config) { c.Path = "" },
		"now":    func(c *server.Config) { c.Now = nil },
	} {
		cfg := f.config()
		change(&cfg)
		if s, err := server.New(cfg); err == nil {
			t.Errorf("%s: New = %v, want an error", name, s)
		}
	}
	f.write("policy.csv", "p, reader\nq, x\n")
	_, err := server.New(f.config())
	findings, ok := err.(policy.Findings) //nolint:errorlint // the type is what is tested
	if !ok || len(findings) < 2 {
		t.Fatalf("New: %v", err)
	}
	linted := server.Lint(t.Context(), server.Config{Path: f.config().Path, Client: &http.Client{}, Now: time.Now})
	if linted.Error() != findings.Error() {
		t.Errorf("lint finds\n%v\nand New\n%v", linted, findings)
	}
}

// TestConnectionsAge: connections are closed in peace, and no check is lost by it.
func TestConnectionsAge(t *testing.T) {
	f := start(t, map[string]string{"kasbah.yaml": strings.Replace(configText, "server: {", "server: {connection: {max_age: 1s, max_age_grace: 1s}, ", 1)})
	conn := f.dial()
	check := get("/orders/7", f.token("alice"))
	ask(t, conn, check)
	left := false
	watch, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() { left = conn.WaitForStateChange(watch, conn.GetState()); cancel() }()
	for asked := 0; watch.Err() == nil; asked++ {
		if got := ask(t, conn, check); got.GetOkResponse() == nil {
			t.Fatalf("check %d: %v", asked, got)
		}
	}
	if !left {
		t.Error("the connection never aged")
	}
}

// TestTwoServersInOneProcess share nothing.
func TestTwoServersInOneProcess(t *testing.T) {
	a, b := start(t, nil), start(t, map[string]string{"policy.csv": withoutAlice})
	if got := ask(t, a.dial(), get("/orders/7", a.token("alice"))); got.GetOkResponse() == nil {
		t.Errorf("the first: %v", got)
	}
	if got := ask(t, b.dial(), get("/orders/7", b.token("alice"))); got.GetDeniedResponse() == nil {
		t.Errorf("the second: %v", got)
	}
	if err := a.end(); err != nil {
		t.Error(err)
	}
	if got := ask(t, b.dial(), get("/healthz", "")); got.GetOkResponse() == nil {
		t.Errorf("the second, after the first ended: %v", got)
	}
}

// TestSharedConfigurations: the demo's, and the one that the manifests mount, load without a finding.
func TestSharedConfigurations(t *testing.T) {
	folder := t.TempDir()
	if err := os.CopyFS(folder, testdata.Files()); err != nil {
		t.Fatal(err)
	}
	if findings := server.Lint(t.Context(), server.Config{Path: filepath.Join(folder, "demo/kasbah.yaml"), Client: &http.Client{}, Now: time.Now}); len(findings) > 0 {
		t.Errorf("the demo: %v", findings)
	}
	manifest, err := fs.ReadFile(envoy.Files(), "istio/config-map.yaml")
	if err != nil {
		t.Fatal(err)
	}
	mounted, err := envoytest.ConfigMapData(manifest)
	if err != nil {
		t.Fatal(err)
	}
	folder = t.TempDir()
	for name, text := range mounted {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if findings := server.Lint(t.Context(), server.Config{Path: filepath.Join(folder, "kasbah.yaml"), Client: &http.Client{}, Now: time.Now}); len(findings) > 0 {
		t.Errorf("the ConfigMap for Istio: %v", findings)
	}
}

// TestLargeMessages: one that is far larger than the bodies that are looked at is decided like any other. Only what no
// Envoy sends is refused by the transport, and the next one is answered.
func TestLargeMessages(t *testing.T) {
	f := start(t, nil)
	conn := f.dial()
	large := get("/orders/7", f.token("alice"))
	for size, want := range map[int]codes.Code{1 << 20: codes.OK, 4 << 20: codes.OK, 60 << 20: codes.OK, 66 << 20: codes.ResourceExhausted} {
		large.Attributes.Request.Http.RawBody = make([]byte, size)
		answer, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), large, grpc.MaxCallSendMsgSize(80<<20))
		if got := grpcstatus.Code(err); got != want {
			t.Errorf("%d MiB: %s, want %s: %v", size>>20, got, want, err)
		}
		if err == nil && answer.GetOkResponse() == nil {
			t.Errorf("%d MiB: denied: %v", size>>20, answer)
		}
	}
	if got := ask(t, conn, get("/orders/7", f.token("alice"))); got.GetOkResponse() == nil {
		t.Errorf("the next one: %v", got)
	}
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "unknown"}); grpcstatus.Code(err) != codes.NotFound {
		t.Errorf("health of an unknown service: %v", err)
	}
}
