package index

import (
	"slices"
	"strings"
	"unsafe"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/pattern"
)

// shape is where patterns have names and where they have texts: /orders/:id and /users/:name have the same
// one. Among a million patterns there are few shapes.
type shape struct {
	pattern.Segments
	confirm bool // the patterns hold more than their segments say

	keys   *Symbols
	first  []Symbol            // of each key, a pattern
	others map[Symbol][]Symbol // of a key with several, the others
}

func newShape(s pattern.Segments, confirm bool) *shape {
	return &shape{
		Segments: s, confirm: confirm, keys: NewSymbols(0), others: map[Symbol][]Symbol{},
		first: []Symbol{NoSymbol}, // of the empty text, which is no key
	}
}

func (s *shape) add(key string, pattern Symbol) {
	id := s.keys.Add(key)
	if int(id) == len(s.first) {
		s.first = append(s.first, pattern)
		return
	}
	s.others[id] = append(s.others[id], pattern)
}

// shapes finds patterns of whole segments.
type shapes []*shape

func (x *shapes) add(s pattern.Segments, confirm bool, pattern Symbol) {
	at := slices.IndexFunc(*x, func(other *shape) bool {
		return other.Count == s.Count && other.Names == s.Names && other.Rest == s.Rest
	})
	if at < 0 {
		at = len(*x)
		*x = append(*x, newShape(s, confirm))
	}
	(*x)[at].add(s.Key, pattern)
}

// of appends the patterns that match the text; confirm is asked about those that hold more than their segments.
func (x shapes) of(text string, found []Symbol, m *Meter, confirm func(Symbol) (bool, error)) ([]Symbol, error) {
	var buffer [maxKey]byte
	count := strings.Count(text, "/") + 1
	breaks := strings.IndexByte(text, '\n') >= 0
	for _, s := range x {
		if !s.Fits(count) {
			continue
		}
		m.Charge(1 + len(text)/StepBytes)
		if err := m.Late(); err != nil {
			return nil, err
		}
		key, ok := s.KeyOf(text, buffer[:0])
		if !ok {
			continue
		}
		at := s.keys.Find(unsafe.String(unsafe.SliceData(key), len(key))) //nolint:gosec // only looked at
		if at == NoSymbol {
			continue
		}
		candidates := append(append(found, s.first[at]), s.others[at]...)
		if !s.confirm && !breaks {
			found = candidates
			continue
		}
		for _, id := range candidates[len(found):] {
			holds, err := confirm(id)
			if err != nil {
				return nil, err
			}
			if holds {
				found = append(found, id)
			}
		}
	}
	return found, nil
}
