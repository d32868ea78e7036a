package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/kasbah-authz/kasbah/demo"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/server"
)

// benchChild says what a child process of the benchmarks is to be: "nothing", or the path of a configuration.
const benchChild = "KASBAH_BENCH_CHILD"

// serveBench runs a child process until its standard input ends. It prints its address, and for every line of its input the
// CPU time that it has used, in nanoseconds.
func serveBench(what string) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		defer stop()
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			var usage syscall.Rusage
			if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
				return
			}
			fmt.Println(usage.Utime.Nano() + usage.Stime.Nano())
		}
	}()
	if what == "nothing" {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		fmt.Println(listener.Addr())
		return demo.ServeNothing(ctx, listener)
	}
	debug.SetGCPercent(400) // as kasbah serve does
	ballast := make([]byte, 8<<20)
	defer runtime.KeepAlive(ballast)
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

// BenchmarkCheck is a check in process, from bytes to bytes, of a token that is in the cache: with an enforcer of ten rules,
// and without one, which is what the rest of it costs.
func BenchmarkCheck(b *testing.B) {
	for _, c := range []struct{ name, authorize string }{{"enforcer", "authorize: orders"}, {"any_principal", "any_principal: true"}} {
		b.Run(c.name, func(b *testing.B) {
			path, in := benchFiles(b, c.authorize)
			check, err := server.NewCheck(path)
			if err != nil {
				b.Fatal(err)
			}
			wire, err := proto.Marshal(in)
			if err != nil {
				b.Fatal(err)
			}
			var answer authv3.CheckResponse
			if err := proto.Unmarshal(check(b.Context(), wire), &answer); err != nil || answer.GetOkResponse() == nil {
				b.Fatalf("answered %v, %v", &answer, err)
			}
			b.ReportAllocs()
			for b.Loop() {
				check(b.Context(), slices.Clone(wire)) // as the codec copies it
			}
		})
	}
}

// benched is a server of BenchmarkGRPC, a process of its own, so that its CPU time can be told from the client's.
type benched struct {
	name   string
	in     *authv3.CheckRequest
	client authv3.AuthorizationClient
	stdin  io.Writer
	stdout *bufio.Reader
	cpu    time.Duration
	busy   time.Duration
}

// BenchmarkGRPC is a check over gRPC on loopback, with 32 callers on one connection, beside a server that does nothing. The
// servers take turns, so that what else the machine does falls on all alike.
func BenchmarkGRPC(b *testing.B) {
	enforcer, in := benchFiles(b, "authorize: orders")
	anyone, inAnyone := benchFiles(b, "any_principal: true")
	servers := []*benched{
		startBenched(b, "nothing", "nothing", in), startBenched(b, "kasbah", enforcer, in), startBenched(b, "any_principal", anyone, inAnyone),
	}
	const turn = 4000
	for _, s := range servers {
		s.call(b, turn) // fills caches and grows stacks
	}
	b.ResetTimer()
	for left := b.N; left > 0; left -= turn {
		for _, s := range servers {
			used, started := s.used(b), time.Now()
			s.call(b, min(left, turn))
			s.busy += time.Since(started)
			s.cpu += s.used(b) - used
		}
	}
	b.ReportMetric(0, "ns/op") // a check by each server, which says nothing
	for _, s := range servers {
		b.ReportMetric(float64(s.cpu.Nanoseconds())/1000/float64(b.N), s.name+"-cpu-µs/check")
		b.ReportMetric(float64(b.N)/s.busy.Seconds(), s.name+"-checks/s")
		if s != servers[0] {
			b.ReportMetric(float64(s.cpu)/float64(servers[0].cpu), s.name+"-cpu-of-nothing")
		}
	}
}

func startBenched(b *testing.B, name, what string, in *authv3.CheckRequest) *benched {
	b.Helper()
	child := exec.Command(os.Args[0]) // it ends with its standard input; the context ends before the benchmark is cleaned up
	child.Env = append(os.Environ(), benchChild+"="+what)
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
	s := &benched{name: name, in: in, stdin: stdin, stdout: bufio.NewReader(stdout)}
	address, err := s.stdout.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	conn, err := grpc.NewClient(strings.TrimSpace(address), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_, _ = conn.Close(), stdin.Close()
		if err := child.Wait(); err != nil {
			b.Errorf("%s: %v", name, err)
		}
	})
	s.client = authv3.NewAuthorizationClient(conn)
	if answer, err := s.client.Check(b.Context(), in, grpc.WaitForReady(true)); err != nil || answer.GetOkResponse() == nil {
		b.Fatalf("answered %v, %v", answer, err)
	}
	return s
}

// used is the CPU time that the server has used.
func (s *benched) used(b *testing.B) time.Duration {
	b.Helper()
	if _, err := io.WriteString(s.stdin, "\n"); err != nil {
		b.Fatal(err)
	}
	line, err := s.stdout.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	used, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(used)
}

// call has the server answer so many checks.
func (s *benched) call(b *testing.B, count int) {
	b.Helper()
	var callers sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(count))
	for range 32 {
		callers.Go(func() {
			for left.Add(-1) >= 0 {
				// Envoy names a deadline too, for which grpc-go sets a timer.
				ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
				_, err := s.client.Check(ctx, s.in)
				cancel()
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
}
