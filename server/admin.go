package server

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newAdmin returns the HTTP service for operators: /livez, /readyz and /metrics. It tells nothing secret, and
// still belongs on an address that callers do not reach.
func (s *Server) newAdmin(registry *prometheus.Registry) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}

// readiness is the body of /readyz.
type readiness struct {
	Ready      bool               `json:"ready"`
	Generation uint64             `json:"generation"`
	Digest     string             `json:"digest"`
	Loaded     time.Time          `json:"loaded"`
	KeySets    []keySetStatus     `json:"key_sets,omitempty"`
	APIKeys    []tableStatus      `json:"api_key_stores,omitempty"`
	Revoked    []revocationStatus `json:"revocation_stores,omitempty"`
	Replays    []replayStatus     `json:"replay_stores,omitempty"`
	Policies   []sourceStatus     `json:"policy_sources,omitempty"`
}

// revocationStatus says how up to date what is known of a store of revocations is: that of the time Read, if Current is false.
// Where it is Expired, everyone who comes with a credential is refused.
type revocationStatus struct {
	Source  string    `json:"source"`
	Current bool      `json:"current"`
	Expired bool      `json:"expired"`
	Names   int       `json:"names"`
	Broken  int       `json:"broken"`
	Lost    int       `json:"lost"` // how often it came back with less than it had
	Read    time.Time `json:"read"`
	Error   string    `json:"error,omitempty"`
}

// tableStatus says how up to date the API keys of a database are: those of the time Read, if Current is false, and nobody's
// where they are Expired.
type tableStatus struct {
	Provider string    `json:"provider"`
	Source   string    `json:"source"`
	Current  bool      `json:"current"`
	Expired  bool      `json:"expired"`
	Keys     int       `json:"keys"`
	Broken   int       `json:"broken"`
	Read     time.Time `json:"read"`
	Error    string    `json:"error,omitempty"`
}

// replayStatus says whether the memory of proofs that replicas share gave an answer when it was last asked. Until then it is not Current.
type replayStatus struct {
	Source  string `json:"source"`
	Current bool   `json:"current"`
	Error   string `json:"error,omitempty"`
}

// sourceStatus says how up to date the rules of a table are: those of the time Read, if Current is false.
type sourceStatus struct {
	Source   string    `json:"source"`
	Current  bool      `json:"current"`
	Notified bool      `json:"notified"`
	Rows     int       `json:"rows"`
	Read     time.Time `json:"read"`
	Error    string    `json:"error,omitempty"`
}

// keySetStatus says how a remote key set is: it is Expired where it was fetched too long ago to count, and Kept where it is that of
// a former process.
type keySetStatus struct {
	Source  string    `json:"source"`
	Keys    int       `json:"keys"`
	Fetched time.Time `json:"fetched"`
	Expired bool      `json:"expired"`
	Kept    bool      `json:"kept"`
	Error   string    `json:"error,omitempty"`
}

// serveReady answers 200 while decisions are made and 503 otherwise, and says on what they stand. Keys that
// cannot be fetched do not make it unready: other routes are still decided, and another replica has the same issuer. Neither
// does a database that is out of reach: what was read of it stays in force.
func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	state := readiness{Ready: s.serving.Load()}
	if current := s.current.Load(); current != nil {
		state.Generation, state.Digest, state.Loaded = current.generation, current.digest, current.loaded
	}
	for _, set := range s.store.Sets() {
		status := keySetStatus{Source: set.Source, Keys: set.Keys, Fetched: set.Fetched, Expired: set.Expired, Kept: set.Kept}
		if set.Err != nil {
			status.Error = set.Err.Error()
		}
		state.KeySets = append(state.KeySets, status)
	}
	for _, table := range s.store.Tables() {
		status := tableStatus{
			Provider: table.Provider, Source: table.Source, Current: table.Attempted && table.Err == nil, Expired: table.Expired,
			Keys: table.Keys, Broken: table.Broken, Read: table.Read,
		}
		if table.Err != nil {
			status.Error = table.Err.Error()
		}
		state.APIKeys = append(state.APIKeys, status)
	}
	for _, place := range s.store.ReplayStats().Shared {
		status := replayStatus{Source: place.Source, Current: place.Asked && place.Err == nil}
		if place.Err != nil {
			status.Error = place.Err.Error()
		}
		state.Replays = append(state.Replays, status)
	}
	state.Revoked = s.revocationStatuses()
	for _, source := range s.sources.statuses() {
		status := sourceStatus{Source: source.Source, Current: source.Connected, Notified: source.Notified, Rows: source.Rows, Read: source.Read}
		if source.Err != nil {
			status.Error = source.Err.Error()
		}
		state.Policies = append(state.Policies, status)
	}
	w.Header().Set("Content-Type", "application/json")
	if !state.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(state) // a client that went away is no fault
}

func (s *Server) revocationStatuses() []revocationStatus {
	var all []revocationStatus
	for _, store := range s.store.RevocationStores() {
		status := revocationStatus{
			Source: store.Source, Current: store.Attempted && store.Err == nil, Names: store.Names, Broken: store.Broken, Lost: store.Lost, Read: store.Read,
		}
		if current := s.current.Load(); current != nil {
			status.Expired = current.revoked.Expired()
		}
		if store.Err != nil {
			status.Error = store.Err.Error()
		}
		all = append(all, status)
	}
	return all
}
