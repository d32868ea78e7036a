package revoked

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
)

const (
	// minReconnect is the pause after an error, doubled with each further one up to the source's patience.
	minReconnect = 250 * time.Millisecond
	// sweepEvery is how often what is over is dropped from the Set.
	sweepEvery = time.Minute
)

// Follower keeps a Set as its store has it. Requests read the Set without a lock.
type Follower struct {
	source Source
	now    func() time.Time
	logger *slog.Logger

	set   atomic.Pointer[Set] // nil before the first read
	read  atomic.Int64        // when the Set was last known to be the store's, in Unix nanoseconds
	first chan struct{}       // closed when the first attempt to read has ended

	// Of the goroutine of run.
	state State
	doubt bool // the next read is of everything: another server may answer, which has not seen all that the last one had
	swept time.Time

	mu     sync.Mutex
	cancel context.CancelFunc // nil while nothing runs
	status Status
}

// NewFollower returns one that does not follow yet: Start does. It has what was read already; nil for nothing.
func NewFollower(source Source, read []Record, now func() time.Time, logger *slog.Logger) *Follower {
	f := &Follower{source: source, now: now, logger: logger, first: make(chan struct{}), status: Status{Source: source.Name}}
	if read != nil {
		f.set.Store((*Set)(nil).With(read, Replace))
		f.read.Store(now().UnixNano())
		f.status.Names = f.set.Load().Len()
		f.mu.Lock()
		f.attempted()
		f.mu.Unlock()
	}
	return f
}

// Source returns what it follows.
func (f *Follower) Source() Source { return f.source }

// Current returns what is withdrawn, and since when nothing newer is known, in Unix nanoseconds. It waits for the first attempt to read.
// A nil Set was never read.
func (f *Follower) Current(ctx context.Context, noWait bool) (*Set, int64, error) {
	if set := f.set.Load(); set != nil {
		return set, f.read.Load(), nil
	}
	if !f.runs() {
		return nil, 0, nil
	}
	select {
	case <-f.first:
	default:
		if noWait {
			return nil, 0, policy.ErrWouldWait
		}
		select {
		case <-f.first:
		case <-ctx.Done():
			return nil, 0, fmt.Errorf("waiting for the revocations: %w", ctx.Err())
		}
	}
	return f.set.Load(), f.read.Load(), nil
}

func (f *Follower) runs() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cancel != nil
}

// Start begins to follow, in a goroutine of group, until ctx ends or Stop is called. It does nothing when that has begun
// already.
func (f *Follower) Start(ctx context.Context, group *sync.WaitGroup) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cancel != nil {
		return
	}
	ctx, f.cancel = context.WithCancel(ctx)
	group.Go(func() { f.run(ctx) })
}

// Stop ends it, and does not wait.
func (f *Follower) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cancel != nil {
		f.cancel()
	}
}

func (f *Follower) run(ctx context.Context) {
	var reader Reader
	defer func() {
		if reader != nil {
			reader.Close()
		}
		f.end()
	}()
	delay := min(minReconnect, f.source.Patience)
	for ctx.Err() == nil {
		pause := f.source.Poll
		if err := f.step(ctx, &reader); err != nil && ctx.Err() == nil {
			if reader != nil {
				reader.Close()
				reader = nil
			}
			f.doubt = true
			f.failed(ctx, err)
			pause = max(f.source.Poll, delay/2+rand.N(delay/2+1)) //nolint:gosec // G404: the jitter keeps replicas apart, it is no secret
			delay = min(2*delay, f.source.Patience)
		} else {
			delay = min(minReconnect, f.source.Patience)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// end lets go of everyone who waits.
func (f *Follower) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cancel()
	f.cancel = nil
	f.attempted()
}

// attempted notes that an attempt to read has ended. The caller holds mu.
func (f *Follower) attempted() {
	if !f.status.Attempted {
		f.status.Attempted = true
		close(f.first)
	}
}

// step brings the Set up to date once.
func (f *Follower) step(ctx context.Context, reader *Reader) error {
	begun := f.now() // what is read is not older
	if *reader == nil {
		opened, err := f.source.Open(ctx)
		if err != nil {
			return err
		}
		*reader = opened
	}
	since := f.state
	if f.doubt {
		since = State{}
	}
	var records []Record
	broken, tooMany := 0, false
	state, whole, err := (*reader).Read(ctx, since, func(record Record, fault error) {
		if fault != nil {
			broken++
			f.logger.ErrorContext(ctx, "a revocation cannot be read, and withdraws all of its name", "source", f.source.Name, "by", record.Claim, "err", fault)
		}
		if tooMany = tooMany || len(records) >= MaxNames; !tooMany {
			records = append(records, record)
		}
	})
	if err != nil {
		return err
	}
	if whole || len(records) > 0 {
		if err := f.take(ctx, records, state, whole, tooMany); err != nil {
			return err
		}
	}
	f.state, f.doubt = state, false
	f.read.Store(begun.UnixNano())
	if begun.Sub(f.swept) >= sweepEvery {
		f.set.Store(f.set.Load().Without(begun))
		f.swept = begun
	}
	f.succeeded(ctx, whole, broken)
	return nil
}

// take puts what was read in force. A store that has less than it had was emptied, or is a backup, or another server: what it had
// stays withdrawn, until its own end.
func (f *Follower) take(ctx context.Context, records []Record, state State, whole, tooMany bool) error {
	before := f.set.Load()
	how := Add
	switch {
	case !whole:
	case f.state == (State{}) || state.follows(f.state) && state.Cut > f.state.Cut:
		how = Replace
	default:
		how = Keep
	}
	next := before.With(records, how)
	if tooMany || next.Len() > MaxNames {
		return fmt.Errorf("there are more than %d revocations", MaxNames)
	}
	f.set.Store(next)
	if whole && f.state != (State{}) && !state.follows(f.state) {
		f.logger.ErrorContext(ctx, "the store of revocations came back with less than it had, or is another one; what was withdrawn stays so here, and other replicas may not know it", "source", f.source.Name)
		f.mu.Lock()
		f.status.Lost++
		f.mu.Unlock()
	}
	return nil
}

func (f *Follower) succeeded(ctx context.Context, whole bool, broken int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status.Err != nil {
		f.logger.InfoContext(ctx, "the store of revocations is back", "source", f.source.Name)
	}
	if whole {
		f.status.Broken = 0
	}
	f.status.Broken += broken
	f.status.Names, f.status.Err = f.set.Load().Len(), nil
	f.attempted()
}

// failed notes that the Set may be out of date.
func (f *Follower) failed(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status.Err == nil || f.status.Err.Error() != err.Error() {
		f.logger.WarnContext(ctx, "the store of revocations cannot be read; what was last read is in force", "source", f.source.Name, "err", err)
	}
	f.status.Err = err
	f.attempted()
}

// Report returns how up to date the Set is.
func (f *Follower) Report() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	status := f.status
	if at := f.read.Load(); at != 0 {
		status.Read = time.Unix(0, at)
	}
	return status
}
