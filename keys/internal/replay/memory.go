// Package replay remembers what may be used once only, for as long as it would be good, in the memory of this process.
//
// A [Memory] is told of each use by a digest, by whom, and until when it must be known. It is bounded: where there is no room for
// one more it says so, and forgets nothing instead, because what it forgets could be used again.
package replay

import (
	"errors"
	"sync"
	"time"
)

// ErrFull is what a use is for which there is no room.
var ErrFull = errors.New("too many proofs are remembered already")

// ID names what is used: a digest of it.
type ID [32]byte

// Use is one use of what may be used once.
type Use struct {
	ID    ID
	Until time.Time // afterwards it is too old everywhere
}

// key is the half of an ID that is kept. Whoever finds two with the same half has two that go with one use.
type key [16]byte

// Memory is safe for use by many goroutines at once.
type Memory struct {
	now func() time.Time

	mu    sync.Mutex
	used  map[key]uint64  // by whom; 0 for nobody who may come again
	ends  map[int64][]key // by the second in which they may be forgotten
	swept int64           // what ends before this second is forgotten
}

// NewMemory returns a Memory of nothing.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, used: map[key]uint64{}, ends: map[int64][]key{}, swept: now().Unix()}
}

// Use remembers a use until then, and reports whether it is the first one. Who used it before is let in again, which is a request
// that is decided in two attempts; 0 is nobody. Where limit are remembered already it returns [ErrFull].
func (m *Memory) Use(id ID, by uint64, until time.Time, limit int) (first, again bool, err error) {
	now, k := m.now().Unix(), key(id[:])
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep(now)
	if user, known := m.used[k]; known {
		return false, by != 0 && user == by, nil
	}
	if len(m.used) >= limit {
		return false, false, ErrFull
	}
	end := max(until.Unix(), now) + 1 // the second of until is over then
	m.used[k] = by
	m.ends[end] = append(m.ends[end], k)
	return true, false, nil
}

// Spend lets nobody in again, whoever used it.
func (m *Memory) Spend(id ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.used[key(id[:])]; known {
		m.used[key(id[:])] = 0
	}
}

// Len is how many uses are remembered.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep(m.now().Unix())
	return len(m.used)
}

// sweep forgets what ends before now. The caller holds mu.
func (m *Memory) sweep(now int64) {
	switch {
	case now <= m.swept:
		return
	case now-m.swept > int64(len(m.ends)): // nobody came for long
		for end := range m.ends {
			if end < now {
				m.forget(end)
			}
		}
	default:
		for end := m.swept; end < now; end++ {
			m.forget(end)
		}
	}
	m.swept = now
}

func (m *Memory) forget(end int64) {
	for _, k := range m.ends[end] {
		delete(m.used, k)
	}
	delete(m.ends, end)
}
