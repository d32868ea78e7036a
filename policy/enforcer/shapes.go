package enforcer

import (
	"slices"
	"strings"
	"unsafe"
)

// shape is where patterns have names and where they have texts: /orders/:id and /users/:name have the same
// one. Among a million patterns there are few shapes.
type shape struct {
	segments
	confirm bool // the patterns hold more than their segments say

	keys   *symbols
	first  []symbol            // of each key, a pattern
	others map[symbol][]symbol // of a key with several, the others
}

func newShape(s segments, confirm bool) *shape {
	return &shape{
		segments: s, confirm: confirm, keys: newSymbols(0), others: map[symbol][]symbol{},
		first: []symbol{noSymbol}, // of the empty text, which is no key
	}
}

func (s *shape) add(key string, pattern symbol) {
	id := s.keys.add(key)
	if int(id) == len(s.first) {
		s.first = append(s.first, pattern)
		return
	}
	s.others[id] = append(s.others[id], pattern)
}

// shapes finds patterns of whole segments.
type shapes []*shape

func (x *shapes) add(s segments, confirm bool, pattern symbol) {
	at := slices.IndexFunc(*x, func(other *shape) bool {
		return other.count == s.count && other.names == s.names && other.rest == s.rest
	})
	if at < 0 {
		at = len(*x)
		*x = append(*x, newShape(s, confirm))
	}
	(*x)[at].add(s.key, pattern)
}

// of appends the patterns that match the text; confirm is asked about those that hold more than their segments.
func (x shapes) of(text string, found []symbol, m *meter, confirm func(symbol) (bool, error)) ([]symbol, error) {
	var buffer [maxKey]byte
	count := strings.Count(text, "/") + 1
	breaks := strings.IndexByte(text, '\n') >= 0
	for _, s := range x {
		if !s.fits(count) {
			continue
		}
		m.charge(1 + len(text)/stepBytes)
		if err := m.late(); err != nil {
			return nil, err
		}
		key, ok := s.keyOf(text, buffer[:0])
		if !ok {
			continue
		}
		at := s.keys.find(unsafe.String(unsafe.SliceData(key), len(key))) //nolint:gosec // only looked at
		if at == noSymbol {
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
