package revoked_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kasbah-authz/kasbah/keys/internal/revoked"
	"github.com/kasbah-authz/kasbah/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for a condition.
const patience = 20 * time.Second

// fake is a store that a test changes by hand.
type fake struct {
	mu      sync.Mutex
	state   revoked.State
	records map[revoked.Name]revoked.Record
	changed map[revoked.Name]int64
	err     error
	hold    chan struct{} // not nil: reading waits for it
	reads   int
}

func newFake() *fake {
	return &fake{state: revoked.State{Epoch: "a"}, records: map[revoked.Name]revoked.Record{}, changed: map[revoked.Name]int64{}}
}

func (f *fake) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) add(value string, windows ...revoked.Window) {
	f.do(func() {
		name := revoked.Name{Claim: "jti", Value: value}
		f.state.Change++
		f.records[name], f.changed[name] = revoked.Record{Name: name, Windows: append([]revoked.Window(nil), windows...)}, f.state.Change
	})
}

// another makes it another store, with nothing in it.
func (f *fake) another(state revoked.State) {
	f.do(func() {
		f.state, f.records, f.changed = state, map[revoked.Name]revoked.Record{}, map[revoked.Name]int64{}
	})
}

func (f *fake) Close() {}

func (f *fake) Read(ctx context.Context, since revoked.State, row func(revoked.Record, error)) (revoked.State, bool, error) {
	f.mu.Lock()
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if f.err != nil || f.state == since {
		return f.state, false, f.err
	}
	whole := since.Epoch != f.state.Epoch || f.state.Change < since.Change || f.state.Cut != since.Cut
	for name, record := range f.records {
		if whole || f.changed[name] > since.Change {
			row(record, nil)
		}
	}
	return f.state, whole, nil
}

// follow follows it until the test ends.
func follow(t *testing.T, f *fake) *revoked.Follower {
	t.Helper()
	follower := revoked.NewFollower(revoked.Source{
		Name: "fake", Open: func(context.Context) (revoked.Reader, error) { return f, nil }, Poll: time.Millisecond, Patience: time.Millisecond,
	}, nil, time.Now, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	follower.Start(ctx, &group)
	t.Cleanup(func() { cancel(); group.Wait() })
	return follower
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for begun := time.Now(); !done(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatalf("waiting for %s", what)
		}
	}
}

func has(t *testing.T, f *revoked.Follower, value string) bool {
	t.Helper()
	set, _, err := f.Current(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	return set.Withdraws(revoked.Name{Claim: "jti", Value: value}, time.Now().UnixNano(), time.Now().UnixNano())
}

// TestFollow: what is added and what is taken back is taken, and nothing else that a store does takes anything back.
func TestFollow(t *testing.T) {
	t.Parallel()
	store := newFake()
	store.add("one", revoked.Window{})
	store.add("short", revoked.Window{Until: time.Now().Add(time.Hour)})
	f := follow(t, store)
	if !has(t, f, "one") || has(t, f, "two") {
		t.Fatal("the first read is not in force")
	}
	// settled waits until the follower has read the store as it is now.
	settled := func() {
		t.Helper()
		var reads int
		store.do(func() { reads = store.reads })
		await(t, "two reads", func() bool {
			var now int
			store.do(func() { now = store.reads })
			return now > reads+2
		})
	}
	store.add("two", revoked.Window{})
	await(t, "an addition", func() bool { return has(t, f, "two") })
	store.do(func() {
		delete(store.records, revoked.Name{Claim: "jti", Value: "one"})
		store.state.Cut++
	})
	await(t, "a removal", func() bool { return !has(t, f, "one") })

	for what, change := range map[string]func(){
		"flushed and made anew": func() { store.another(revoked.State{Epoch: "b"}) },
		"a backup":              func() { store.another(revoked.State{Epoch: "b", Change: -1}) },
		"a cut that is undone":  func() { store.another(revoked.State{Epoch: "b", Change: 5, Cut: -1}) },
		"another with more":     func() { store.another(revoked.State{Epoch: "c", Change: 100, Cut: 100}) },
	} {
		lost := f.Report().Lost
		change()
		settled()
		if !has(t, f, "two") || !has(t, f, "short") {
			t.Errorf("%s: it takes back what was withdrawn", what)
		}
		if f.Report().Lost == lost {
			t.Errorf("%s: nobody is told", what)
		}
		store.add(what, revoked.Window{})
		await(t, what+" and an addition", func() bool { return has(t, f, what) })
	}

	// After an error everything is read, and what the next server has not seen stays.
	store.do(func() { store.err = errGone })
	await(t, "an error", func() bool { return f.Report().Err != nil })
	if !has(t, f, "two") {
		t.Error("an error takes back what was withdrawn")
	}
	store.do(func() { store.err = nil; clear(store.records); clear(store.changed) })
	await(t, "the store to be back", func() bool { return f.Report().Err == nil })
	if !has(t, f, "two") {
		t.Error("a server without it takes back what was withdrawn")
	}
	store.do(func() { store.state.Cut++ })
	await(t, "a removal that is meant", func() bool { return !has(t, f, "two") })
}

// TestFirstRead: who asks before anything was read waits, or is told that it would; and nobody waits for ever.
func TestFirstRead(t *testing.T) {
	t.Parallel()
	store := newFake()
	store.hold = make(chan struct{})
	store.add("one", revoked.Window{})
	f := follow(t, store)
	if _, _, err := f.Current(t.Context(), true); !errors.Is(err, policy.ErrWouldWait) {
		t.Errorf("who must not wait: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := f.Current(ctx, false); err == nil {
		t.Error("an ended context waits")
	}
	answers := make(chan bool)
	go func() {
		set, _, _ := f.Current(context.Background(), false)
		answers <- set.Withdraws(revoked.Name{Claim: "jti", Value: "one"}, 0, 0)
	}()
	close(store.hold)
	if !<-answers {
		t.Error("who waited does not see what was read")
	}
	idle := revoked.NewFollower(revoked.Source{}, nil, time.Now, slog.New(slog.DiscardHandler))
	if set, _, err := idle.Current(t.Context(), false); set != nil || err != nil {
		t.Errorf("nothing follows: %v, %v", set, err)
	}
	read := revoked.NewFollower(revoked.Source{}, []revoked.Record{{Name: revoked.Name{Claim: "jti", Value: "x"}, Windows: []revoked.Window{{}}}}, time.Now, slog.New(slog.DiscardHandler))
	if !has(t, read, "x") || !read.Report().Attempted {
		t.Error("what was read already is not in force")
	}
}
