package server_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/server"
)

// benchChild says what a child process of the benchmarks is to be: "nothing", or the path of a configuration.
const benchChild = "KASBAH_BENCH_CHILD"

// nothing is the reference: a server with default settings that allows everything.
type nothing struct {
	authv3.UnimplementedAuthorizationServer
}

func (nothing) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}}, nil
}

// serveBench runs a child process until its standard input ends. It prints its address.
func serveBench(what string) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { _, _ = bufio.NewReader(os.Stdin).ReadByte(); stop() }()
	if what == "nothing" {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s := grpc.NewServer()
		authv3.RegisterAuthorizationServer(s, nothing{})
		defer context.AfterFunc(ctx, s.Stop)()
		fmt.Println(listener.Addr())
		return s.Serve(listener)
	}
	debug.SetGCPercent(400) // as kasbah serve does
	s, err := server.New(server.Config{
		Path: what, Listen: "127.0.0.1:0", Admin: "off", Client: &http.Client{}, Now: time.Now,
		Log: func(slog.Leveler, bool) slog.Handler { return slog.DiscardHandler },
	})
	if err != nil {
		return err
	}
	fmt.Println(s.Addr())
	return s.Run(ctx)
}

// benchFiles writes a configuration with ten rules, and returns its path and a check that it allows.
func benchFiles(b *testing.B, authorize string) (string, *authv3.CheckRequest) {
	b.Helper()
	issuer, err := keystest.New("http://issuer:9193")
	if err != nil {
		b.Fatal(err)
	}
	rules := "p, reader, /orders/:id, GET\ng, alice, reader\n"
	for i := range 9 {
		rules += fmt.Sprintf("p, role%d, /things%d/:id, GET\n", i, i)
	}
	config := strings.Replace(configText, "decisions: all", "decisions: none", 1)
	config = strings.Replace(config, "server: {drain: 200ms", "server: {drain: 0s", 1)
	config = strings.Replace(config, "headers: {x-user: principal.id}", "headers: {x-user: principal.id, x-roles: principal.roles}", 1)
	config = strings.Replace(config, "authorize: orders", authorize, 1)
	folder := b.TempDir()
	for name, text := range map[string]string{
		"kasbah.yaml": config, "model.conf": modelText, "policy.csv": rules, "jwks.json": string(issuer.JWKS()),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	in := get("/orders/7", issuer.Token(keystest.Claims{Subject: "alice", Roles: []string{"a", "b"}}))
	http := in.Attributes.Request.Http
	for _, line := range [][2]string{ // what Envoy 1.40 sends for a curl
		{":authority", "api.example.com"},
		{":path", "/orders/7"},
		{":method", "GET"},
		{":scheme", "https"},
		{"user-agent", "curl/8"},
		{"x-forwarded-for", "127.0.0.1"},
		{"x-forwarded-proto", "https"},
		{"x-request-id", "72f36819-dfde-49ca-aa67-648f1b17f8a5"},
		{"x-envoy-auth-partial-body", "false"},
	} {
		http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: line[0], RawValue: []byte(line[1])})
	}
	return filepath.Join(folder, "kasbah.yaml"), in
}

// BenchmarkCheck is a check in process, of a token that is in the cache: with Casbin and ten rules, and without
// Casbin, which is what the rest of it costs.
func BenchmarkCheck(b *testing.B) {
	for _, c := range []struct{ name, authorize string }{{"casbin", "authorize: orders"}, {"any_principal", "any_principal: true"}} {
		b.Run(c.name, func(b *testing.B) {
			path, in := benchFiles(b, c.authorize)
			check, err := server.NewCheck(path)
			if err != nil {
				b.Fatal(err)
			}
			if answer := check(b.Context(), in); answer.GetOkResponse() == nil {
				b.Fatalf("answered %v", answer)
			}
			b.ReportAllocs()
			for b.Loop() {
				check(b.Context(), in)
			}
		})
	}
}

// BenchmarkGRPC is a check over gRPC on loopback, beside a server that does nothing. Each server is a process of
// its own, so that its CPU time can be told from the client's.
func BenchmarkGRPC(b *testing.B) {
	casbin, in := benchFiles(b, "authorize: orders")
	anyone, inAnyone := benchFiles(b, "any_principal: true")
	for _, c := range []struct {
		name, what string
		in         *authv3.CheckRequest
	}{{"nothing", "nothing", in}, {"kasbah", casbin, in}, {"kasbah-any_principal", anyone, inAnyone}} {
		b.Run(c.name, func(b *testing.B) {
			child := exec.CommandContext(b.Context(), os.Args[0])
			child.Env = append(os.Environ(), benchChild+"="+c.what)
			child.Stderr = os.Stderr
			stdin, err := child.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			stdout, err := child.StdoutPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := child.Start(); err != nil {
				b.Fatal(err)
			}
			address, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil {
				b.Fatal(err)
			}
			callInParallel(b, strings.TrimSpace(address), c.in)
			_ = stdin.Close()
			if err := child.Wait(); err != nil && c.what != "nothing" {
				b.Error(err)
			}
			usage := child.ProcessState.SysUsage().(*syscall.Rusage)
			cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
			b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "server-cpu-µs/op")
		})
	}
}

func callInParallel(b *testing.B, address string, in *authv3.CheckRequest) {
	b.Helper()
	b.SetParallelism(16) // 32 callers on two cores
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := authv3.NewAuthorizationClient(conn)
	if answer, err := client.Check(b.Context(), in, grpc.WaitForReady(true)); err != nil || answer.GetOkResponse() == nil {
		b.Fatalf("answered %v, %v", answer, err)
	}
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := client.Check(b.Context(), in); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
}
