package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/backchannel"
	"github.com/kasbah-authz/kasbah/keys/internal/revoked"
)

// Options are what a [Store] needs. Now is required.
type Options struct {
	// Client fetches discovery documents and key sets. Its Transport is used and nothing else of it: redirects
	// to another host or from https to http are refused, and a fetch ends after 5 s. nil: a transport of
	// the Store's own, without a proxy.
	Client *http.Client
	// Now is the clock.
	Now func() time.Time
	// Logger is told of key sets that change or cannot be fetched; nil: nobody is.
	Logger *slog.Logger
	// Cache bounds the cache of verified credentials.
	Cache CacheLimits
}

// CacheLimits bound the cache of verified credentials; a zero field is its default.
type CacheLimits struct {
	MaxEntries int           // principals kept at the most, default 100000
	MaxBytes   uint64        // bytes that they may take together, estimated, default 256 MiB
	MaxAge     time.Duration // a credential is verified anew after this time, default 5m
}

func (l CacheLimits) withDefaults() CacheLimits {
	return CacheLimits{
		MaxEntries: cmp.Or(l.MaxEntries, 100_000),
		MaxBytes:   cmp.Or(l.MaxBytes, 256<<20),
		MaxAge:     cmp.Or(l.MaxAge, 5*time.Minute),
	}
}

// SetStatus says how one remote key set is.
type SetStatus struct {
	Source    string    // the URL that is asked first, without user information and query; unlike any other set's
	Keys      int       // usable keys that are in force
	Fetched   time.Time // when a good answer last came; the zero time for never
	Attempted bool      // whether a fetch has ended, well or not
	Err       error     // how the last one failed, nil when it did not
}

// CacheStats counts what the cache of verified credentials did since the Store was made.
type CacheStats struct {
	Hits    uint64 // credentials that were found
	Misses  uint64 // credentials that were verified, well or not
	Entries int    // principals in the cache now, about
}

// Store is what outlives a reload: the remote key sets, the tables of API keys, the revocations, and the cache of verified credentials. It is safe
// for use by many goroutines at once.
type Store struct {
	client      *http.Client
	now         func() time.Time
	logger      *slog.Logger
	cache       *cache
	inactive    *inactive
	generations atomic.Uint64
	logouts     backchannel.Guard

	mu          sync.Mutex
	sets        map[source]*remote
	tables      map[tableID]*keyTable
	revocations map[revocationID]*revoked.Follower
	running     context.Context // Run's own, under which sets that are first asked for later are fetched; nil while Run does not run
	group       sync.WaitGroup  // the loops of the sets and tables, and the questions to introspection servers
	answers     map[Answers]uint64
}

// NewStore returns an empty Store. It starts nothing: [Store.Run] does.
func NewStore(options Options) (*Store, error) {
	if options.Now == nil {
		return nil, errors.New("making a key store: Now is required")
	}
	logger := options.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	cache, err := newCache(options.Cache, options.Now, logger)
	if err != nil {
		return nil, err
	}
	inactive, err := newInactive(options.Now)
	if err != nil {
		return nil, err
	}
	return &Store{
		inactive: inactive, answers: map[Answers]uint64{},
		client: newClient(options.Client), now: options.Now, logger: logger, cache: cache,
		sets: map[source]*remote{}, tables: map[tableID]*keyTable{},
		revocations: map[revocationID]*revoked.Follower{},
	}, nil
}

// sweepInterval is how often principals whose time is over are looked for in the cache.
const sweepInterval = time.Minute

// Run fetches the remote key sets and reads the tables of API keys and the revocations at once, and keeps them fresh until ctx ends; then it waits for its
// goroutines and returns nil. Until it runs, a remote set has no keys. It is an error to run it twice
// at the same time.
func (s *Store) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.running != nil {
		s.mu.Unlock()
		return errors.New("running a key store: it runs already")
	}
	s.running = ctx
	for _, set := range s.sets {
		set.start(ctx, &s.group)
	}
	for _, table := range s.tables {
		table.start(ctx, &s.group)
	}
	for _, follower := range s.revocations {
		follower.Start(ctx, &s.group)
	}
	s.mu.Unlock()

	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
			s.cache.sweep()
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	s.running = nil // no set is started any more
	s.mu.Unlock()
	s.group.Wait()
	s.client.CloseIdleConnections()
	return nil
}

