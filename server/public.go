package server

import (
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

const (
	// maxPublicConnections is how many connections the public service has at once; more wait to be accepted.
	maxPublicConnections = 1000
	// maxPublicRequests is how many requests each endpoint answers at once; more get 503. So one that waits, for a slow body or an
	// issuer's keys, takes nothing from the others.
	maxPublicRequests = 50
	// maxPublicBody is the longest body that an endpoint can read, in bytes.
	maxPublicBody = 64 << 10
)

// endpoint is one thing that the public service answers. Serve is called by many goroutines at once. The request's
// body ends with an [http.MaxBytesError] behind maxPublicBody; until serve says otherwise, nobody may keep the answer.
type endpoint struct {
	method string // compared whole; GET includes HEAD
	path   string // compared whole
	serve  http.HandlerFunc
}

// endpoints are all that the public service has. Their paths are there whatever the configuration says, so that a reload
// may bring what they are about; until then they answer 404 themselves.
func (s *Server) endpoints() []endpoint {
	return []endpoint{
		{http.MethodGet, "/.well-known/jwks.json", s.serveKeySet},
		{http.MethodGet, "/.well-known/openid-configuration", s.serveDiscovery},
		{http.MethodGet, "/.well-known/oauth-authorization-server", s.serveDiscovery},
		{http.MethodPost, logoutPath, s.serveLogout},
	}
}

// newPublic returns the HTTP service for strangers: the endpoints, and 404 for everything else. Whoever reaches it may ask
// anything as often as they like, so that everything about a request is bounded, and no answer holds anything of it.
func newPublic(endpoints []endpoint, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:                      newPublicHandler(endpoints),
		ErrorLog:                     slog.NewLogLogger(logger.Handler(), slog.LevelDebug), // what strangers do wrong
		DisableGeneralOptionsHandler: true,                                                 // which answers what is not there
		ReadHeaderTimeout:            5 * time.Second,
		ReadTimeout:                  10 * time.Second,
		WriteTimeout:                 10 * time.Second,
		IdleTimeout:                  30 * time.Second,
		MaxHeaderBytes:               8 << 10,
	}
}

// limitPublic bounds the connections that are taken from a listener.
func limitPublic(listener net.Listener) net.Listener {
	return netutil.LimitListener(listener, maxPublicConnections)
}

type public struct {
	endpoints []endpoint
	slots     []chan struct{} // of each endpoint
}

func newPublicHandler(endpoints []endpoint) *public {
	p := &public{endpoints: endpoints}
	for range endpoints {
		p.slots = append(p.slots, make(chan struct{}, maxPublicRequests))
	}
	return p
}

// ServeHTTP finds the endpoint by whole method and whole path: an [http.ServeMux] would answer other spellings of a path
// with a redirect that repeats them.
func (p *public) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	allowed := ""
	for i := range p.endpoints {
		e := &p.endpoints[i]
		switch {
		case r.URL.Path != e.path || r.URL.RawPath != "":
		case r.Method == e.method, r.Method == http.MethodHead && e.method == http.MethodGet:
			p.serve(i, w, r)
			return
		default:
			allowed = e.method
		}
	}
	if allowed != "" {
		w.Header().Set("Allow", allowed)
		http.Error(w, "the method here is "+allowed, http.StatusMethodNotAllowed)
		return
	}
	http.Error(w, "there is nothing here", http.StatusNotFound)
}

func (p *public) serve(i int, w http.ResponseWriter, r *http.Request) {
	select {
	case p.slots[i] <- struct{}{}:
		defer func() { <-p.slots[i] }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests at once", http.StatusServiceUnavailable)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxPublicBody)
	p.endpoints[i].serve(w, r)
}
