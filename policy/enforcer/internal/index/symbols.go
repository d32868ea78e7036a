package index

import (
	"hash/maphash"
	"strings"
)

// Symbol stands for a text that occurs in the policy: equal texts have equal symbols.
type Symbol uint32

// NoSymbol is the symbol of texts that do not occur. No rule has it.
const NoSymbol = ^Symbol(0)

// Symbols gives texts their symbols. It is a hash table without pointers, in which a text is found by two looks
// into memory that is not in the processor's caches, however many texts there are; and a million texts cost the
// garbage collector nothing. A table that others share is not added to; Extend makes one that is.
type Symbols struct {
	below *Symbols // holds the first symbols; nil for none
	first Symbol   // the first symbol that is not below
	seed  maphash.Seed
	slots []textSlot // a power of two of them, at most half of them taken
	texts []textSpan // by symbol
	bytes strings.Builder
}

// textSpan is where a text stands among the bytes of all.
type textSpan struct{ start, length uint32 }

type textSlot struct {
	hash uint32
	id   Symbol // one more than the symbol's number in this table; zero: the slot is free
	textSpan
}

// NewSymbols returns a table with room for about as many texts.
func NewSymbols(capacity int) *Symbols {
	s := &Symbols{seed: maphash.MakeSeed()}
	s.grow(max(capacity, 8))
	s.Add("") // so that the zero symbol is the empty text
	return s
}

// Extend returns a table with the same symbols, to which others can be added. It takes time in proportion to
// what has been added since the first table was made.
func (s *Symbols) Extend() *Symbols {
	if s.below == nil {
		extended := &Symbols{below: s, first: Symbol(len(s.texts)), seed: s.seed}
		extended.grow(8)
		return extended
	}
	extended := &Symbols{below: s.below, first: s.first, seed: s.seed}
	extended.grow(len(s.texts))
	for i := range s.texts {
		extended.Add(s.Text(s.first + Symbol(i)))
	}
	return extended
}

// Find returns the symbol of a text, or NoSymbol.
func (s *Symbols) Find(text string) Symbol {
	hash := maphash.String(s.seed, text)
	if s.below != nil {
		if slot := s.below.slot(text, hash); slot.id != 0 {
			return slot.id - 1
		}
	}
	if slot := s.slot(text, hash); slot.id != 0 {
		return s.first + slot.id - 1
	}
	return NoSymbol
}

// slot returns the slot that holds the text, or the free one where it belongs.
func (s *Symbols) slot(text string, hash uint64) *textSlot {
	mask := uint64(len(s.slots) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		slot := &s.slots[at]
		if slot.id == 0 || slot.hash == uint32(hash>>32) && s.of(slot.textSpan) == text {
			return slot
		}
	}
}

func (s *Symbols) of(span textSpan) string {
	return s.bytes.String()[span.start : span.start+span.length]
}

// Add returns the symbol of a text, which may be new.
func (s *Symbols) Add(text string) Symbol {
	if id := s.Find(text); id != NoSymbol {
		return id
	}
	if 2*(len(s.texts)+1) > len(s.slots) {
		s.grow(2 * len(s.texts))
	}
	span := textSpan{uint32(s.bytes.Len()), uint32(len(text))}
	s.bytes.WriteString(text)
	s.texts = append(s.texts, span)
	hash := maphash.String(s.seed, text)
	*s.slot(text, hash) = textSlot{uint32(hash >> 32), Symbol(len(s.texts)), span}
	return s.first + Symbol(len(s.texts)-1)
}

// grow makes room for that many texts.
func (s *Symbols) grow(capacity int) {
	size := 16
	for size < 2*capacity {
		size *= 2
	}
	s.slots = make([]textSlot, size)
	for i, span := range s.texts {
		text := s.of(span)
		hash := maphash.String(s.seed, text)
		*s.slot(text, hash) = textSlot{uint32(hash >> 32), Symbol(i + 1), span}
	}
}

// Text returns what the symbol stands for.
func (s *Symbols) Text(id Symbol) string {
	if id < s.first {
		return s.below.Text(id)
	}
	return s.of(s.texts[id-s.first])
}

// Count returns how many symbols there are.
func (s *Symbols) Count() int { return int(s.first) + len(s.texts) }
