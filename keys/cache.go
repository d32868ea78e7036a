package keys

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/kasbah-authz/kasbah/policy"
)

// credentialDigest is the SHA-256 of a credential's bytes.
type credentialDigest [sha256.Size]byte

// cacheKey names a verified credential: who verified it, by which generation of keys, and its digest. The three
// stand beside each other in fields of fixed size, so that no two differing ones can run into one.
type cacheKey struct {
	provider   [sha256.Size]byte // of the provider's whole configuration
	generation uint64            // of its key set
	credential credentialDigest
}

// verified is a cached principal, with what is checked again on every hit.
type verified struct {
	principal *policy.Principal
	validity
	stale  time.Time // from then on the credential is verified anew
	weight uint32
}

// cache holds verified credentials, and only those. It is bounded, and takes no lock to read.
type cache struct {
	entries *otter.Cache[cacheKey, *verified]
	now     func() time.Time
	maxAge  time.Duration
	minimum uint32 // the least weight of an entry, which bounds their number
	hits    atomic.Uint64
	misses  atomic.Uint64
}

// maxEntry is more than any one entry takes, a token being no longer than maxToken.
const maxEntry = 1 << 20

func newCache(limits CacheLimits, now func() time.Time, logger *slog.Logger) (*cache, error) {
	limits = limits.withDefaults()
	if limits.MaxEntries < 0 || limits.MaxAge < 0 {
		return nil, fmt.Errorf("a limit of the credential cache is negative, and 0 would be the default")
	}
	entries := uint64(limits.MaxEntries)
	total := limits.MaxBytes
	if entries < math.MaxUint64/maxEntry {
		total = min(total, entries*maxEntry)
	}
	c := &cache{now: now, maxAge: limits.MaxAge}
	c.minimum = uint32(min(max((total+entries-1)/entries, 1), maxEntry)) // at most maxEntry, or total is 0 and below it
	var err error
	c.entries, err = otter.New(&otter.Options[cacheKey, *verified]{
		MaximumWeight: total,
		Weigher:       func(_ cacheKey, v *verified) uint32 { return v.weight },
		Logger:        cacheLogger{logger},
		// Its upkeep runs where it falls due, so that the cache has no goroutine that nobody waits for.
		Executor: func(task func()) { task() },
	})
	if err != nil {
		return nil, fmt.Errorf("making the credential cache: %w", err)
	}
	return c, nil
}

// get returns the principal of a credential that was verified before and is good now.
func (c *cache) get(key cacheKey) (*policy.Principal, bool) {
	v, ok := c.entries.GetIfPresent(key)
	if !ok {
		return nil, false
	}
	now := c.now()
	if !now.Before(v.stale) || v.check(now) != nil {
		return nil, false
	}
	c.hits.Add(1)
	return v.principal, true
}

// verifyOnce verifies a credential that get did not find, and keeps its principal. Calls at the same time
// for one key share one verification; one that waits for another's gives up when its ctx ends.
func (c *cache) verifyOnce(
	ctx context.Context, key cacheKey, verify func(now time.Time) (*verified, error),
) (*policy.Principal, error) {
	now := c.now()
	c.drop(key, now)
	v, err := c.entries.Get(ctx, key, otter.LoaderFunc[cacheKey, *verified](func(context.Context, cacheKey) (*verified, error) {
		c.misses.Add(1)
		v, err := verify(now)
		if err != nil {
			return nil, err
		}
		v.stale = now.Add(c.maxAge)
		v.weight = max(c.minimum, v.weight)
		return v, nil
	}))
	if err != nil {
		return nil, err
	}
	if err := v.check(now); err != nil { // another call's verification, by its own clock reading
		return nil, err
	}
	return v.principal, nil
}

// drop removes the entry of that key if it is of no use any more.
func (c *cache) drop(key cacheKey, now time.Time) {
	c.entries.ComputeIfPresent(key, func(old *verified) (*verified, otter.ComputeOp) {
		if old.usable(now) {
			return old, otter.CancelOp
		}
		return nil, otter.InvalidateOp
	})
}

func (v *verified) usable(now time.Time) bool { return now.Before(v.stale) && now.Before(v.expires) }

// sweep removes every entry that is of no use any more, so that a principal does not stay in memory long
// after its token expired.
func (c *cache) sweep() {
	now := c.now()
	for key, v := range c.entries.All() {
		if !v.usable(now) {
			c.drop(key, now)
		}
	}
}

func (c *cache) stats() CacheStats {
	return CacheStats{Hits: c.hits.Load(), Misses: c.misses.Load(), Entries: c.entries.EstimatedSize()}
}

// weigh estimates the bytes that an entry takes, of which text are the claims', that its strings share.
func weigh(p *policy.Principal, text int) uint32 {
	const entry = 600 // key, node and queues of the cache; verified and Principal themselves
	bytes := entry + text + weighValue(p.Claims)
	for _, list := range [][]string{p.Roles, p.Scopes} {
		for _, word := range list {
			bytes += 16 + len(word) // counted once more, in case it was escaped
		}
	}
	return uint32(min(bytes, maxEntry))
}

// weighValue estimates the bytes behind one value of decoded JSON.
func weighValue(value any) int {
	const word = 16 // an interface, or the header of a string
	switch value := value.(type) {
	case string:
		return word + len(value)
	case []any:
		bytes := 2 * word
		for _, element := range value {
			bytes += word + weighValue(element)
		}
		return bytes
	case map[string]any:
		bytes := 10 * word
		for name, element := range value {
			bytes += 4*word + len(name) + weighValue(element)
		}
		return bytes
	}
	return 2 * word
}

// cacheLogger hands otter's own warnings to our log.
type cacheLogger struct{ logger *slog.Logger }

// Warn logs a warning.
func (l cacheLogger) Warn(ctx context.Context, message string, err error) {
	l.logger.WarnContext(ctx, "the credential cache warns", "message", message, "err", err)
}

// Error logs an error.
func (l cacheLogger) Error(ctx context.Context, message string, err error) {
	l.logger.ErrorContext(ctx, "the credential cache has a fault", "message", message, "err", err)
}
