package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const (
	// answerMargin is how long before the caller's deadline an answer is given. A caller that has given up
	// takes its own default, and an operator may have made that an allow.
	answerMargin = 5 * time.Millisecond
	// maxWaiting is how many decisions may wait for the network at once; more are denied as unavailable.
	maxWaiting = 10_000
)

var errNotText = errors.New("the response to an allow would hold text that is not UTF-8")

// checker is the Authorization service (envoy.service.auth.v3). It answers whatever it is asked and
// never late: an RPC error is no denial, because Envoy may have been told to let such requests pass.
type checker struct {
	current *atomic.Pointer[Snapshot]
	metrics *metrics
	logger  *slog.Logger
	now     func() time.Time

	waiting   sync.WaitGroup
	waitSlots chan struct{}
}

func newChecker(current *atomic.Pointer[Snapshot], m *metrics, logger *slog.Logger, now func() time.Time) *checker {
	return &checker{current: current, metrics: m, logger: logger, now: now, waitSlots: make(chan struct{}, maxWaiting)}
}

// answer answers one of Envoy's questions, a CheckRequest, with a CheckResponse. It keeps the memory of the check, which
// nobody may write to any more.
func (c *checker) answer(ctx context.Context, check []byte) (response []byte) {
	snapshot, grpcCaller := c.current.Load(), false
	defer func() {
		v := recover() // of the edge itself; the pipeline catches its own
		if v == nil {
			return
		}
		d := policy.Refuse(policy.Internal, "")
		d.Err = &policy.PanicError{Value: v, Stack: debug.Stack()}
		c.metrics.decided(&d, 0) // how long it took is not known: the clock may be what panicked
		response = encodeDenial(&d, false)
		defer func() { _ = recover() }() // so may be the log; then the answer is what it is by now
		response = c.respond(ctx, snapshot, &d, nil, grpcCaller)
	}()
	asked := readAttributes(check)
	grpcCaller = asked.isGRPC()
	started := c.now()
	d, req := c.question(ctx, snapshot, &asked, started)
	response = c.respond(ctx, snapshot, &d, req, grpcCaller)
	c.metrics.decided(&d, c.now().Sub(started))
	return response
}

// question reads the request and has it decided. The request is nil where it may not be seen.
func (c *checker) question(ctx context.Context, snapshot *Snapshot, asked *attributes, started time.Time) (policy.Decision, *policy.Request) {
	if snapshot == nil {
		return policy.Refuse(policy.Unavailable, "no configuration is loaded yet"), nil
	}
	req, err := newRequest(asked, started, snapshot.maxBody)
	if err != nil {
		return policy.Refuse(policy.InvalidRequest, err.Error()), nil
	}
	req.Serial = rand.Uint64() //nolint:gosec // a name, not a secret, as in newDecisionID
	return c.decide(ctx, snapshot, req), req
}

// decide asks the pipeline at once. Only where a stage would have to wait for the network does the decision
// move to a goroutine, so that this one can answer in time whatever that one waits for.
func (c *checker) decide(ctx context.Context, snapshot *Snapshot, req *policy.Request) policy.Decision {
	deadline := req.Time.Add(snapshot.decisionTimeout)
	if asked, ok := ctx.Deadline(); ok && asked.Add(-answerMargin).Before(deadline) {
		deadline = asked.Add(-answerMargin)
	}
	req.NoWait = true
	d := snapshot.pipeline.Decide(ctx, req)
	if d.WouldWait {
		d = c.wait(ctx, snapshot, req, deadline)
	}
	if d.Effect == policy.Allow && c.now().After(deadline) {
		return policy.Refuse(policy.Deadline, "the verdict came after the deadline")
	}
	return d
}

