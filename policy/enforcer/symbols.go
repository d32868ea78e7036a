package enforcer

import (
	"hash/maphash"
	"strings"
)

// symbol stands for a text that occurs in the policy: equal texts have equal symbols.
type symbol uint32

// noSymbol is the symbol of texts that do not occur. No rule has it.
const noSymbol = ^symbol(0)

// symbols gives texts their symbols. It is a hash table without pointers, in which a text is found by two looks
// into memory that is not in the processor's caches, however many texts there are; and a million texts cost the
// garbage collector nothing. A table that others share is not added to; extend makes one that is.
type symbols struct {
	below *symbols // holds the first symbols; nil for none
	first symbol   // the first symbol that is not below
	seed  maphash.Seed
	slots []textSlot // a power of two of them, at most half of them taken
	texts []textSpan // by symbol
	bytes strings.Builder
}

// textSpan is where a text stands among the bytes of all.
type textSpan struct{ start, length uint32 }

type textSlot struct {
	hash uint32
	id   symbol // one more than the symbol's number in this table; zero: the slot is free
	textSpan
}

func newSymbols(capacity int) *symbols {
	s := &symbols{seed: maphash.MakeSeed()}
	s.grow(max(capacity, 8))
	s.add("") // so that the zero symbol is the empty text
	return s
}

// extend returns a table with the same symbols, to which others can be added. It takes time in proportion to
// what has been added since the first table was made.
func (s *symbols) extend() *symbols {
	if s.below == nil {
		extended := &symbols{below: s, first: symbol(len(s.texts)), seed: s.seed}
		extended.grow(8)
		return extended
	}
	extended := &symbols{below: s.below, first: s.first, seed: s.seed}
	extended.grow(len(s.texts))
	for i := range s.texts {
		extended.add(s.text(s.first + symbol(i)))
	}
	return extended
}

// find returns the symbol of a text, or noSymbol.
func (s *symbols) find(text string) symbol {
	hash := maphash.String(s.seed, text)
	if s.below != nil {
		if slot := s.below.slot(text, hash); slot.id != 0 {
			return slot.id - 1
		}
	}
	if slot := s.slot(text, hash); slot.id != 0 {
		return s.first + slot.id - 1
	}
	return noSymbol
}

// slot returns the slot that holds the text, or the free one where it belongs.
func (s *symbols) slot(text string, hash uint64) *textSlot {
	mask := uint64(len(s.slots) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		slot := &s.slots[at]
		if slot.id == 0 || slot.hash == uint32(hash>>32) && s.of(slot.textSpan) == text {
			return slot
		}
	}
}

func (s *symbols) of(span textSpan) string {
	return s.bytes.String()[span.start : span.start+span.length]
}

// add returns the symbol of a text, which may be new.
func (s *symbols) add(text string) symbol {
	if id := s.find(text); id != noSymbol {
		return id
	}
	if 2*(len(s.texts)+1) > len(s.slots) {
		s.grow(2 * len(s.texts))
	}
	span := textSpan{uint32(s.bytes.Len()), uint32(len(text))}
	s.bytes.WriteString(text)
	s.texts = append(s.texts, span)
	hash := maphash.String(s.seed, text)
	*s.slot(text, hash) = textSlot{uint32(hash >> 32), symbol(len(s.texts)), span}
	return s.first + symbol(len(s.texts)-1)
}

// grow makes room for that many texts.
func (s *symbols) grow(capacity int) {
	size := 16
	for size < 2*capacity {
		size *= 2
	}
	s.slots = make([]textSlot, size)
	for i, span := range s.texts {
		text := s.of(span)
		hash := maphash.String(s.seed, text)
		*s.slot(text, hash) = textSlot{uint32(hash >> 32), symbol(i + 1), span}
	}
}

// text returns what the symbol stands for.
func (s *symbols) text(id symbol) string {
	if id < s.first {
		return s.below.text(id)
	}
	return s.of(s.texts[id-s.first])
}

// count returns how many symbols there are.
func (s *symbols) count() int { return int(s.first) + len(s.texts) }
