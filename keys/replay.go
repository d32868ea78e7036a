package keys

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"

	"github.com/kasbah-authz/kasbah/keys/internal/dpop"
	"github.com/kasbah-authz/kasbah/keys/internal/replay"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// defaultReplays is how many proofs are remembered.
const defaultReplays = 1_000_000

// Replay knows which proofs were used, so that each is used once.
type Replay struct {
	memory *replay.Memory
	limit  int
	counts *replayCounts
}

// replayCounts outlive a reload.
type replayCounts struct{ full, replayed atomic.Uint64 }

// ReplayStats says what is known of proofs that were used.
type ReplayStats struct {
	Remembered int    // now
	Replayed   uint64 // that were used again, and refused
	Full       uint64 // that were refused because there was no room for them
}

// Replay returns what remembers proofs in the Store's memory; nil is the default.
func (s *Store) Replay(cfg *configv1.Replay) *Replay {
	return &Replay{memory: s.used, limit: int(cmp.Or(cfg.GetMaxEntries(), defaultReplays)), counts: &s.replays}
}

// ReplayStats returns the counts of proofs since the Store was made.
func (s *Store) ReplayStats() ReplayStats {
	return ReplayStats{Remembered: s.used.Len(), Replayed: s.replays.replayed.Load(), Full: s.replays.full.Load()}
}

// waits reports whether a use is asked about over the network.
func (*Replay) waits() bool { return false }

// use refuses a proof that was used before, but for the same request. The error is errReplayed, or a *policy.StageError.
func (r *Replay) use(_ context.Context, use dpop.Use, by uint64) error {
	first, again, err := r.memory.Use(use.ID, by, use.Until, r.limit)
	switch {
	case err != nil:
		r.counts.full.Add(1)
		return &policy.StageError{Reason: policy.Unavailable, Err: fmt.Errorf("remembering a proof: %w", err)}
	case first, again:
		return nil
	}
	r.counts.replayed.Add(1)
	return errReplayed
}
