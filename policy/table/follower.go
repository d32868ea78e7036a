package table

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

const (
	// openTimeout bounds the first connection and the first read together.
	openTimeout = 2 * time.Minute
	// leastDelay and mostDelay bound the time between two attempts to connect.
	leastDelay = 250 * time.Millisecond
	mostDelay  = 30 * time.Second
	// leastPoll keeps a slip of the pen from asking a database all the time.
	leastPoll = 10 * time.Millisecond
)

// Secret is a text that prints as [redacted].
type Secret string

// String returns "[redacted]".
func (Secret) String() string { return "[redacted]" }

// GoString returns "[redacted]".
func (Secret) GoString() string { return "[redacted]" }

// MarshalText returns "[redacted]".
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// LogValue returns "[redacted]".
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Config says which table is followed. Two that are equal name the same table. Exactly one of Postgres and SQLite is set.
type Config struct {
	// Postgres is a connection string of libpq's kinds: a URL or keywords and values. What it leaves out comes from the
	// PG… environment variables and the password file, as with psql.
	Postgres Secret
	// SQLite is the path of a database file. It is opened for reading only.
	SQLite string
	// Table is the table's name, or schema.table; empty: casbin_rule.
	Table string
	// Poll is how often the database is asked whether the table changed, at least 10ms. Where PostgreSQL tells of
	// changes by itself, it is how often the connection is tried.
	Poll time.Duration
}

// Options are what a Follower needs beside its Config. Both are required.
type Options struct {
	Now    func() time.Time
	Logger *slog.Logger
}

// Status says how up to date the Table of a Follower is.
type Status struct {
	// Source names the database and the table, without anything secret.
	Source string
	// Connected: the last thing that was asked of the database was answered.
	Connected bool
	// Notified: PostgreSQL tells of changes by itself. Else the table is polled.
	Notified bool
	// Read is when the Table was last known to be that of the database.
	Read time.Time
	// Err is why it is not now; nil where it is.
	Err error
	// Rows is the number of rows of the Table.
	Rows int
}

// connection is one open connection to a database, for one goroutine at a time. An error of its methods makes it useless.
type connection interface {
	// read reads the whole table.
	read(ctx context.Context, known content) (content, error)
	// follow waits until there is something to ask and returns the table as it then is. It is the known content where
	// that is still what the database has.
	follow(ctx context.Context, known content) (content, error)
	notified() bool
	close()
}

// Follower has one table and follows its changes.
type Follower struct {
	options Options
	source  string
	dial    func(ctx context.Context) (connection, error)
	first   connection // of Open, for Run; nil afterwards

	known content // Run's own
	state atomic.Pointer[state]
}

type state struct {
	table   *enforcer.Table
	version uint64
	status  Status
}

// Open connects and reads the table once. The Follower keeps the connection for Run; where Run is not called, Close
// gives it back. An error about one row is a [*policy.Finding] that names the table and the row.
func Open(ctx context.Context, cfg Config, options Options) (*Follower, error) {
	if options.Now == nil || options.Logger == nil {
		return nil, errors.New("opening a table: Now and Logger are required")
	}
	f, err := newFollower(cfg, options)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if f.first, err = f.dial(ctx); err != nil {
		return nil, err
	}
	next, err := f.first.read(ctx, content{})
	if err != nil {
		f.Close()
		return nil, err
	}
	f.publish(next, f.first.notified())
	return f, nil
}

func newFollower(cfg Config, options Options) (*Follower, error) {
	if cfg.Table == "" {
		cfg.Table = DefaultName
	}
	quoted, err := quote(cfg.Table)
	if err != nil {
		return nil, err
	}
	if cfg.Poll < leastPoll {
		return nil, fmt.Errorf("the time between two polls is %v; the least is %v", cfg.Poll, leastPoll)
	}
	f := &Follower{options: options}
	switch {
	case (cfg.Postgres == "") == (cfg.SQLite == ""):
		return nil, errors.New("opening a table: either Postgres or SQLite says where it is")
	case cfg.SQLite != "":
		settings := sqliteSettings{path: cfg.SQLite, table: cfg.Table, quoted: quoted, poll: cfg.Poll}
		f.source, f.dial = settings.source(), settings.dial
	default:
		settings, err := newPostgresSettings(cfg, quoted, options.Now)
		if err != nil {
			return nil, err
		}
		f.source, f.dial = settings.source, settings.dial
	}
	return f, nil
}

// Close ends the connection of Open, where Run is not called. It must not be called beside or after Run.
func (f *Follower) Close() {
	if f.first != nil {
		f.first.close()
		f.first = nil
	}
}

// Current returns the table as it was last read, and a number that grows with every change.
func (f *Follower) Current() (table *enforcer.Table, version uint64) {
	s := f.state.Load()
	return s.table, s.version
}

// Status says how up to date Current is.
func (f *Follower) Status() Status { return f.state.Load().status }

// Run follows the table until ctx ends, and then returns nil. It calls changed, in its own goroutine, after each
// change of what Current returns. It may be called once.
func (f *Follower) Run(ctx context.Context, changed func()) error {
	conn := f.first
	f.first = nil
	defer func() {
		if conn != nil {
			conn.close()
		}
	}()
	delay := leastDelay
	for ctx.Err() == nil {
		next, err := f.step(ctx, &conn)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			if conn != nil {
				conn.close()
				conn = nil
			}
			f.failed(err)
			if !sleep(ctx, delay/2+rand.N(delay/2)) { //nolint:gosec // G404: the jitter keeps replicas apart, it is no secret
				break
			}
			delay = min(delay*2, mostDelay)
			continue
		}
		delay = leastDelay
		if f.publish(next, conn.notified()) {
			changed()
		}
	}
	return nil
}

// step brings the table up to date once: by what the connection follows, or, on a new one, by reading all of it, because
// what was said in between nobody heard.
func (f *Follower) step(ctx context.Context, conn *connection) (content, error) {
	if *conn != nil {
		return (*conn).follow(ctx, f.known)
	}
	dialled, err := f.dial(ctx)
	if err != nil {
		return content{}, err
	}
	*conn = dialled
	return dialled.read(ctx, f.known)
}

// publish puts a content in force that is the database's now, and reports whether it is another one.
func (f *Follower) publish(next content, notified bool) bool {
	old := f.state.Load()
	s := state{table: next.table, version: 1}
	if old != nil {
		s.version = old.version
		if next.table != old.table {
			s.version++
		}
		if old.status.Err != nil {
			f.options.Logger.Info("policy source is back", "source", f.source, "rows", len(next.table.Rows))
		}
	}
	s.status = Status{Source: f.source, Connected: true, Notified: notified, Read: f.options.Now(), Rows: len(next.table.Rows)}
	f.known = next
	f.state.Store(&s)
	return old == nil || s.version != old.version
}

// failed notes that what there is may be out of date.
func (f *Follower) failed(err error) {
	s := *f.state.Load()
	if s.status.Err == nil || s.status.Err.Error() != err.Error() {
		f.options.Logger.Warn("policy source is out of reach, its last table stays in force", "source", f.source, "error", err)
	}
	s.status.Connected, s.status.Err = false, err
	f.state.Store(&s)
}

// sleep reports whether that time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
