package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/proto/config"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// readyPatience is how long the first fetch of the key sets may hold back readiness. Afterwards the service is
// ready all the same: other routes are decided, and tokens are answered with 503 until keys come.
const readyPatience = 10 * time.Second

// streamWorkers is how many goroutines are kept for checks. A check that finds none of them idle gets a goroutine of its
// own, whose stack has to grow first: with as few as there are processors that was an eighth of all CPU at 32 checks at a time.
const streamWorkers = 256

// newGRPC makes the gRPC server: the Authorization service, health, and reflection where it is switched on.
func (s *Server) newGRPC(settings *configv1.Server) *grpc.Server {
	connection := settings.GetConnection()
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(int(settings.GetMaxBodyBytes()) + messageOverhead),
		grpc.MaxConcurrentStreams(connection.GetMaxConcurrentStreams()),
		grpc.MaxHeaderListSize(16 << 10),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge:      connection.GetMaxAge().AsDuration(),
			MaxConnectionAgeGrace: connection.GetMaxAgeGrace().AsDuration(),
			Time:                  time.Minute,
			Timeout:               10 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.WaitForHandlers(true),
	}
	if s.current.Load().tls != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.reloadingTLS())))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(newService(), s.checker)
	healthpb.RegisterHealthServer(server, s.health)
	if settings.GetReflection() {
		reflection.Register(server)
	}
	return server
}

// reloadingTLS takes the settings of the Snapshot in force for every new connection.
func (s *Server) reloadingTLS() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{"h2"},
		SessionTicketsDisabled: true,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if current := s.current.Load().tls; current != nil {
				return current, nil
			}
			return nil, errors.New("the configuration in force has no certificate")
		},
	}
}

// setServing says whether Envoy should send checks, by health and by /readyz.
func (s *Server) setServing(serving bool) {
	s.phase.Lock()
	defer s.phase.Unlock()
	if s.draining {
		serving = false // the first keys may come in the middle of the end
	}
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		status = healthpb.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, status)
	s.serving.Store(serving)
}

// stopServing is setServing(false) for good.
func (s *Server) stopServing() {
	s.phase.Lock()
	s.draining = true
	s.phase.Unlock()
	s.setServing(false)
}

// becomeReady waits until every key set that has no keys yet, every table of API keys and every store of revocations has been asked for
// once, so that the first checks find keys.
func (s *Server) becomeReady(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !s.keysAttempted() && patience.Err() == nil {
		select {
		case <-tick.C:
		case <-patience.Done():
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	s.setServing(true)
	s.logger.Info("serving", "address", s.Addr().String())
	<-ctx.Done()
	return nil
}

func (s *Server) keysAttempted() bool {
	return !slices.ContainsFunc(s.store.Sets(), func(set keys.SetStatus) bool { return !set.Attempted && set.Keys == 0 }) &&
		!slices.ContainsFunc(s.store.Tables(), func(table keys.TableStatus) bool { return !table.Attempted }) &&
		!slices.ContainsFunc(s.store.RevocationStores(), func(store keys.RevocationStatus) bool { return !store.Attempted })
}

// drain goes on serving for a while and tells Envoy, by its health, to go elsewhere.
func (s *Server) drain() {
	s.stopServing()
	pause := s.current.Load().settings.GetDrain().AsDuration()
	s.logger.Info("draining", "for", pause.String())
	time.Sleep(pause)
}

// shutdown lets calls in flight finish, for a bounded time, and closes everything.
func (s *Server) shutdown() {
	patience := s.current.Load().settings.GetShutdownTimeout().AsDuration()
	cut := time.AfterFunc(patience, s.grpc.Stop)
	s.grpc.GracefulStop()
	cut.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, service := range []*http.Server{s.public, s.admin} {
		if service != nil && service.Shutdown(ctx) != nil {
			_ = service.Close() // a reader that does not let go
		}
	}
	s.logger.Info("stopped")
}

// bind listens on "host:port" or "unix:///path". A socket that a dead process left behind is removed; one on which
// somebody still answers is not.
func bind(address string) (net.Listener, error) {
	path, isSocket := strings.CutPrefix(address, "unix://")
	if !isSocket {
		return net.Listen("tcp", address)
	}
	info, err := os.Lstat(path)
	if err == nil && info.Mode().Type() == fs.ModeSocket {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return nil, errors.Join(fmt.Errorf("%s is in use", address), conn.Close())
		}
		if !errors.Is(err, syscall.ECONNREFUSED) { // a queue that is full, a permission that is missing: somebody may be there
			return nil, fmt.Errorf("%s may be in use: %w", address, err)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("removing an old socket: %w", err)
		}
	}
	return net.Listen("unix", path)
}

// ignoreClosed takes the end that was asked for as no fault, also where it came before the serving began.
func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// readSettings reads the part of the configuration that the process itself is made of.
func readSettings(path string) (*configv1.Config, policy.Findings) {
	data, err := newFiles().read(path)
	if err != nil {
		return nil, policy.Findings{{Position: policy.Position{File: path}, Message: err.Error()}}
	}
	document, findings := config.Load(path, data)
	if document == nil {
		return nil, findings
	}
	return document.Config(), nil
}

// keySetOptions returns how key sets are kept; a relative folder starts at that of the configuration.
func keySetOptions(path string, settings *configv1.KeySets) keys.KeySetOptions {
	options := keys.KeySetOptions{
		Folder: settings.GetFolder(), MaxAge: settings.GetMaxAge().AsDuration(),
		MinRefresh: settings.GetMinRefresh().AsDuration(), MaxRefresh: settings.GetMaxRefresh().AsDuration(),
	}
	if options.Folder != "" && !filepath.IsAbs(options.Folder) {
		options.Folder = filepath.Join(filepath.Dir(path), options.Folder)
	}
	return options
}

func cacheLimits(settings *configv1.Server) keys.CacheLimits {
	limits := settings.GetCredentialCache()
	return keys.CacheLimits{
		MaxEntries: int(limits.GetMaxEntries()),
		MaxBytes:   limits.GetMaxBytes(),
		MaxAge:     limits.GetMaxAge().AsDuration(),
	}
}
