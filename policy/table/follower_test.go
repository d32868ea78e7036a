package table_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/kasbah-authz/kasbah/policy/enforcer"
	"github.com/kasbah-authz/kasbah/policy/table"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait. Only what never comes runs into it.
const patience = 30 * time.Second

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// following is a Follower that runs until the test ends.
type following struct {
	*table.Follower
	t       testing.TB
	log     *logBuffer
	changes chan struct{}
}

func options(log *logBuffer) table.Options {
	return table.Options{Now: time.Now, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

// open opens a table that is not followed.
func open(t testing.TB, cfg table.Config) *table.Follower {
	t.Helper()
	f, err := table.Open(t.Context(), cfg, options(&logBuffer{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func follow(t testing.TB, cfg table.Config) *following {
	t.Helper()
	log := &logBuffer{}
	f, err := table.Open(t.Context(), cfg, options(log))
	if err != nil {
		t.Fatal(err)
	}
	running := &following{Follower: f, t: t, log: log, changes: make(chan struct{}, 1)}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error)
	go func() {
		ended <- f.Run(ctx, func() {
			select {
			case running.changes <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return running
}

// awaitTable waits for changes until the table satisfies the condition.
func (f *following) awaitTable(what string, holds func(*enforcer.Table) bool) *enforcer.Table {
	f.t.Helper()
	limit := time.After(patience)
	for {
		if now, _ := f.Current(); holds(now) {
			return now
		}
		select {
		case <-f.changes:
		case <-limit:
			now, version := f.Current()
			f.t.Fatalf("%s: not within %s; version %d has %d rows, %+v\n%s", what, patience, version, len(now.Rows), f.Status(), f.log)
		}
	}
}

func (f *following) awaitRows(want ...enforcer.Row) *enforcer.Table {
	f.t.Helper()
	return f.awaitTable("the rows", func(now *enforcer.Table) bool { return cmp.Equal(now.Rows, want) })
}

// awaitStatus waits until the status satisfies the condition.
func (f *following) awaitStatus(what string, holds func(table.Status) bool) table.Status {
	f.t.Helper()
	return awaitStatus(f.t, what, f.Follower, holds)
}

func awaitStatus(t testing.TB, what string, f *table.Follower, holds func(table.Status) bool) table.Status {
	t.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if status := f.Status(); holds(status) {
			return status
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not within %s: %+v", what, patience, f.Status())
		}
	}
}

func row(id int64, fields ...string) enforcer.Row { return enforcer.Row{ID: id, Fields: fields} }

func checkRows(t testing.TB, f *table.Follower, want ...enforcer.Row) {
	t.Helper()
	now, _ := f.Current()
	if diff := cmp.Diff(want, now.Rows); diff != "" {
		t.Errorf("the rows (-want +got):\n%s", diff)
	}
}
