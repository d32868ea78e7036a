package server

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kasbah-authz/kasbah/keys"
)

// NewCheck returns the Check of a configuration, without a listener and without gRPC.
func NewCheck(path string) (func(context.Context, *authv3.CheckRequest) *authv3.CheckResponse, error) {
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
	c := newChecker(&current, counted, logger, time.Now)
	return func(ctx context.Context, in *authv3.CheckRequest) *authv3.CheckResponse {
		answer, _ := c.Check(ctx, in) // it has no error
		return answer
	}, nil
}
