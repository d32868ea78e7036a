// Package server is the edge of Kasbah: it takes Envoy's questions over the ext_authz v3 gRPC API, has the
// core decide them, and answers. It also is the process: listeners, hot reload, health, metrics and a
// graceful end.
//
// [New] binds the listeners and loads the first configuration; [Server.Run] serves until its context ends.
// [Lint] loads a configuration without serving, by the same code.
//
// The way of a request: the checker (check.go) loads the Snapshot in force once, reads Envoy's message (codec.go,
// decode.go) into a policy.Request (request.go, path.go), lets the Snapshot's pipeline decide, and turns the
// policy.Decision into Envoy's response (response.go, encode.go). Nothing between the two knows Envoy, and nothing outside
// this package does. A Snapshot (snapshot.go) is immutable; reload.go builds the next one beside it, and one
// atomic pointer puts it in force.
//
// What it guarantees: every check is answered with a CheckResponse, before the caller's deadline and never with an
// RPC error; everything but an explicit allow is a denial; a configuration that does not load leaves the old one
// in force; and a request is decided under one configuration from its first stage to its last.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"

	"github.com/kasbah-authz/kasbah/keys"
)

// Config is what a Server needs. Path, Log and Now are required.
type Config struct {
	// Path is the configuration file.
	Path string
	// Listen, Admin and Public, where not empty, are used instead of the configuration's own addresses.
	Listen, Admin, Public string
	// Client, where its Transport is not nil, reaches the providers' servers in place of what they say under `client`.
	Client *http.Client
	// Proxy says through which proxy a request to a server goes whose provider names none; nil: none.
	Proxy func(*http.Request) (*url.URL, error)
	// Log makes the handler of the log, in the format that the configuration asks for.
	Log func(level slog.Leveler, text bool) slog.Handler
	Now func() time.Time
	// LookupEnv looks up a variable of the environment that the configuration names; nil: there is none.
	LookupEnv func(name string) (value string, ok bool)
	// Reload asks for a reload with each value; nil where only files are watched.
	Reload <-chan struct{}
}

// Server is one running service. Several may live in one process.
type Server struct {
	config  Config
	current atomic.Pointer[Snapshot]
	serving atomic.Bool

	phase    sync.Mutex
	draining bool // under phase

	store    *keys.Store
	sources  *sources
	reloader *reloader
	checker  *checker
	health   *health.Server
	grpc     *grpc.Server
	admin    *http.Server // nil where it is off
	public   *http.Server // likewise
	listener net.Listener
	adminAt  net.Listener
	publicAt net.Listener
	logger   *slog.Logger
}

// New loads the configuration and binds the listeners. It starts nothing. An error of the configuration is a
// [policy.Findings].
func New(cfg Config) (*Server, error) {
	if cfg.Path == "" || cfg.Log == nil || cfg.Now == nil {
		return nil, errors.New("making a server: Path, Log and Now are required")
	}
	// What the process is made of is read from the configuration once, before anything is built on it.
	settings, findings := readSettings(cfg.Path)
	if settings == nil {
		return nil, findings
	}
	level := &slog.LevelVar{}
	logging := newLogging(settings.GetLog())
	level.Set(logging.level)
	s := &Server{config: cfg, logger: slog.New(cfg.Log(level, logging.text))}
	store, err := keys.NewStore(keys.Options{Client: cfg.Client, Proxy: cfg.Proxy, Now: cfg.Now, Logger: s.logger, Cache: cacheLimits(settings)})
	if err != nil {
		return nil, fmt.Errorf("making the key store: %w", err)
	}
	s.store = store
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	counted := newMetrics(registry, store, cfg.Now)
	s.sources = newSources(context.Background(), cfg.Now, s.logger)
	registry.MustRegister(&sourceCollector{s.sources})
	s.checker = newChecker(&s.current, counted, s.logger, cfg.Now)
	s.reloader = &reloader{
		path: cfg.Path, store: store, sources: s.sources, env: cfg.LookupEnv, current: &s.current, metrics: counted, logger: s.logger,
		level: level, now: cfg.Now,
	}
	if findings := s.reloader.load(newFiles()); findings != nil {
		s.sources.close()
		return nil, findings
	}
	s.health = health.NewServer()
	s.setServing(false)
	if err := s.listen(registry); err != nil {
		s.sources.close()
		return nil, err
	}
	return s, nil
}

