package server

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const (
	AnswerMargin = answerMargin
	MaxWaiting   = maxWaiting
	PollEvery    = pollEvery

	MaxPublicRequests = maxPublicRequests
)

// NewPublic returns the public service with those endpoints, by method and path.
func NewPublic(serve map[string]http.HandlerFunc) *http.Server {
	var endpoints []endpoint
	for what, handler := range serve {
		method, path, _ := strings.Cut(what, " ")
		endpoints = append(endpoints, endpoint{method, path, handler})
	}
	return newPublic(endpoints, slog.New(slog.DiscardHandler))
}

// Inject has a running server decide by those routes, whose stages are the test's own, until its next reload.
func Inject(s *Server, routes []policy.Route) error {
	pipeline, err := policy.NewPipeline(routes)
	if err != nil {
		return err
	}
	next := *s.current.Load()
	next.pipeline = pipeline
	s.current.Store(&next)
	return nil
}

// Checker is the edge without a process around it.
type Checker struct{ *checker }

// CheckerConfig says what a Checker decides by.
type CheckerConfig struct {
	Routes  []policy.Route
	Timeout time.Duration // of a decision whose caller names no deadline
	Now     func() time.Time
	Log     slog.Handler
}

// NewChecker returns a Checker. Without routes it is one that has no configuration yet.
func NewChecker(cfg CheckerConfig) (*Checker, error) {
	store, err := keys.NewStore(keys.Options{Client: &http.Client{}, Now: cfg.Now})
	if err != nil {
		return nil, err
	}
	var current atomic.Pointer[Snapshot]
	if cfg.Routes != nil {
		pipeline, err := policy.NewPipeline(cfg.Routes)
		if err != nil {
			return nil, err
		}
		current.Store(&Snapshot{
			generation: 1, pipeline: pipeline, maxBody: 1 << 20, decisionTimeout: cfg.Timeout,
			log: logging{decisions: configv1.LogDecisions_LOG_DECISIONS_DENIED},
		})
	}
	m := newMetrics(prometheus.NewRegistry(), store, cfg.Now)
	return &Checker{newChecker(&current, m, slog.New(cfg.Log), cfg.Now)}, nil
}

// Check answers one of Envoy's questions, which go there and back as bytes.
func (c *Checker) Check(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	wire, err := proto.Marshal(in)
	if err != nil {
		return nil, err
	}
	var response authv3.CheckResponse
	return &response, proto.Unmarshal(c.answer(ctx, wire), &response)
}

// CheckAsRead answers a question as if it had been read, also one with text that protobuf does not let through.
func (c *Checker) CheckAsRead(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	snapshot, asked := c.current.Load(), attributesOf(in)
	d, req := c.question(ctx, snapshot, &asked, c.now())
	var response authv3.CheckResponse
	return &response, proto.Unmarshal(c.respond(ctx, snapshot, &d, req, asked.isGRPC()), &response)
}

// Wait waits for the decisions that went on in the background.
func (c *Checker) Wait() { c.waiting.Wait() }

// Waiting is how many decisions hold a place of those that may wait.
func (c *Checker) Waiting() int { return len(c.waitSlots) }

// Panics is what kasbah_panics_total says.
func (c *Checker) Panics() float64 {
	var written dto.Metric
	if err := c.metrics.panics.Write(&written); err != nil {
		return -1
	}
	return written.GetCounter().GetValue()
}