// begin runs a function until ctx of Run ends, which waits for it. It reports whether Run runs.
func (s *Store) begin(run func(ctx context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx := s.running
	if ctx == nil {
		return false
	}
	s.group.Go(func() { run(ctx) })
	return true
}

// Answers names the answers of one kind that a provider's introspection server gave.
type Answers struct {
	Provider string
	Outcome  string // active, inactive, or failed for none that could be used
}

func (s *Store) answered(provider, outcome string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[Answers{provider, outcome}]++
}

// Introspections counts what introspection servers have answered since the Store was made.
func (s *Store) Introspections() map[Answers]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.answers)
}

// remote returns the remote key set of that source, which is fetched from now on if Run runs.
func (s *Store) remote(from source) *remote {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, ok := s.sets[from]
	if !ok {
		set = &remote{
			source: from, label: s.label(from), client: s.client, now: s.now, logger: s.logger, wake: make(chan struct{}, 1),
			// Two sets of one source, one forgotten before the other, must not share a generation either.
			generation: func() uint64 { return s.generations.Add(1) },
		}
		s.sets[from] = set
	}
	if s.running != nil {
		set.start(s.running, &s.group)
	}
	return set
}

// keyTable returns what follows that table, from now on if Run runs.
func (s *Store) keyTable(id tableID, table Table, provider string) *keyTable {
	s.mu.Lock()
	defer s.mu.Unlock()
	followed, ok := s.tables[id]
	if !ok {
		followed = newKeyTable(id, table, provider, s.now, s.logger)
		s.tables[id] = followed
	}
	if s.running != nil {
		followed.start(s.running, &s.group)
	}
	return followed
}

// label returns what operators know a source by: its URL without what may be secret, and a number where another
// set's URL looks the same without it. The caller holds mu.
func (s *Store) label(from source) string {
	taken := make(map[string]bool, len(s.sets))
	for _, set := range s.sets {
		taken[set.label] = true
	}
	label := from.String()
	for n := 2; taken[label]; n++ {
		label = fmt.Sprintf("%s#%d", from, n)
	}
	return label
}

// Retain forgets the remote key sets and the tables of API keys that none of these providers uses, and the stores of revocations
// that are none of these. Call it when a reload was accepted, with all of its providers and its revocations.
func (s *Store) Retain(providers []*Provider, revocations ...*Revocations) {
	used, followed := map[*remote]bool{}, map[*keyTable]bool{}
	for _, provider := range providers {
		if provider.apiKeys != nil && provider.apiKeys.table != nil {
			followed[provider.apiKeys.table] = true
		}
		for _, source := range provider.sources() {
			if set, ok := source.(*remote); ok {
				used[set] = true
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for from, set := range s.sets {
		if !used[set] {
			set.stop()
			delete(s.sets, from)
		}
	}
	for id, table := range s.tables {
		if !followed[table] {
			table.stop()
			delete(s.tables, id)
		}
	}
	for id, follower := range s.revocations {
		if !slices.ContainsFunc(revocations, func(r *Revocations) bool { return r != nil && r.follow == follower }) {
			follower.Stop()
			delete(s.revocations, id)
		}
	}
}

// Tables returns the state of each table of API keys, ordered by provider.
func (s *Store) Tables() []TableStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]TableStatus, 0, len(s.tables))
	for _, table := range s.tables {
		all = append(all, table.report())
	}
	slices.SortFunc(all, func(a, b TableStatus) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Source, b.Source), b.Read.Compare(a.Read))
	})
	return all
}

// Sets returns the state of each remote key set, ordered by source.
func (s *Store) Sets() []SetStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]SetStatus, 0, len(s.sets))
	for _, set := range s.sets {
		all = append(all, set.state())
	}
	slices.SortFunc(all, func(a, b SetStatus) int { return cmp.Compare(a.Source, b.Source) })
	return all
}

// CacheStats returns the counts of the cache of verified credentials.
func (s *Store) CacheStats() CacheStats { return s.cache.stats() }
