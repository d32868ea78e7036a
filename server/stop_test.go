package server_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/server"
	"github.com/kasbah-authz/kasbah/server/servertest"
)

// TestRunThatIsOverAtOnce: a context that has ended already is an end that was asked for.
func TestRunThatIsOverAtOnce(t *testing.T) {
	files := servertest.Orders(testIssuer(t))
	folder := t.TempDir()
	for name, text := range files {
		servertest.Write(t, filepath.Join(folder, name), text)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 30 {
		s, err := server.New(server.Config{
			Path: filepath.Join(folder, servertest.ConfigFile), Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Client: &http.Client{}, Now: time.Now,
			Log: func(slog.Leveler, bool) slog.Handler { return slog.DiscardHandler },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(ended); err != nil {
			t.Fatalf("Run: %v", err)
		}
	}
}

// startWaiting runs a server whose one stage waits for release, and has sent it that many checks.
func startWaiting(t *testing.T, settings string, release <-chan struct{}, checks int) (*servertest.Server, <-chan error) {
	t.Helper()
	s := startOrders(t, func(files map[string]string) {
		files[servertest.ConfigFile] = replaceOnce(t, files[servertest.ConfigFile], "  shutdown_timeout: 5s\n", settings)
	})
	started := make(chan struct{}, checks)
	if err := server.Inject(s.Server, everything(waits("slow", func(ctx context.Context) (policy.Outcome, error) {
		started <- struct{}{}
		select {
		case <-release:
			return permitted, nil
		case <-ctx.Done():
			return policy.Outcome{}, ctx.Err()
		}
	}))); err != nil {
		t.Fatal(err)
	}
	answers := make(chan error, checks)
	for range checks {
		go func() {
			response, err := s.Client().Check(t.Context(), servertest.NewCheck("GET", "/a"))
			if err == nil && servertest.Status(response) != 200 {
				err = errors.New("denied: " + response.String())
			}
			answers <- err
		}()
	}
	for range checks {
		<-started
	}
	return s, answers
}

// TestCallsInFlightFinish: the end waits for the calls that were there.
func TestCallsInFlightFinish(t *testing.T) {
	release := make(chan struct{})
	s, answers := startWaiting(t, "  shutdown_timeout: 60s\n  decision_timeout: 60s\n", release, 20)
	s.End()
	servertest.Await(t, "the listener to close", func() bool {
		conn := s.Dial(nil)
		defer conn.Close()
		_, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), servertest.NewCheck("GET", "//"))
		return err != nil
	})
	select {
	case <-s.Ended():
		t.Fatal("Run returned while calls were in flight")
	case err := <-answers:
		t.Fatalf("a call ended before its verdict: %v", err)
	default:
	}
	close(release)
	for range 20 {
		if err := <-answers; err != nil {
			t.Errorf("a call in flight: %v", err)
		}
	}
	if err := s.Stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestStuckCallsAreCut: they hold up the end for shutdown_timeout and no longer.
func TestStuckCallsAreCut(t *testing.T) {
	s, answers := startWaiting(t, "  shutdown_timeout: 100ms\n  decision_timeout: 60s\n", make(chan struct{}), 3)
	began := time.Now()
	if err := s.Stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took < 100*time.Millisecond || took > 30*time.Second {
		t.Errorf("the end took %s", took)
	}
	for range 3 {
		if err := <-answers; err == nil {
			t.Error("a stuck call was allowed")
		}
	}
}

// TestDrainLosesNothing: clients that follow the health of the service lose no call to its end.
func TestDrainLosesNothing(t *testing.T) {
	s := startOrders(t, func(files map[string]string) {
		files[servertest.ConfigFile] = replaceOnce(t, files[servertest.ConfigFile], "drain: 0s", "drain: 1s")
	})
	conn := s.Dial(nil)
	watching, stopWatching := context.WithCancel(t.Context())
	defer stopWatching()
	watch, err := healthpb.NewHealthClient(conn).Watch(watching, &healthpb.HealthCheckRequest{Service: "envoy.service.auth.v3.Authorization"})
	if err != nil {
		t.Fatal(err)
	}
	var healthy atomic.Bool
	if first, err := watch.Recv(); err != nil || first.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("health is %v, %v", first, err)
	}
	healthy.Store(true)
	var clients sync.WaitGroup
	var asked, failed atomic.Int64
	check := servertest.NewCheck("GET", "/orders/7", servertest.Bearer(testIssuer(t).Token(alice)))
	for range 4 {
		clients.Go(func() {
			for healthy.Load() {
				response, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), check)
				asked.Add(1)
				if err != nil || servertest.Status(response) != 200 {
					failed.Add(1)
				}
			}
		})
	}
	servertest.Await(t, "some checks", func() bool { return asked.Load() > 100 })
	s.End()
	next, err := watch.Recv()
	if err != nil || next.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health after the end was asked for: %v, %v", next, err)
	}
	stopWatching() // a watch that is open is a call in flight
	healthy.Store(false)
	clients.Wait()
	if err := s.Stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	t.Logf("%d checks, %d failed", asked.Load(), failed.Load())
	if failed.Load() != 0 {
		t.Errorf("%d of %d checks failed", failed.Load(), asked.Load())
	}
}

// TestAgeingLosesNothing: connections are closed in peace, again and again, and no check notices.
func TestAgeingLosesNothing(t *testing.T) {
	s := startOrders(t, func(files map[string]string) {
		files[servertest.ConfigFile] = replaceOnce(t, files[servertest.ConfigFile], "server:\n", "server:\n  connection: {max_age: 1s, max_age_grace: 1s}\n")
	})
	var connections atomic.Int64
	var clients sync.WaitGroup
	check := servertest.NewCheck("GET", "/orders/7", servertest.Bearer(testIssuer(t).Token(alice)))
	for range 3 {
		conn := s.Dial(nil, grpc.WithStatsHandler(connectionCounter{count: &connections}))
		clients.Go(func() {
			for connections.Load() < 6 {
				response, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), check)
				if err != nil || servertest.Status(response) != 200 {
					t.Errorf("%v, %v", response, err)
					return
				}
			}
		})
	}
	clients.Wait()
	t.Logf("%d connections for 3 clients", connections.Load())
}

// TestLiveSocketWithAFullQueue: a process that is only slow to take connections still has its socket.
func TestLiveSocketWithAFullQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for range 100 { // until the queue is full
		client, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(client)
		if err = syscall.Connect(client, &syscall.SockaddrUnix{Name: path}); err != nil {
			break
		}
	}
	s, err := servertest.New(t, servertest.Options{Files: servertest.Orders(testIssuer(t)), Listen: "unix://" + path})
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("New: server %t, %v; want it to leave the socket alone", s != nil, err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket is gone: %v", err)
	}
}
