package backchannel

import (
	"errors"
	"sync"
	"time"
)

const (
	// perSecond is how many tokens are verified in a second, and burst how many at once: some percent of one processor.
	perSecond = 200
	burst     = 400
	// maxSeen is how many tokens are remembered, each until its end and maxLeeway more.
	maxSeen   = 100_000
	maxLeeway = 10 * time.Minute
)

// Guard bounds what the endpoint does, whatever configuration it serves. The zero value is ready.
type Guard struct {
	mu     sync.Mutex
	tokens float64   // of the bucket; filled when first used
	filled time.Time // zero: never
	seen   map[[32]byte]time.Time
	swept  time.Time

	complained time.Time
}

// ErrBusy is what [Guard.Allow] refuses with.
var ErrBusy = errors.New("more logout tokens came at once than are verified")

// complainInterval is the least time between two lines of the log about tokens that strangers sent.
const complainInterval = 10 * time.Second

// Allow returns ErrBusy where no more tokens may be verified now.
func (g *Guard) Allow(now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.filled.IsZero() {
		g.tokens = burst
	} else if passed := now.Sub(g.filled).Seconds(); passed > 0 {
		g.tokens = min(burst, g.tokens+passed*perSecond)
	}
	g.filled = now
	if g.tokens < 1 {
		return ErrBusy
	}
	g.tokens--
	return nil
}

// complain reports whether the log is to hear of a refused token.
func (g *Guard) complain(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.complained.IsZero() && now.Sub(g.complained) < complainInterval {
		return false
	}
	g.complained = now
	return true
}

// first reports whether a token was not seen before, and remembers it until its end. Where there is no room it was.
func (g *Guard) first(id [32]byte, until, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.seen == nil {
		g.seen = map[[32]byte]time.Time{}
	}
	if len(g.seen) >= maxSeen && now.Sub(g.swept) >= time.Second {
		g.swept = now
		for id, end := range g.seen {
			if !now.Before(end) {
				delete(g.seen, id)
			}
		}
	}
	if end, ok := g.seen[id]; ok && now.Before(end) || len(g.seen) >= maxSeen {
		return false
	}
	g.seen[id] = until
	return true
}

// forget takes back that a token was seen: what it asked for did not happen, and its issuer may ask again.
func (g *Guard) forget(id [32]byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.seen, id)
}
