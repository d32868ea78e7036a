package server

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/kasbah-authz/kasbah/policy/enforcer"
	"github.com/kasbah-authz/kasbah/policy/table"
)

var errNoTables = errors.New("tables of databases are not read here")

// sources own what follows the tables that configurations name. A follower outlives a reload that names the same table; one
// that nobody names any more is ended. A nil *sources has no table.
type sources struct {
	options table.Options
	// all ends with close: what opens a table waits for a database. It is the context of no request.
	all     context.Context
	end     context.CancelFunc
	changed chan struct{} // holds at most one: that some table has changed since it was last taken

	mu        sync.Mutex
	started   bool
	followers map[table.Config]*source
	ended     sync.WaitGroup
}

type source struct {
	follower *table.Follower
	stop     context.CancelFunc // nil: it is not followed yet
}

// newSources returns sources that end with ctx, or with close.
func newSources(ctx context.Context, now func() time.Time, logger *slog.Logger) *sources {
	all, end := context.WithCancel(ctx)
	return &sources{
		options: table.Options{Now: now, Logger: logger}, all: all, end: end,
		changed: make(chan struct{}, 1), followers: map[table.Config]*source{},
	}
}

// open returns the follower of that table, and reads the table where there is none yet.
func (s *sources) open(cfg table.Config) (*table.Follower, error) {
	if s == nil {
		return nil, errNoTables
	}
	s.mu.Lock()
	known := s.followers[cfg]
	s.mu.Unlock()
	if known != nil {
		return known.follower, nil
	}
	// Only one goroutine loads, so that nobody else opens it meanwhile; and those who ask for the state do not wait.
	follower, err := table.Open(s.all, cfg, s.options)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.all.Err(); err != nil { // closed meanwhile
		follower.Close()
		return nil, err
	}
	s.followers[cfg] = &source{follower: follower}
	status := follower.Status()
	s.options.Logger.Info("policy source opened", "source", status.Source, "rows", status.Rows, "notified", status.Notified)
	return follower, nil
}

// retain ends what none of those reads name, and follows the rest once run is called.
func (s *sources) retain(reads ...tableVersions) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for cfg, source := range s.followers {
		named := slices.ContainsFunc(reads, func(read tableVersions) bool { _, ok := read[cfg]; return ok })
		switch {
		case !named:
			s.drop(cfg, source)
		case s.started && source.stop == nil:
			s.follow(source)
		}
	}
}

// follow and drop are called under mu.
func (s *sources) follow(source *source) {
	ctx, stop := context.WithCancel(s.all)
	source.stop = stop
	s.ended.Go(func() {
		_ = source.follower.Run(ctx, s.notify) // it has no error
	})
}

func (s *sources) drop(cfg table.Config, source *source) {
	if source.stop != nil {
		source.stop() // run waits for it
	} else {
		source.follower.Close()
	}
	delete(s.followers, cfg)
}

// notify says that a table has changed.
func (s *sources) notify() {
	select {
	case s.changed <- struct{}{}:
	default: // it is said already
	}
}

// changes has a value when some table has changed.
func (s *sources) changes() <-chan struct{} {
	if s == nil {
		return nil
	}
	return s.changed
}

// run follows every table that was opened, and those that are opened from now on, until ctx ends. It returns when all
// have ended.
func (s *sources) run(ctx context.Context) error {
	s.mu.Lock()
	s.started = true
	for _, source := range s.followers {
		s.follow(source)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.close()
	return nil
}

// close ends everything, and waits.
func (s *sources) close() {
	s.end()
	s.mu.Lock()
	s.started = false
	for cfg, source := range s.followers {
		s.drop(cfg, source)
	}
	s.mu.Unlock()
	s.ended.Wait()
}

// statuses returns the state of each table, in the order of their names. Two followers of one table, as there are while
// a new password is tried, are one: the one that is worse off.
func (s *sources) statuses() []table.Status {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	worst := map[string]table.Status{}
	for _, source := range s.followers {
		status := source.follower.Status()
		if other, ok := worst[status.Source]; !ok || status.Read.Before(other.Read) {
			worst[status.Source] = status
		}
	}
	return slices.SortedFunc(maps.Values(worst), func(a, b table.Status) int { return cmp.Compare(a.Source, b.Source) })
}

// tableVersions are the tables that one load read, each with its version; 0 for one that could not be read.
type tableVersions map[table.Config]uint64

// outdated reports whether some table is not as it was when it was read, or could not be read.
func (s *sources) outdated(read tableVersions) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for cfg, version := range read {
		if version == 0 {
			return true
		}
		if source := s.followers[cfg]; source != nil {
			if _, now := source.follower.Current(); now != version {
				return true
			}
		}
	}
	return false
}

// tables reads the tables of one load, each once, so that everything that one Snapshot is built of sees the same rows.
type tables struct {
	sources *sources
	read    map[table.Config]*enforcer.Table
	version tableVersions
}

func newTables(s *sources) *tables {
	return &tables{sources: s, read: map[table.Config]*enforcer.Table{}, version: tableVersions{}}
}

func (t *tables) table(cfg table.Config) (*enforcer.Table, error) {
	if t == nil {
		return nil, errNoTables
	}
	if known := t.read[cfg]; known != nil {
		return known, nil
	}
	t.version[cfg] = 0
	follower, err := t.sources.open(cfg)
	if err != nil {
		return nil, err
	}
	t.read[cfg], t.version[cfg] = follower.Current()
	return t.read[cfg], nil
}
