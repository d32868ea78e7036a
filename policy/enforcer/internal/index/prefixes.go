package index

import (
	"maps"
	"slices"
)

// prefixes finds those of many prefixes that a text begins with, by one look for each length that occurs.
type prefixes struct {
	symbols map[string][]Symbol
	lengths []int // that occur, ascending
	known   map[Symbol]bool
}

func newPrefixes() *prefixes {
	return &prefixes{symbols: map[string][]Symbol{}, known: map[Symbol]bool{}}
}

// clone returns prefixes to which others can be added, whatever is added to these.
func (p *prefixes) clone() *prefixes {
	cloned := &prefixes{symbols: make(map[string][]Symbol, len(p.symbols)), lengths: slices.Clone(p.lengths), known: maps.Clone(p.known)}
	for prefix, symbols := range p.symbols {
		cloned.symbols[prefix] = slices.Clip(symbols)
	}
	return cloned
}

func (p *prefixes) has(id Symbol) bool { return p.known[id] }

func (p *prefixes) add(prefix string, id Symbol) {
	p.known[id] = true
	p.symbols[prefix] = append(p.symbols[prefix], id)
	if at, found := slices.BinarySearch(p.lengths, len(prefix)); !found {
		p.lengths = slices.Insert(p.lengths, at, len(prefix))
	}
}

// of appends the symbols of the prefixes of text.
func (p *prefixes) of(text string, found []Symbol) []Symbol {
	for _, length := range p.lengths {
		if length > len(text) {
			break
		}
		found = append(found, p.symbols[text[:length]]...)
	}
	return found
}
