package index

import (
	"math/bits"
	"unsafe"
)

// Postings maps 64-bit keys to lists of numbers, in the order in which they were given. It is built once and
// takes some 20 bytes a key and 4 a number, in two allocations, so that a million rules cost the garbage
// collector nothing.
type Postings struct {
	slots   []slot
	shift   uint
	numbers []uint32
}

type slot struct {
	key   uint64
	start uint32 // in numbers; of a single number the number itself, which saves a look into memory
	count uint32 // zero: the slot is free
}

// NewPostings builds a map of count entries, of which entry returns each.
func NewPostings(count int, entry func(i int) (key uint64, number uint32)) *Postings {
	size := 8
	for size < 2*count {
		size *= 2
	}
	p := &Postings{slots: make([]slot, size), shift: uint(64 - bits.TrailingZeros(uint(size)))}
	for i := range count {
		key, _ := entry(i)
		s := p.slot(key)
		s.key = key
		s.count++
	}
	p.shrink()
	start := uint32(0)
	for i := range p.slots {
		if s := &p.slots[i]; s.count > 1 {
			s.start = start
			start += s.count
		}
	}
	p.fill(count, int(start), entry)
	return p
}

// shrink makes the table fit the keys that there are, where many entries have the same.
func (p *Postings) shrink() {
	used := 0
	for i := range p.slots {
		if p.slots[i].count > 0 {
			used++
		}
	}
	size := 8
	for size < 2*used {
		size *= 2
	}
	if size == len(p.slots) {
		return
	}
	old := p.slots
	p.slots, p.shift = make([]slot, size), uint(64-bits.TrailingZeros(uint(size)))
	for i := range old {
		if old[i].count > 0 {
			*p.slot(old[i].key) = old[i]
		}
	}
}

func (p *Postings) fill(count, listed int, entry func(i int) (key uint64, number uint32)) {
	p.numbers = make([]uint32, listed)
	written := make([]uint32, len(p.slots))
	for i := range count {
		key, number := entry(i)
		at := p.find(key)
		s := &p.slots[at]
		if s.count == 1 {
			s.start = number
			continue
		}
		p.numbers[s.start+written[at]] = number
		written[at]++
	}
}

// slot returns the slot of a key, or the free one where it belongs.
func (p *Postings) slot(key uint64) *slot { return &p.slots[p.find(key)] }

func (p *Postings) find(key uint64) uint64 {
	mask := uint64(len(p.slots) - 1)
	at := Mix(key) >> p.shift
	for p.slots[at].count > 0 && p.slots[at].key != key {
		at = (at + 1) & mask
	}
	return at
}

// Of returns the numbers of a key.
func (p *Postings) Of(key uint64) []uint32 {
	s := p.slot(key)
	if s.count == 1 {
		return unsafe.Slice(&s.start, 1) //nolint:gosec // one number, which nobody writes to any more
	}
	return p.numbers[s.start : s.start+s.count : s.start+s.count]
}

// Count returns how many numbers a key has.
func (p *Postings) Count(key uint64) int { return int(p.slot(key).count) }

// Mix spreads a key over all bits. What is mixed are symbols of the policy, never what a caller sends.
func Mix(key uint64) uint64 {
	key ^= key >> 32
	key *= 0x9e3779b97f4a7c15
	key ^= key >> 29
	return key * 0xbf58476d1ce4e5b9
}
