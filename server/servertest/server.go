package servertest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kasbah-authz/kasbah/server"
)

// ConfigFile is the name of the configuration among the files of a test.
const ConfigFile = "kasbah.yaml"

// Options say how a Server is started. The zero Options has no files, and so no configuration.
type Options struct {
	// Files are the configuration ([ConfigFile]) and all that it names, by path below the folder.
	Files map[string]string
	// Folder is where they are written; empty: a folder that goes away with the test.
	Folder string
	// Listen is the address of the gRPC service; empty: a free port of the loopback interface.
	Listen string
	// Keys fetches key sets; nil: a client that reaches nobody.
	Keys *http.Client
	// TLS is what clients speak; nil: plain text.
	TLS *tls.Config
}

// Server is a Kasbah that runs in this process.
type Server struct {
	*server.Server
	// Folder has the files.
	Folder string
	// Log has all that was logged.
	Log *Log

	tb      testing.TB
	options Options
	reload  chan struct{}
	cancel  context.CancelFunc
	ended   chan struct{} // closed when Run has returned
	err     error         // what it returned, to be read after ended
	client  func() authv3.AuthorizationClient
}

// New makes a Server that does not run yet.
func New(tb testing.TB, options Options) (*Server, error) {
	tb.Helper()
	if options.Folder == "" {
		options.Folder = tb.TempDir()
	}
	for name, text := range options.Files {
		Write(tb, filepath.Join(options.Folder, name), text)
	}
	if options.Listen == "" {
		options.Listen = "127.0.0.1:0"
	}
	if options.Keys == nil {
		options.Keys = &http.Client{Transport: unreachable{}}
	}
	s := &Server{Folder: options.Folder, Log: &Log{}, tb: tb, options: options, reload: make(chan struct{}), ended: make(chan struct{})}
	var err error
	s.Server, err = server.New(server.Config{
		Path: filepath.Join(s.Folder, ConfigFile), Listen: options.Listen, Admin: "127.0.0.1:0",
		Client: options.Keys, Now: time.Now, Reload: s.reload,
		Log: func(level slog.Leveler, text bool) slog.Handler {
			if text {
				return slog.NewTextHandler(s.Log, &slog.HandlerOptions{Level: level})
			}
			return slog.NewJSONHandler(s.Log, &slog.HandlerOptions{Level: level})
		},
	})
	if err != nil {
		return nil, err
	}
	s.client = sync.OnceValue(func() authv3.AuthorizationClient { return authv3.NewAuthorizationClient(s.Dial(options.TLS)) })
	return s, nil
}

// Start makes a Server and runs it. It is stopped before the test ends, and an error fails the test.
func Start(tb testing.TB, options Options) *Server {
	tb.Helper()
	s, err := New(tb, options)
	if err != nil {
		tb.Fatalf("making the server: %v", err)
	}
	s.Run()
	s.AwaitReady()
	return s
}

// Run runs the Server in a goroutine of its own.
func (s *Server) Run() {
	// Not the test's own context, which ends before the clean-ups: the end of a server is a step of a test.
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.tb.Context()))
	s.cancel = cancel
	go func() {
		defer close(s.ended)
		s.err = s.Server.Run(ctx)
	}()
	s.tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			s.tb.Errorf("running the server: %v", err)
		}
	})
}

// End asks the Server to end and does not wait.
func (s *Server) End() { s.cancel() }

// Ended is closed when Run has returned.
func (s *Server) Ended() <-chan struct{} { return s.ended }

// Stop ends the Server and returns what its Run returned. It may be called again.
func (s *Server) Stop() error {
	s.cancel()
	select {
	case <-s.ended:
		return s.err
	case <-time.After(patience):
		return errors.New("the server does not end")
	}
}

// Reload asks for a reload, as a signal would, and returns when the request was taken.
func (s *Server) Reload() {
	select {
	case s.reload <- struct{}{}:
	case <-s.ended:
	}
}

