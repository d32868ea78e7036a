package enforcer

import "strings"

// symbol stands for a text that occurs in the policy: equal texts have equal symbols.
type symbol uint32

// noSymbol is the symbol of texts that do not occur. No rule has it.
const noSymbol = ^symbol(0)

// symbols gives texts their symbols. A table that others share is not added to; extend makes one that is.
type symbols struct {
	below *symbols // holds the first symbols; nil for none
	first symbol   // the first symbol that is not below
	known map[string]symbol
	texts []string
}

func newSymbols(capacity int) *symbols {
	s := &symbols{known: make(map[string]symbol, capacity)}
	s.add("") // so that the zero symbol is the empty text
	return s
}

// extend returns a table with the same symbols, to which others can be added.
func (s *symbols) extend() *symbols {
	if s.below == nil {
		return &symbols{below: s, first: symbol(len(s.texts)), known: map[string]symbol{}}
	}
	extended := &symbols{below: s.below, first: s.first, known: make(map[string]symbol, len(s.known)), texts: s.texts[:len(s.texts):len(s.texts)]}
	for text, id := range s.known {
		extended.known[text] = id
	}
	return extended
}

// find returns the symbol of a text, or noSymbol.
func (s *symbols) find(text string) symbol {
	if s.below != nil {
		if id, ok := s.below.known[text]; ok {
			return id
		}
	}
	if id, ok := s.known[text]; ok {
		return id
	}
	return noSymbol
}

// add returns the symbol of a text, which may be new.
func (s *symbols) add(text string) symbol {
	if id := s.find(text); id != noSymbol {
		return id
	}
	id := s.first + symbol(len(s.texts))
	if s.below != nil {
		text = strings.Clone(text) // or one changed line would hold on to the whole file that it was read from
	}
	s.known[text] = id
	s.texts = append(s.texts, text)
	return id
}

// text returns what the symbol stands for.
func (s *symbols) text(id symbol) string {
	if id < s.first {
		return s.below.texts[id]
	}
	return s.texts[id-s.first]
}

// count returns how many symbols there are.
func (s *symbols) count() int { return int(s.first) + len(s.texts) }
