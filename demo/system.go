// Package demo runs everything on one machine: a development issuer, an upstream that says what it saw, Kasbah
// with the configuration of testdata/demo, and a real Envoy in front, with the same envoy.yaml that an operator
// would copy.
//
// [Start] starts a [System]; [System.Try] sends it requests whose verdicts are known and reports each.
// Nothing here is for production: the issuer gives a token to whoever asks.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kasbah-authz/kasbah/envoy"
	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/server"
	"github.com/kasbah-authz/kasbah/testdata"
)

const (
	// IssuerURL is the identifier of the development issuer, in testdata/demo/kasbah.yaml too. Only Kasbah resolves
	// the name; in docker-compose it is a container's.
	IssuerURL = "http://issuer:9193"

	issuerHost = "issuer:9193"
)

// Options say how a System is to run. The zero Options run it on free ports and log nothing.
type Options struct {
	// Folder has kasbah.yaml and the files that it names. They are reloaded when they change.
	Folder string
	// Envoy, Kasbah, Admin, Issuer and Upstream are addresses to listen on; empty is a free port of 127.0.0.1.
	Envoy, Kasbah, Admin, Issuer, Upstream string
	// Log gets what Kasbah and Envoy log; nil for nobody.
	Log io.Writer
	// Progress is told what is being done, one line each; nil for nobody.
	Progress io.Writer
}

// System is a running demo.
type System struct {
	issuer   *keystest.Issuer
	envoy    *envoytest.Process
	kasbah   *server.Server
	issuerAt string
	folder   string

	stop    context.CancelFunc
	running []<-chan error // of the parts, in the order in which they were started
	stopped sync.Once
	fault   error // what went wrong, read after stopped
}

// CopyFiles writes the demo's configuration, model and policy into a folder, and replaces none that is there.
func CopyFiles(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"kasbah.yaml", "model.conf", "policy.csv"} {
		path := filepath.Join(folder, name)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		data, err := testdata.Demo(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Start starts everything and returns when Envoy and Kasbah are ready.
func Start(ctx context.Context, options Options) (_ *System, err error) {
	background, stop := context.WithCancel(context.Background())
	s := &System{stop: stop, folder: options.Folder}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	if s.issuer, err = keystest.New(IssuerURL); err != nil {
		return nil, err
	}
	if s.issuerAt, err = s.serve(background, "the issuer", orFree(options.Issuer), serveIssuer(s.issuer)); err != nil {
		return nil, err
	}
	upstreamAt, err := s.serve(background, "the upstream", orFree(options.Upstream), Upstream())
	if err != nil {
		return nil, err
	}
	if err := s.startKasbah(background, options); err != nil {
		return nil, err
	}
	return s, s.startEnvoy(ctx, options, upstreamAt)
}

// Issuer returns the HTTP service of a development issuer with fresh keys.
func Issuer() (*http.Server, error) {
	issuer, err := keystest.New(IssuerURL)
	if err != nil {
		return nil, err
	}
	return serveIssuer(issuer), nil
}

func serveIssuer(issuer *keystest.Issuer) *http.Server {
	return &http.Server{Handler: issuer, ReadHeaderTimeout: 10 * time.Second}
}

func orFree(address string) string {
	if address == "" {
		return "127.0.0.1:0"
	}
	return address
}

// serve runs an HTTP service until ctx ends.
func (s *System) serve(ctx context.Context, what, address string, service *http.Server) (string, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", fmt.Errorf("starting %s: %w", what, err)
	}
	s.start(func() error {
		closer := context.AfterFunc(ctx, func() { _ = service.Close() })
		defer closer()
		if err := service.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
	return listener.Addr().String(), nil
}

func (s *System) start(run func() error) {
	done := make(chan error, 1)
	s.running = append(s.running, done)
	go func() { done <- run() }()
}

func (s *System) startKasbah(ctx context.Context, options Options) error {
	log := options.Log
	if log == nil {
		log = io.Discard
	}
	kasbah, err := server.New(server.Config{
		Path:   filepath.Join(options.Folder, "kasbah.yaml"),
		Listen: orFree(options.Kasbah), Admin: orFree(options.Admin),
		Client: &http.Client{Transport: &http.Transport{DialContext: s.dial}},
		Log: func(level slog.Leveler, _ bool) slog.Handler {
			return slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})
		},
		Now: time.Now,
	})
	if err != nil {
		return fmt.Errorf("starting Kasbah:\n%w", err)
	}
	s.kasbah = kasbah
	s.start(func() error { return kasbah.Run(ctx) })
	return nil
}

// dial knows one name, the issuer's, and reaches nobody else.
func (s *System) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if address != issuerHost {
		return nil, fmt.Errorf("the demo reaches %s only, not %s", issuerHost, address)
	}
	return new(net.Dialer).DialContext(ctx, network, s.issuerAt)
}

func (s *System) startEnvoy(ctx context.Context, options Options, upstream string) error {
	find := envoytest.FromEnvironment()
	find.Log = options.Progress
	bootstrap, err := fs.ReadFile(envoy.Files(), "envoy.yaml")
	if err != nil {
		return err
	}
	s.envoy, err = envoytest.Start(ctx, envoytest.Config{
		Bootstrap: bootstrap,
		Addresses: map[string]string{
			"0.0.0.0:10000":  orFree(options.Envoy),
			"127.0.0.1:9191": s.kasbah.Addr().String(),
			"127.0.0.1:8080": upstream,
		},
		Stderr:  options.Log,
		Options: &find,
	})
	if err != nil {
		return fmt.Errorf("starting Envoy: %w", err)
	}
	return nil
}

// Stop stops everything and returns what went wrong meanwhile. Stopping it again returns the same.
func (s *System) Stop() error {
	s.stopped.Do(func() {
		if s.envoy != nil {
			s.envoy.Stop()
		}
		s.stop()
		for _, part := range s.running {
			s.fault = errors.Join(s.fault, <-part)
		}
	})
	return s.fault
}

// EnvoyAddr is where Envoy listens for callers, host:port.
func (s *System) EnvoyAddr() string { return s.envoy.Listener("http") }

// AdminAddr is where Kasbah's admin service listens, host:port.
func (s *System) AdminAddr() string { return s.kasbah.AdminAddr().String() }

// IssuerAddr is where the issuer listens, host:port.
func (s *System) IssuerAddr() string { return s.issuerAt }

// Token mints a token for that subject with those roles.
func (s *System) Token(subject string, roles ...string) string {
	return s.issuer.Token(keystest.Claims{Subject: subject, Roles: roles})
}

// Done is closed when Envoy ends by itself.
func (s *System) Done() <-chan struct{} { return s.envoy.Done() }
