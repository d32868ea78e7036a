package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/replay"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// defaultReplays is how many proofs are remembered.
const defaultReplays = 1_000_000

// Replay knows which proofs and signatures were used, so that each is used once: by the memory of this process and, where replicas share one, by that
// place too.
type Replay struct {
	memory  *replay.Memory
	limit   int
	shared  *sharedReplays // nil: memory alone
	timeout time.Duration
	goOn    bool // with memory alone, while the shared place gives no answer
	now     func() time.Time
	counts  *replayCounts
}

// replayCounts outlive a reload.
type replayCounts struct{ full, replayed, failed atomic.Uint64 }

// ReplayStats says what is known of proofs that were used.
type ReplayStats struct {
	Remembered int    // now, in memory
	Replayed   uint64 // that were used again, and refused
	Full       uint64 // that were refused because there was no room for them
	Failed     uint64 // about which the shared place gave no answer
	Shared     []ReplayStatus
}

// Replay returns what remembers proofs in the Store's memory and, where it is not nil, in a place that replicas share; a nil cfg is the
// default.
func (s *Store) Replay(cfg *configv1.Replay, shared *SharedReplays) (*Replay, error) {
	r := &Replay{
		memory: s.used, limit: int(cmp.Or(cfg.GetMaxEntries(), defaultReplays)), counts: &s.replays, now: s.now,
		timeout: duration(cfg.GetTimeout(), defaultReplayTimeout), goOn: cfg.GetOnFailure() == configv1.ReplayFailure_REPLAY_FAILURE_GO_ON,
	}
	if shared == nil {
		return r, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.shared = s.places[shared.ID]; r.shared != nil {
		return r, nil
	}
	replays, err := shared.Open()
	if err != nil {
		return nil, err
	}
	r.shared = &sharedReplays{source: shared.Source, replays: replays, now: s.now, logger: s.logger, status: ReplayStatus{Source: shared.Source}}
	s.places[shared.ID] = r.shared
	return r, nil
}

// retainReplays closes the shared places that none of these providers uses. The caller holds mu.
func (s *Store) retainReplays(providers []*Provider) error {
	var faults []error
	for id, place := range s.places {
		if !slices.ContainsFunc(providers, func(p *Provider) bool { r := p.replay(); return r != nil && r.shared == place }) {
			faults = append(faults, place.replays.Close())
			delete(s.places, id)
		}
	}
	return errors.Join(faults...)
}

// replayOf returns what remembers the uses of a provider: what the configuration says, or the Store's memory.
func (s *Store) replayOf(files Files) *Replay {
	if files.Replay != nil {
		return files.Replay
	}
	r, _ := s.Replay(nil, nil) // which opens nothing that could fail
	return r
}

// replay returns what remembers the provider's proofs or signatures; nil for a provider of other credentials.
func (p *Provider) replay() *Replay {
	switch {
	case p.possession != nil:
		return p.possession.replay
	case p.signatures != nil:
		return p.signatures.replay
	}
	return nil
}

// ReplayStats returns the counts of proofs since the Store was made, and how the shared places are, ordered by source.
func (s *Store) ReplayStats() ReplayStats {
	stats := ReplayStats{
		Remembered: s.used.Len(), Replayed: s.replays.replayed.Load(), Full: s.replays.full.Load(), Failed: s.replays.failed.Load(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, place := range s.places {
		place.mu.Lock()
		stats.Shared = append(stats.Shared, place.status)
		place.mu.Unlock()
	}
	slices.SortFunc(stats.Shared, func(a, b ReplayStatus) int { return cmp.Compare(a.Source, b.Source) })
	return stats
}

// waits reports whether a use is to be asked about over the network now. A replica that goes on alone asks once in a while.
func (r *Replay) waits() bool { return r.shared != nil && !(r.goOn && r.shared.paused()) }

// use refuses a proof that was used before, but for the same request; with ask, by another replica too. The error is errReplayed, a
// *policy.StageError, or wraps the context's.
func (r *Replay) use(ctx context.Context, use replay.Use, by uint64, ask bool) error {
	first, again, err := r.memory.Use(use.ID, by, use.Until, r.limit)
	switch {
	case again:
		return nil
	case err != nil && !ask:
		r.counts.full.Add(1)
		return &policy.StageError{Reason: policy.Unavailable, Err: fmt.Errorf("remembering a proof: %w", err)}
	case err == nil && !first:
		r.counts.replayed.Add(1)
		return errReplayed
	case !ask:
		return nil
	}
	return r.useShared(ctx, use, err == nil)
}

// useShared asks the others. What they refuse, this request may not use again either, with another provider.
func (r *Replay) useShared(ctx context.Context, use replay.Use, remembered bool) error {
	first, err := r.shared.ask(ctx, r.timeout, use.ID, use.Until.Sub(r.now()))
	switch {
	case err == nil && first:
		return nil
	case err == nil:
		r.counts.replayed.Add(1)
		err = errReplayed
	default:
		r.counts.failed.Add(1)
		if r.goOn && remembered && isUnavailable(err) {
			return nil
		}
	}
	r.memory.Spend(use.ID)
	return err
}
