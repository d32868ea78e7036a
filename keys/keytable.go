package keys

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const (
	// After an error the next attempt comes after minReconnect, doubled with each further one up to maxReconnect.
	minReconnect = 250 * time.Millisecond
	maxReconnect = 5 * time.Second

	defaultKeyPoll = 250 * time.Millisecond
	defaultKeyAge  = 5 * time.Minute
)

// Table is a table of API keys in a database, and how it is reached.
type Table struct {
	// ID is comparable. Two that are equal are of the same table, reached in the same way.
	ID any
	// Source names it to operators, without anything secret.
	Source string
	// Reader connects to follow the table, Recorder to note when keys are used.
	Reader   func(ctx context.Context) (TableReader, error)
	Recorder func(ctx context.Context) (UseRecorder, error)
}

// TableState says up to which change a table was read. The zero value: not at all.
type TableState struct {
	Epoch  string // another one where earlier states are not to be built on
	Change int64
}

// TableReader is a connection to a table of API keys, for one goroutine at a time. After an error of Read it is of no use.
type TableReader interface {
	// Read gives each key that changed since that state to row, or all keys, and then says so with whole; both as they stood
	// at the state that it returns. A row that cannot be read comes with an error and at least its id.
	Read(ctx context.Context, since TableState, row func(*configv1.ApiKeyEntry, error)) (now TableState, whole bool, err error)
	Close()
}

// UseRecorder is a connection to write when keys were used, for one goroutine at a time. After an error it is of no use.
type UseRecorder interface {
	RecordUse(ctx context.Context, uses map[string]time.Time) error
	Close()
}

// TableStatus says how up to date the keys of a table are.
type TableStatus struct {
	Provider  string
	Source    string    // the database and the table, without anything secret
	Keys      int       // that are in force, revoked and expired ones among them
	Broken    int       // rows that cannot be read; who comes with one of them is refused
	Read      time.Time // when they were last known to be the database's; the zero time for never
	Attempted bool      // whether an attempt to read them has ended, well or not
	Expired   bool      // they are too old, or were never read, and everyone is refused
	Err       error     // how the last attempt failed, nil when it did not
}

// tableID tells what follows a table from what follows another one, or the same otherwise. The provider is part of it, because
// the principals of its keys name it.
type tableID struct {
	table, provider any
	poll, maxAge    time.Duration
	recordUse       bool
}

// keyTable follows a table of API keys. Requests read the keys without a lock.
type keyTable struct {
	id       tableID
	table    Table
	provider string
	now      func() time.Time
	logger   *slog.Logger

	keys  atomic.Pointer[apiKeySet] // nil before the first read
	read  atomic.Int64              // when the keys were last known to be the database's, in Unix nanoseconds
	first chan struct{}             // closed when the first attempt to read has ended
	uses  chan use                  // nil: they are not recorded

	// Of the goroutine of run.
	state  TableState
	broken map[string]bool // ids

	mu     sync.Mutex
	cancel context.CancelFunc // nil while nothing runs
	status TableStatus
}

func newKeyTable(id tableID, table Table, provider string, now func() time.Time, logger *slog.Logger) *keyTable {
	t := &keyTable{
		id: id, table: table, provider: provider, now: now, logger: logger, first: make(chan struct{}),
		status: TableStatus{Provider: provider, Source: table.Source},
	}
	if id.recordUse {
		t.uses = make(chan use, maxPendingUses)
	}
	return t
}

var (
	errKeysNeverRead = errors.New("the API keys were never read from their database")
	errKeysTooOld    = errors.New("the database of the API keys is out of reach, and the keys that were last read are too old")
)

// current returns the keys in force. It waits for the first attempt to read them.
func (t *keyTable) current(ctx context.Context, noWait bool) (*apiKeySet, error) {
	if t.keys.Load() == nil && t.runs() {
		select {
		case <-t.first:
		default:
			if noWait {
				return nil, policy.ErrWouldWait
			}
			select {
			case <-t.first:
			case <-ctx.Done():
				return nil, fmt.Errorf("waiting for the API keys: %w", ctx.Err())
			}
		}
	}
	set := t.keys.Load()
	switch {
	case set == nil:
		return nil, &policy.StageError{Reason: policy.Unavailable, Err: errKeysNeverRead}
	case t.tooOld():
		return nil, &policy.StageError{Reason: policy.Unavailable, Err: errKeysTooOld}
	}
	return set, nil
}

