package keys

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// defaultRefresh is when a key set is fetched again whose sender does not say how long it may be kept.
	defaultRefresh = 5 * time.Minute
	// refreshFloor is the least time between a fetch and one that an unknown key id asks for.
	refreshFloor = 5 * time.Second
	// After an error, the next attempt comes after minRetry, doubled with each further one up to maxRetry, and
	// between half and the whole of that time, so that replicas do not ask together.
	minRetry = time.Second
	maxRetry = 30 * time.Second
)

// keySource is where a provider's keys come from.
type keySource interface {
	// current returns the keys that count at that time, nil when there are none: there never were, or they are too old.
	current(now time.Time) *keySet
	// refresh asks for newer keys than seen. It returns a channel that is closed when they may be there, or
	// nil when there is nothing to wait for.
	refresh(seen *keySet) <-chan struct{}
}

// static is keys that do not change.
type static struct{ set *keySet }

func (s static) current(time.Time) *keySet       { return s.set }
func (s static) refresh(*keySet) <-chan struct{} { return nil }

// inForce is a remote key set and its end. The two change together, behind one pointer.
type inForce struct {
	set     *keySet
	fetched time.Time // when its sender last said that these are its keys
	until   int64     // in Unix nanoseconds: from then on they count no longer
	kept    bool      // it is of a former process, and was not fetched since
}

// remote is a key set that is fetched in the background. Requests read it without a lock; only one that
// meets an unknown key id, or no keys at all, takes mu.
type remote struct {
	source     source
	label      string // the source as operators see it
	client     *http.Client
	limits     KeySetOptions
	kept       *keptSets // nil: nothing is kept
	now        func() time.Time
	logger     *slog.Logger
	generation func() uint64

	keys atomic.Pointer[inForce] // the last good set, nil before the first
	wake chan struct{}           // tells the loop that flight was opened by a request

	saved   [sha256.Size]byte // the digest of the set that was kept last, and when that was fetched; the loop's
	savedAt time.Time

	mu     sync.Mutex
	cancel context.CancelFunc // ends the loop, nil while none runs
	flight chan struct{}      // closed when the fetch that is due or under way has ended, nil when none is
	begun  time.Time          // when flight was last opened
	status SetStatus
	failed int // attempts since the last good one
}

func (r *remote) current(now time.Time) *keySet {
	if last := r.keys.Load(); last != nil && now.UnixNano() < last.until {
		return last.set
	}
	return nil
}

// closed is what refresh returns when there is nothing left to wait for.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (r *remote) refresh(seen *keySet) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.current(r.now()) != seen:
		return closed
	case r.flight != nil:
		return r.flight
	case r.cancel == nil || r.now().Sub(r.begun) < refreshFloor:
		return nil
	}
	r.open()
	select {
	case r.wake <- struct{}{}:
	default: // the loop was told already
	}
	return r.flight
}

// open announces a fetch. The caller holds mu, and flight is nil.
func (r *remote) open() {
	r.flight = make(chan struct{})
	r.begun = r.now()
}

// start begins to fetch, in a goroutine of group, until ctx ends or stop is called. It does nothing when
// that has begun already.
func (r *remote) start(ctx context.Context, group *sync.WaitGroup) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		return
	}
	ctx, r.cancel = context.WithCancel(ctx)
	r.open() // before the loop runs: a request that comes now waits for the first fetch
	group.Go(func() { r.run(ctx) })
}

// stop ends the loop and does not wait for it.
func (r *remote) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		r.cancel()
	}
}

func (r *remote) run(ctx context.Context) {
	defer r.end()
	for ctx.Err() == nil {
		timer := time.NewTimer(r.update(ctx))
		select {
		case <-timer.C:
		case <-r.wake:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// end lets go of everyone who waits.
func (r *remote) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancel()
	r.cancel = nil
	if r.flight != nil {
		close(r.flight)
		r.flight = nil
	}
}

// update fetches the set once and returns the time until the next fetch.
func (r *remote) update(ctx context.Context) time.Duration {
	r.mu.Lock()
	if r.flight == nil {
		r.open()
	}
	select { // what asked for this fetch must not cause another
	case <-r.wake:
	default:
	}
	r.mu.Unlock()

	set, keep, err := r.source.fetch(ctx, r.client)
	if ctx.Err() != nil {
		return 0 // this is the end, and says nothing about the source
	}
	if err != nil {
		r.logger.WarnContext(ctx, "a key set could not be fetched; the last good one stays in force",
			"source", r.label, "err", err)
	} else {
		r.publish(ctx, set)
	}
	next := r.record(keep, err)
	if err == nil && r.kept != nil {
		r.save(ctx) // when nobody waits any more: a disk may take its time
	}
	return next
}

// save keeps the set that is in force, if it is not the one that was kept last, or that was long ago.
func (r *remote) save(ctx context.Context) {
	last := r.keys.Load()
	if r.saved == last.set.digest && last.fetched.Sub(r.savedAt) < r.kept.rewrites {
		return
	}
	if r.kept.save(ctx, r.source, last.set, last.fetched) {
		r.saved, r.savedAt = last.set.digest, last.fetched
	}
}

// publish puts the set in force, under a new generation when it is not the one that is in force already.
func (r *remote) publish(ctx context.Context, set *keySet) {
	fetched, before := r.now(), r.keys.Load()
	changed := before == nil || before.set.digest != set.digest
	if !changed {
		set = before.set
	} else {
		set.generation = r.generation()
	}
	r.enforce(set, fetched, false)
	if !changed {
		return
	}
	r.logger.InfoContext(ctx, "a key set has changed", "source", r.label, "keys", len(set.keys))
	if len(set.leftOut) > 0 {
		r.logger.WarnContext(ctx, "keys are not usable",
			"source", r.label, "count", len(set.leftOut), "first", set.leftOut[0])
	}
}

// enforce puts a set in force that was fetched at that time.
func (r *remote) enforce(set *keySet, fetched time.Time, kept bool) {
	r.keys.Store(&inForce{set: set, fetched: fetched, until: fetched.Add(r.limits.MaxAge).UnixNano(), kept: kept})
}

// record notes how the fetch ended, lets go of those who wait, and returns the time until the next.
func (r *remote) record(keep time.Duration, err error) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.flight)
	r.flight = nil
	r.status.Attempted, r.status.Err = true, err
	if err != nil {
		delay := min(minRetry<<min(r.failed, 10), maxRetry)
		r.failed++
		return delay/2 + rand.N(delay/2) //nolint:gosec // G404: the jitter keeps replicas apart, it is no secret
	}
	r.failed = 0
	if keep == 0 {
		keep = defaultRefresh
	}
	return min(max(keep, r.limits.MinRefresh), r.limits.MaxRefresh)
}

func (r *remote) state() SetStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	status := r.status
	status.Source = r.label
	if last := r.keys.Load(); last != nil {
		status.Fetched, status.Kept, status.Expired = last.fetched, last.kept, true
		if set := r.current(r.now()); set != nil {
			status.Keys, status.Expired = len(set.keys), false
		}
	}
	return status
}
