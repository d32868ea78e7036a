package index

import (
	"net"
	"unsafe"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/pattern"
)

const (
	// maxEquivalent is how many patterns are looked at that match the same texts, and maxShapes how many shapes.
	maxEquivalent = 8
	maxShapes     = 1 << 10
	// maxUnindexed bounds how often patterns are asked that no index knows.
	maxUnindexed = 20_000_000
)

// Wider appends patterns that may match all that the pattern matches. A pattern is matched by those wider than it as if it
// were a text, and an expression that matches a few texts by those that match these.
func (x *Patterns) Wider(text string, found []Symbol) []Symbol {
	texts := []string{text}
	switch x.function {
	case "regexMatch":
		if few, ok := pattern.Texts(x.function, text); ok {
			texts = few[:1]
		}
	case "ipMatch":
		if address, _, err := net.ParseCIDR(text); err == nil {
			texts[0] = address.String()
		}
	}
	text = texts[0]
	found = append(found, some(x.equal[text])...)
	for _, length := range x.begins.lengths {
		if length > len(text) {
			break
		}
		found = append(found, some(x.begins.symbols[text[:length]])...)
	}
	found = x.widerShapes(text, found)
	found = x.widerBlocks(text, found)
	if len(x.matchers)*len(x.asks.known) > maxUnindexed {
		return found
	}
	for _, id := range x.asks.of(text, nil) {
		if holds, err := x.matchers[id].Match(text); holds && err == nil {
			found = append(found, id)
		}
	}
	return found
}

// some returns the first of patterns that match the same.
func some(patterns []Symbol) []Symbol { return patterns[:min(len(patterns), maxEquivalent)] }

func (x *Patterns) widerShapes(text string, found []Symbol) []Symbol {
	var buffer [maxKey]byte
	for _, s := range x.shapes[:min(len(x.shapes), maxShapes)] {
		key, ok := s.KeyOf(text, buffer[:0])
		if !ok {
			continue
		}
		if at := s.keys.Find(unsafe.String(unsafe.SliceData(key), len(key))); at != NoSymbol { //nolint:gosec // only looked at
			found = append(append(found, s.first[at]), some(s.others[at])...)
		}
	}
	return found
}

func (x *Patterns) widerBlocks(text string, found []Symbol) []Symbol {
	if len(x.bits) == 0 || net.ParseIP(text) == nil {
		return found
	}
	return x.findAddress(text, found)
}
