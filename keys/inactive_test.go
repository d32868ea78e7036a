package keys

import (
	"crypto/sha256"
	"encoding/binary"
	"runtime"
	"testing"
	"time"
)

// A flood of tokens that nobody knows takes a bounded number of places, and none of those of good tokens (THREATS a.6, poisoning).
func TestInactiveTokensAreBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	tokens, err := newInactive(func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	key := func(n uint64) cacheKey {
		return cacheKey{credential: sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))}
	}
	heap := func() uint64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	fill := func(from, to uint64) {
		for n := from; n < to; n++ {
			tokens.add(key(n), errInactive, time.Minute)
		}
	}
	fill(0, 2*maxInactive)
	before := heap()
	fill(2*maxInactive, 10*maxInactive)
	if after := heap(); after > before+before/2+1<<20 {
		t.Errorf("the heap has grown from %d to %d bytes", before, after)
	}
	if got := tokens.tokens.EstimatedSize(); got > maxInactive+maxInactive/10 || got < maxInactive/2 {
		t.Errorf("%d tokens are remembered", got)
	}
	tokens.add(key(1), errAudience, 0) // a provider that remembers none
	tokens.add(key(2), errAudience, time.Second)
	now = now.Add(time.Second)
	if err := tokens.fault(key(2)); err != nil {
		t.Errorf("after its time: %v", err)
	}
	runtime.KeepAlive(tokens)
}
