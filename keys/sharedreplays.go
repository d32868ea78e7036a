package keys

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
)

// Replays remembers which proofs were used, for all replicas.
type Replays interface {
	// Use remembers a proof, by its digest and for so long, and reports whether nobody has used it before. Many goroutines call it at
	// once. Its errors are one line without anything secret.
	Use(ctx context.Context, proof [sha256.Size]byte, life time.Duration) (first bool, err error)
	Close() error
}

// SharedReplays is where replicas remember proofs together.
type SharedReplays struct {
	ID     any    // two that are equal are the same place; comparable
	Source string // what operators know it by, without anything secret
	Open   func() (Replays, error)
}

// ReplayStatus says how such a place is.
type ReplayStatus struct {
	Source string
	Asked  bool  // whether a question has ended, well or not
	Err    error // how the last one failed, nil when it did not
}

const (
	defaultReplayTimeout = 250 * time.Millisecond
	// replayPause is how long a replica that may go on alone does so before it asks again.
	replayPause = time.Second
)

// sharedReplays is one place. It outlives a reload.
type sharedReplays struct {
	source  string
	replays Replays
	now     func() time.Time
	logger  *slog.Logger

	asked      atomic.Bool
	failed     atomic.Int64 // when the last question that failed ended, in Unix nanoseconds; 0 where the last one did not fail
	complained atomic.Int64

	mu     sync.Mutex
	status ReplayStatus
}

// ask asks whether a proof is used for the first time.
func (s *sharedReplays) ask(ctx context.Context, timeout time.Duration, proof [sha256.Size]byte, life time.Duration) (bool, error) {
	asking, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	first, err := s.replays.Use(asking, proof, life)
	if err != nil && ctx.Err() != nil {
		return false, fmt.Errorf("asking whether a proof was used: %w", ctx.Err()) // which says nothing of the place
	}
	s.report(ctx, err)
	if err != nil {
		return false, &policy.StageError{Reason: policy.Unavailable, Err: fmt.Errorf("asking whether a proof was used: %w", err)}
	}
	return first, nil
}

// report keeps how a question ended. Nothing is locked while all is well.
func (s *sharedReplays) report(ctx context.Context, err error) {
	now := s.now().UnixNano()
	if err == nil && s.failed.Load() == 0 && s.asked.Load() {
		return
	}
	if err != nil {
		s.failed.Store(now)
	} else {
		s.failed.Store(0)
	}
	s.asked.Store(true)
	s.mu.Lock()
	s.status = ReplayStatus{Source: s.source, Asked: true, Err: err}
	s.mu.Unlock()
	if last := s.complained.Load(); err != nil && now-last >= int64(complaintInterval) && s.complained.CompareAndSwap(last, now) {
		s.logger.WarnContext(ctx, "nobody knows whether other replicas have seen a proof", "source", s.source, "err", err)
	}
}

// paused reports whether the last question failed just now.
func (s *sharedReplays) paused() bool {
	failed := s.failed.Load()
	return failed != 0 && s.now().UnixNano()-failed < int64(replayPause)
}