func (c *checker) wait(ctx context.Context, snapshot *Snapshot, req *policy.Request, deadline time.Time) policy.Decision {
	select {
	case c.waitSlots <- struct{}{}:
	default:
		return policy.Refuse(policy.Unavailable, fmt.Sprintf("%d decisions wait for the network already", maxWaiting))
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel() // not in the goroutine: a decision and the end of its context would be there at once
	waited := *req // the goroutine may outlive this call, which goes on reading req
	waited.NoWait = false
	decided := make(chan policy.Decision, 1)
	c.waiting.Go(func() {
		defer func() { <-c.waitSlots }()
		decided <- snapshot.pipeline.Decide(ctx, &waited)
	})
	select {
	case d := <-decided:
		return d
	case <-ctx.Done():
		return policy.Refuse(policy.Deadline, "a stage still waits: "+ctx.Err().Error())
	}
}

// respond gives the decision its id, turns it into Envoy's response and records it. snapshot is nil before the
// first load, req where there was none to be read.
func (c *checker) respond(ctx context.Context, snapshot *Snapshot, d *policy.Decision, req *policy.Request, grpcCaller bool) (response []byte) {
	decisions := configv1.LogDecisions_LOG_DECISIONS_DENIED
	generation := uint64(0)
	if snapshot != nil {
		generation, decisions = snapshot.generation, snapshot.log.decisions
	}
	d.ID, d.Generation = newDecisionID(), generation
	allowed := false
	if d.Effect == policy.Allow {
		if response, allowed = encodeAllow(d); !allowed {
			id := d.ID
			*d = policy.Refuse(policy.Internal, errNotText.Error())
			d.ID, d.Generation, d.Err = id, generation, errNotText
		}
	}
	if !allowed {
		response = encodeDenial(d, grpcCaller)
	}
	c.record(ctx, decisions, d, req)
	return response
}

// record logs a decision, where the configuration asks for it. A fault of our own is always logged.
func (c *checker) record(ctx context.Context, which configv1.LogDecisions, d *policy.Decision, req *policy.Request) {
	level := slog.LevelInfo
	switch {
	case d.Err != nil && d.Reason == policy.Internal:
		level = slog.LevelError
	case which == configv1.LogDecisions_LOG_DECISIONS_ALL:
	case which == configv1.LogDecisions_LOG_DECISIONS_DENIED && d.Effect == policy.Deny:
	default:
		return
	}
	if !c.logger.Enabled(ctx, level) {
		return
	}
	detail := d.Detail
	var panicked *policy.PanicError
	if errors.As(d.Err, &panicked) {
		detail = describePanic(panicked.Value)
	}
	attributes := []slog.Attr{
		slog.String("decision_id", d.ID), slog.String("effect", d.Effect.String()), slog.String("reason", d.Reason.String()),
		slog.String("route", d.Route), slog.String("stage", d.Stage), slog.Uint64("generation", d.Generation),
		slog.String("principal", d.Principal.ID), slog.String("provider", d.Principal.Provider),
		slog.String("rule", d.Rule.Text), slog.String("rule_at", d.Rule.Position.String()), slog.String("detail", detail),
	}
	if req != nil {
		attributes = append(attributes, slog.String("request_id", req.ID), slog.String("method", req.Method),
			slog.String("host", req.Host), slog.String("path", req.Path), slog.String("source", req.Source.Address))
	}
	if panicked != nil {
		attributes = append(attributes, slog.String("stack", string(panicked.Stack)))
	}
	c.logger.LogAttrs(ctx, level, "decision", attributes...)
}

// describePanic says what was panicked with. Only the runtime's own errors are written out: any other value may
// hold what the code was looking at, a credential perhaps, and the stack beside it says where that was.
func describePanic(value any) string {
	if fault, ok := value.(runtime.Error); ok {
		return "panic: " + fault.Error()
	}
	return fmt.Sprintf("panic with a %T", value)
}

// newDecisionID returns 128 random bits in hexadecimal. They name a decision and guard nothing.
func newDecisionID() string {
	var id [16]byte
	high, low := rand.Uint64(), rand.Uint64() //nolint:gosec // a name, not a secret; crypto/rand costs a system call's time
	for i := range 8 {
		id[i], id[8+i] = byte(high>>(8*i)), byte(low>>(8*i))
	}
	return hex.EncodeToString(id[:])
}
