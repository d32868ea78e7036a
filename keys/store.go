package keys

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/backchannel"
	"github.com/kasbah-authz/kasbah/keys/internal/mint"
	"github.com/kasbah-authz/kasbah/keys/internal/outbound"
	"github.com/kasbah-authz/kasbah/keys/internal/replay"
	"github.com/kasbah-authz/kasbah/keys/internal/revoked"
)

// Options are what a [Store] needs. Now is required.
type Options struct {
	// Client, where its Transport is not nil, reaches the providers' servers in place of what they say under `client`. Nothing
	// else of it is used: redirects to another host or from https to http are refused, and a fetch ends after 5 s.
	Client *http.Client
	// Proxy says through which proxy a request goes whose provider names none; nil: none.
	Proxy func(*http.Request) (*url.URL, error)
	// Now is the clock.
	Now func() time.Time
	// Logger is told of key sets that change or cannot be fetched; nil: nobody is.
	Logger *slog.Logger
	// Cache bounds the cache of verified credentials.
	Cache CacheLimits
	// KeySets says how remote key sets are refreshed and kept.
	KeySets KeySetOptions
}

// KeySetOptions say how remote key sets are refreshed and kept; a zero field is its default.
type KeySetOptions struct {
	Folder     string        // where the last good sets are kept, default nowhere
	MaxAge     time.Duration // since it was last fetched, after which a set counts no longer, default 24h
	MinRefresh time.Duration // between two fetches at the least, but for an unknown key id, default 30s
	MaxRefresh time.Duration // between two fetches at the most, default 1h
}

func (o KeySetOptions) withDefaults() KeySetOptions {
	return KeySetOptions{o.Folder, cmp.Or(o.MaxAge, 24*time.Hour), cmp.Or(o.MinRefresh, 30*time.Second), cmp.Or(o.MaxRefresh, time.Hour)}
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
	Fetched   time.Time // when a good answer last came, to a former process too; the zero time for never
	Expired   bool      // that is too long ago, and the keys are not in force any more
	Kept      bool      // the set is that of a former process, and was not fetched since
	Attempted bool      // whether a fetch has ended, well or not
	Err       error     // how the last one failed, nil when it did not
}

// CacheStats counts what the cache of verified credentials did since the Store was made.
type CacheStats struct {
	Hits    uint64 // credentials that were found
	Misses  uint64 // credentials that were verified, well or not
	Entries int    // principals in the cache now, about
}

// Store is what outlives a reload: the remote key sets, the tables of API keys, the revocations, and the caches of credentials. It is safe
// for use by many goroutines at once.
type Store struct {
	replaced    *http.Client // in place of all others; nil: nothing is replaced
	proxy       outbound.Proxy
	now         func() time.Time
	logger      *slog.Logger
	cache       *cache
	keySets     KeySetOptions
	kept        *keptSets // nil: none are
	inactive    *inactive
	hashings    chan struct{} // one in it for each password that is hashed now
	generations atomic.Uint64
	nonceKey    [32]byte // of the process, for nonces that no secret is configured for
	used        *replay.Memory
	replays     replayCounts
	logouts     backchannel.Guard

	mu          sync.Mutex
	clients     map[outbound.Settings]*http.Client
	sets        map[source]*remote
	tables      map[tableID]*keyTable
	revocations map[revocationID]*revoked.Follower
	minted      *mint.Cache
	places      map[any]*sharedReplays // where replicas remember proofs together
	running     context.Context        // Run's own, under which sets that are first asked for later are fetched; nil while Run does not run
	group       sync.WaitGroup         // the loops of the sets and tables, the questions to servers, and passwords that are hashed
	answers     map[Answers]uint64
	more        map[Answers]uint64 // of those who are asked more of callers
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
	minted, err := mint.NewCache()
	if err != nil {
		return nil, err
	}
	s := &Store{
		used: replay.NewMemory(options.Now), minted: minted, inactive: inactive, hashings: make(chan struct{}, hashings()), answers: map[Answers]uint64{}, more: map[Answers]uint64{},
		proxy: options.Proxy, now: options.Now, logger: logger, cache: cache,
		clients: map[outbound.Settings]*http.Client{}, sets: map[source]*remote{}, tables: map[tableID]*keyTable{}, places: map[any]*sharedReplays{},
		revocations: map[revocationID]*revoked.Follower{},
	}
	_, _ = rand.Read(s.nonceKey[:]) // which never fails
	s.keySets = options.KeySets.withDefaults()
	s.kept = newKeptSets(s.keySets, logger)
	if options.Client != nil && options.Client.Transport != nil {
		s.replaced = options.Client
	}
	return s, nil
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
			s.minted.Sweep(s.now())
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	s.running = nil // no set is started any more
	s.mu.Unlock()
	s.group.Wait()
	s.closeIdle()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retainReplays(nil)
}

// closeIdle closes the connections that nobody uses.
func (s *Store) closeIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replaced != nil {
		s.replaced.CloseIdleConnections()
	}
	for _, client := range s.clients {
		client.CloseIdleConnections()
	}
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

// Enrichments counts what servers that are asked more of callers have answered since the Store was made: ok, refused where one
// disowned the token, or failed for no answer that could be used.
func (s *Store) Enrichments() map[Answers]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.more)
}

// remote returns the remote key set of that source, which is fetched from now on if Run runs.
func (s *Store) remote(from source) (*remote, error) {
	client, err := s.client(from.reach)
	if err != nil {
		return nil, err
	}
	var last *keySet
	var fetched time.Time
	if !s.knows(from) { // a file is read, and requests may wait for mu
		last, fetched = s.kept.load(from, s.now())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	set, ok := s.sets[from]
	if !ok {
		set = &remote{
			source: from, label: s.label(from), client: sameHost(client), limits: s.keySets, kept: s.kept, now: s.now, logger: s.logger, wake: make(chan struct{}, 1),
			// Two sets of one source, one forgotten before the other, must not share a generation either.
			generation: func() uint64 { return s.generations.Add(1) },
		}
		if last != nil {
			last.generation = set.generation()
			set.enforce(last, fetched, true)
			set.saved, set.savedAt = last.digest, fetched
		}
		s.sets[from] = set
	}
	if s.running != nil {
		set.start(s.running, &s.group)
	}
	return set, nil
}

func (s *Store) knows(from source) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sets[from] != nil
}

// KeptFailures returns how often a key set that was kept could not be read or used, and how often one could not be kept.
func (s *Store) KeptFailures() (reads, writes uint64) {
	if s.kept == nil {
		return 0, 0
	}
	return s.kept.reads.Load(), s.kept.writes.Load()
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

// Retain forgets the remote key sets, tables of API keys, connections and shared memories of proofs that none of these providers uses, and the
// stores of revocations that are none of these. Call it when a reload was accepted, with all of its providers and its revocations.
func (s *Store) Retain(providers []*Provider, revocations ...*Revocations) {
	used, followed, reached := map[*remote]bool{}, map[*keyTable]bool{}, map[outbound.Settings]bool{}
	for _, provider := range providers {
		reached[provider.reach] = true
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
	if err := s.retainReplays(providers); err != nil {
		s.logger.Warn("a connection did not close well", "err", err)
	}
	for id, table := range s.tables {
		if !followed[table] {
			table.stop()
			delete(s.tables, id)
		}
	}
	for settings, client := range s.clients {
		if !reached[settings] {
			client.CloseIdleConnections()
			delete(s.clients, settings)
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