// Dial returns a new connection to the gRPC service; nil is plain text. It is closed when the test ends.
func (s *Server) Dial(config *tls.Config, options ...grpc.DialOption) *grpc.ClientConn {
	s.tb.Helper()
	creds := insecure.NewCredentials()
	if config != nil {
		creds = credentials.NewTLS(config)
	}
	target := "passthrough:///" + s.Addr().String()
	if s.Addr().Network() == "unix" {
		target = "unix://" + s.Addr().String()
	}
	conn, err := grpc.NewClient(target, append([]grpc.DialOption{grpc.WithTransportCredentials(creds)}, options...)...)
	if err != nil {
		s.tb.Fatalf("dialing the server: %v", err)
	}
	s.tb.Cleanup(func() { _ = conn.Close() }) // a test may have closed it
	return conn
}

// Client is a client of the Authorization service on a connection that the whole test shares.
func (s *Server) Client() authv3.AuthorizationClient { return s.client() }

// Check sends one check and fails the test on an RPC error, which no check may ever be answered with.
func (s *Server) Check(check *authv3.CheckRequest) *authv3.CheckResponse {
	s.tb.Helper()
	response, err := s.Client().Check(s.tb.Context(), check)
	if err != nil {
		s.tb.Fatalf("an RPC error in place of an answer: %v", err)
	}
	return response
}

// Status sends one check and returns the HTTP status of the answer, as [Status] reads it.
func (s *Server) Status(check *authv3.CheckRequest) int {
	s.tb.Helper()
	return Status(s.Check(check))
}

// Admin gets a page of the admin service.
func (s *Server) Admin(path string) (status int, body string) {
	s.tb.Helper()
	request, err := http.NewRequestWithContext(s.tb.Context(), http.MethodGet, "http://"+s.AdminAddr().String()+path, http.NoBody)
	if err != nil {
		s.tb.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.tb.Fatalf("reading %s: %v", path, err)
	}
	return response.StatusCode, string(text)
}

// Metrics returns every series of /metrics, by name and labels as they are written there.
func (s *Server) Metrics() map[string]float64 {
	s.tb.Helper()
	status, body := s.Admin("/metrics")
	if status != http.StatusOK {
		s.tb.Fatalf("/metrics: %d %s", status, body)
	}
	series := map[string]float64{}
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		cut := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[cut+1:], 64)
		if err != nil {
			s.tb.Fatalf("/metrics: %q: %v", line, err)
		}
		series[line[:cut]] = value
	}
	if len(series) == 0 {
		s.tb.Fatal("/metrics has no series")
	}
	return series
}

// AwaitReady waits until the server says that it is ready.
func (s *Server) AwaitReady() {
	s.tb.Helper()
	Await(s.tb, "the server to be ready", func() bool {
		select {
		case <-s.ended:
			s.tb.Fatalf("the server ended: %v", s.err)
		default:
		}
		status, _ := s.Admin("/readyz")
		return status == http.StatusOK
	})
}

// AwaitGeneration waits until at least that many configurations were accepted, and returns how long that took.
func (s *Server) AwaitGeneration(generation uint64) time.Duration {
	s.tb.Helper()
	return Await(s.tb, "generation "+strconv.FormatUint(generation, 10), func() bool { return s.Generation() >= generation })
}

// AwaitRefused waits until at least that many configurations were refused.
func (s *Server) AwaitRefused(count uint64) time.Duration {
	s.tb.Helper()
	return Await(s.tb, strconv.FormatUint(count, 10)+" refused loads", func() bool { return s.Refused() >= count })
}

// patience bounds every wait. It is far beyond what anything takes, so that only what never comes runs into it.
const patience = 60 * time.Second

// Await returns when the condition holds, and how long that took; it fails the test when it never does.
func Await(tb testing.TB, what string, condition func() bool) time.Duration {
	tb.Helper()
	started := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Since(started) > patience {
			tb.Fatalf("waited %s for %s", patience, what)
		}
		<-tick.C
	}
	return time.Since(started)
}

// unreachable is a network with nobody in it.
type unreachable struct{}

func (unreachable) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Err: errors.New("this test has no network")}
}