// listen binds every address, or none.
func (s *Server) listen(registry *prometheus.Registry) (err error) {
	settings := s.current.Load().settings
	if s.listener, err = bind(cmp.Or(s.config.Listen, settings.GetListen())); err != nil {
		return fmt.Errorf("listening for Envoy: %w", err)
	}
	if admin := cmp.Or(s.config.Admin, settings.GetAdmin()); admin != "off" {
		if s.adminAt, err = bind(admin); err != nil {
			return errors.Join(fmt.Errorf("listening for the admin service: %w", err), s.listener.Close())
		}
		s.admin = s.newAdmin(registry)
	}
	if address := cmp.Or(s.config.Public, settings.GetPublic()); address != "" {
		if s.publicAt, err = bind(address); err != nil {
			err = errors.Join(fmt.Errorf("listening for the public service: %w", err), s.listener.Close())
			if s.adminAt != nil {
				err = errors.Join(err, s.adminAt.Close())
			}
			return err
		}
		s.public = newPublic(s.endpoints(), s.logger)
	}
	return nil
}

// Addr is the address of the gRPC service.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// AdminAddr is the address of the admin service, nil where it is off.
func (s *Server) AdminAddr() net.Addr {
	if s.adminAt == nil {
		return nil
	}
	return s.adminAt.Addr()
}

// PublicAddr is the address of the public service, nil where there is none.
func (s *Server) PublicAddr() net.Addr {
	if s.publicAt == nil {
		return nil
	}
	return s.publicAt.Addr()
}

// Generation counts the configurations that were accepted, the first one is 1.
func (s *Server) Generation() uint64 { return s.current.Load().generation }

// Refused counts the configurations that were not accepted.
func (s *Server) Refused() uint64 { return s.reloader.refusals.Load() }

// Run serves until ctx ends, then drains and returns. It returns nil for an end that was asked for.
func (s *Server) Run(ctx context.Context) error {
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	s.grpc = s.newGRPC(s.current.Load().settings) // not in New: it starts goroutines
	parts := s.parts(background)
	failed := make(chan error, len(parts))
	for what, run := range parts {
		go func() {
			err := run()
			if err != nil {
				err = fmt.Errorf("%s: %w", what, err)
			}
			failed <- err
		}()
	}
	running := len(parts)
	var fault error
	select {
	case <-ctx.Done():
		s.drain()
	case fault = <-failed: // a part that ended by itself: there is no serving without it
		running--
		s.stopServing()
	}
	s.shutdown()
	stopBackground()
	for range running {
		fault = errors.Join(fault, <-failed)
	}
	s.checker.waiting.Wait()
	return fault
}

// parts are the goroutines of the service. Run waits for each.
func (s *Server) parts(ctx context.Context) map[string]func() error {
	parts := map[string]func() error{
		"fetching keys":              func() error { return s.store.Run(ctx) },
		"watching the configuration": func() error { return s.reloader.watch(ctx, s.config.Reload) },
		"following policies":         func() error { return s.sources.run(ctx) },
		"becoming ready":             func() error { return s.becomeReady(ctx) },
		"serving Envoy":              func() error { return ignoreClosed(s.grpc.Serve(s.listener)) },
	}
	if s.admin != nil {
		parts["serving the admin service"] = func() error { return ignoreClosed(s.admin.Serve(s.adminAt)) }
	}
	if s.public != nil {
		parts["serving the public service"] = func() error { return ignoreClosed(s.public.Serve(limitPublic(s.publicAt))) }
	}
	return parts
}
