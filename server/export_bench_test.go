package server

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kasbah-authz/kasbah/keys"
)

// NewCheck returns what answers checks by a configuration, without a listener and without gRPC: it takes and gives the bytes
// of protobuf messages.
func NewCheck(path string) (func(context.Context, []byte) []byte, error) {
	logger := slog.New(slog.DiscardHandler)
	store, err := keys.NewStore(keys.Options{Client: &http.Client{}, Now: time.Now, Logger: logger})
	if err != nil {
		return nil, err
	}
	var current atomic.Pointer[Snapshot]
	counted := newMetrics(prometheus.NewRegistry(), store, time.Now)
	r := &reloader{path: path, store: store, current: &current, metrics: counted, logger: logger, level: &slog.LevelVar{}, now: time.Now}
	if findings := r.load(newFiles()); findings != nil {
		return nil, findings
	}
	return newChecker(&current, counted, logger, time.Now).answer, nil
}
