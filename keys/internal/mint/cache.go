package mint

import (
	"crypto/sha256"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	// maxCached is how many bytes minted tokens may take together, estimated.
	maxCached = 64 << 20
	// cachedEntry is what an entry takes beside its token: key, node and queues of the cache.
	cachedEntry = 300
)

// statement is the SHA-256 of all that a token says, but for its id and times, and of how it is signed.
type statement [sha256.Size]byte

// Cache keeps minted tokens for a part of their time. It is bounded, and takes no lock to read.
type Cache struct {
	tokens  *otter.Cache[statement, *minted]
	minted  atomic.Uint64
	reused  atomic.Uint64
	refused atomic.Uint64
}

type minted struct {
	token string
	until time.Time // from then on another one is minted
}

// Stats counts what Minters did since the Cache was made.
type Stats struct {
	Minted  uint64 // tokens that were signed
	Reused  uint64 // tokens that were found in the cache
	Refused uint64 // tokens that could not be made
}

// NewCache returns an empty Cache.
func NewCache() (*Cache, error) {
	tokens, err := otter.New(&otter.Options[statement, *minted]{
		MaximumWeight: maxCached,
		Weigher:       func(_ statement, m *minted) uint32 { return uint32(cachedEntry + len(m.token)) },
		Executor:      func(task func()) { task() },
	})
	if err != nil {
		return nil, fmt.Errorf("making the cache of minted tokens: %w", err)
	}
	return &Cache{tokens: tokens}, nil
}

func (c *Cache) get(key statement, now time.Time) (string, bool) {
	m, ok := c.tokens.GetIfPresent(key)
	if !ok || !now.Before(m.until) {
		return "", false
	}
	return m.token, true
}

func (c *Cache) put(key statement, token string, until time.Time) {
	c.tokens.Set(key, &minted{token, until})
}

// Sweep removes what is of no use any more.
func (c *Cache) Sweep(now time.Time) {
	for key, m := range c.tokens.All() {
		if !now.Before(m.until) {
			c.tokens.ComputeIfPresent(key, func(old *minted) (*minted, otter.ComputeOp) {
				if now.Before(old.until) { // replaced meanwhile
					return old, otter.CancelOp
				}
				return nil, otter.InvalidateOp
			})
		}
	}
}

// Stats returns the counts.
func (c *Cache) Stats() Stats {
	return Stats{Minted: c.minted.Load(), Reused: c.reused.Load(), Refused: c.refused.Load()}
}