func (t *keyTable) tooOld() bool { return t.now().UnixNano()-t.read.Load() >= int64(t.id.maxAge) }

func (t *keyTable) runs() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cancel != nil
}

// start begins to follow, in goroutines of group, until ctx ends or stop is called. It does nothing when that has begun
// already.
func (t *keyTable) start(ctx context.Context, group *sync.WaitGroup) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cancel != nil {
		return
	}
	ctx, t.cancel = context.WithCancel(ctx)
	group.Go(func() { t.run(ctx) })
	if t.uses != nil {
		group.Go(func() { t.record(ctx) })
	}
}

// stop ends it, and does not wait.
func (t *keyTable) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cancel != nil {
		t.cancel()
	}
}

func (t *keyTable) run(ctx context.Context) {
	var reader TableReader
	defer func() {
		if reader != nil {
			reader.Close()
		}
		t.end()
	}()
	delay := minReconnect
	for ctx.Err() == nil {
		pause := t.id.poll
		if err := t.step(ctx, &reader); err != nil && ctx.Err() == nil {
			if reader != nil {
				reader.Close()
				reader = nil
			}
			t.state = TableState{} // another server may answer next, which has not seen all that this one had
			t.failed(ctx, err)
			pause = delay/2 + rand.N(delay/2) //nolint:gosec // G404: the jitter keeps replicas apart, it is no secret
			delay = min(2*delay, maxReconnect)
		} else {
			delay = minReconnect
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
func (t *keyTable) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cancel()
	t.cancel = nil
	t.attempted()
}

// attempted notes that an attempt to read has ended. The caller holds mu.
func (t *keyTable) attempted() {
	if !t.status.Attempted {
		t.status.Attempted = true
		close(t.first)
	}
}

// step brings the keys up to date once.
func (t *keyTable) step(ctx context.Context, reader *TableReader) error {
	begun := t.now() // what is read is not older
	if *reader == nil {
		opened, err := t.table.Reader(ctx)
		if err != nil {
			return err
		}
		*reader = opened
	}
	changes := newAPIKeyChanges(t.provider)
	state, whole, err := (*reader).Read(ctx, t.state, func(entry *configv1.ApiKeyEntry, fault error) { changes.add(entry, fault) })
	if err != nil {
		return err
	}
	if state != t.state || whole {
		t.take(ctx, changes, whole)
	}
	t.state = state
	t.read.Store(begun.UnixNano())
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.status.Err != nil {
		t.logger.InfoContext(ctx, "the database of API keys is back", "source", t.table.Source)
	}
	t.status.Err = nil
	t.attempted()
	return nil
}

// take puts what was read in force. A row that cannot be read is no key, and the one that it was before is none any more: to
// keep the keys as they were for its sake would keep those too that were revoked meanwhile.
func (t *keyTable) take(ctx context.Context, changes *apiKeyChanges, whole bool) {
	set := t.keys.Load()
	if whole || set == nil {
		set, t.broken = &apiKeySet{}, map[string]bool{}
	}
	set, faults := set.with(changes)
	for _, id := range changes.order {
		delete(t.broken, id)
	}
	for id, fault := range faults {
		t.broken[id] = true
		t.logger.ErrorContext(ctx, "an API key cannot be read, and is refused", "source", t.table.Source, "key", fmt.Sprintf("%.100q", id), "err", fault)
	}
	t.keys.Store(set)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Keys, t.status.Broken = set.keys, len(t.broken)
}

// failed notes that the keys may be out of date.
func (t *keyTable) failed(ctx context.Context, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.status.Err == nil || t.status.Err.Error() != err.Error() {
		t.logger.WarnContext(ctx, "the database of API keys is out of reach; the keys that were last read are good for a while more",
			"source", t.table.Source, "for", t.id.maxAge.String(), "err", err)
	}
	t.status.Err = err
	t.attempted()
}

func (t *keyTable) report() TableStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	status := t.status
	status.Expired = t.keys.Load() == nil || t.tooOld()
	if at := t.read.Load(); at != 0 {
		status.Read = time.Unix(0, at)
	}
	return status
}
