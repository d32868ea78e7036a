package enforcer

import (
	"fmt"
	"slices"
)

// layer is a part of a policy: its rules for one policy definition, in Casbin's order, and what finds them.
type layer struct {
	rules   []rule
	width   int      // fields a rule
	rows    []symbol // width for each rule
	ranks   []uint64 // of each rule, ascending: Casbin asks the lower ones first; nil for one every 1<<32
	denies  []bool   // of each rule; nil where all allow
	effects [2]*segment

	patterns map[patternColumn]*patternIndex
	evals    map[symbol]*node // what the rules for eval say
	needs    needs            // of those
}

// patternColumn is a column that a function takes for patterns.
type patternColumn struct {
	function string
	column   int
}

// The segments of a layer.
const (
	allowing = 0
	denying  = 1
)

// newLayer indexes rules. They are checked, and come in Casbin's order with their ranks.
func newLayer(p *program, s *symbols, rules []rule, ranks []uint64) (*layer, error) {
	l := &layer{rules: rules, width: p.width, ranks: ranks, rows: make([]symbol, 0, len(rules)*p.width)}
	for i := range rules {
		for _, field := range rules[i].fields() {
			l.rows = append(l.rows, s.add(field))
		}
	}
	var numbers [2][]uint32
	for i := range rules {
		effect := allowing
		if p.effectColumn >= 0 && rules[i].fields()[p.effectColumn] == "deny" {
			effect = denying
		}
		numbers[effect] = append(numbers[effect], uint32(i))
	}
	if len(numbers[denying]) > 0 {
		l.denies = make([]bool, len(rules))
		for _, i := range numbers[denying] {
			l.denies[i] = true
		}
	}
	if err := l.compile(p, s); err != nil {
		return nil, err
	}
	for effect := range l.effects {
		if len(numbers[effect]) > 0 && p.asks[effect] {
			l.effects[effect] = newSegment(l, p.branches, numbers[effect])
		}
	}
	return l, nil
}

// rank returns where a rule stands in the order of the policy.
func (l *layer) rank(i uint32) uint64 {
	if l.ranks == nil {
		return uint64(i+1) << 32
	}
	return l.ranks[i]
}

func (l *layer) row(i uint32) []symbol {
	start := int(i) * l.width
	return l.rows[start : start+l.width : start+l.width]
}

// compile compiles what stands in the rules: patterns, and expressions for eval.
func (l *layer) compile(p *program, s *symbols) error {
	l.patterns = make(map[patternColumn]*patternIndex, len(p.patternColumns))
	for _, c := range p.patternColumns {
		index, err := newPatternIndex(s, c.function, l.column(c.column))
		if err != nil {
			return err
		}
		l.patterns[c] = index
	}
	l.evals = map[symbol]*node{}
	for _, column := range p.evalColumns {
		for _, id := range l.column(column) {
			if l.evals[id] != nil {
				continue
			}
			tree, err := p.names.parse(casbinNames(s.text(id)))
			if err != nil {
				return fmt.Errorf("%s: %w", s.text(id), err)
			}
			if tree.calls("eval") {
				return fmt.Errorf("%s: a rule for eval must not call eval, which could go on for ever", s.text(id))
			}
			l.evals[id] = tree
			own := needsOf(tree)
			l.needs.merge(&own)
		}
	}
	return nil
}

// maxAsked is how many patterns may have to be asked one by one before they are too many to be called indexed.
const maxAsked = 1000

// linear returns what makes a search slow: rules for eval whose result no request is sure to have, or patterns
// that begin with nothing that could be looked up. It is empty where nothing does.
func (l *layer) linear() string {
	if l.needs.never != "" {
		return l.needs.never
	}
	for column, index := range l.patterns {
		if count := index.unindexed(); count > maxAsked {
			return fmt.Sprintf("%d patterns of %s that begin with no plain text", count, column.function)
		}
	}
	return ""
}

// column returns the symbols that occur in a column, each once.
func (l *layer) column(column int) []symbol {
	all := make([]symbol, 0, len(l.rules))
	for i := range l.rules {
		all = append(all, l.rows[i*l.width+column])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// segment finds the rules of one effect.
type segment struct {
	layer   *layer
	all     []uint32             // the rules, ascending
	columns map[int]*postings    // rules by the symbol in a column
	tuples  map[uint64]*postings // rules by the symbols in several columns, by the set of columns
}

func newSegment(l *layer, branches []branch, rules []uint32) *segment {
	s := &segment{layer: l, all: rules, columns: map[int]*postings{}, tuples: map[uint64]*postings{}}
	for i := range branches {
		b := &branches[i]
		for _, c := range b.constraints {
			if s.columns[c.column] == nil {
				s.columns[c.column] = newPostings(len(rules), func(i int) (uint64, uint32) {
					return uint64(l.row(rules[i])[c.column]), rules[i]
				})
			}
		}
		if set := b.columnSet(); len(b.constraints) > 1 && s.tuples[set] == nil {
			s.tuples[set] = newPostings(len(rules), func(i int) (uint64, uint32) {
				key, row := uint64(0), l.row(rules[i])
				for _, c := range b.constraints {
					key = tupleKey(key, row[c.column])
				}
				return key, rules[i]
			})
		}
	}
	return s
}

// tupleKey adds a symbol to the key of the symbols before it. Two tuples may have one key.
func tupleKey(key uint64, id symbol) uint64 { return mix(key+0x9e3779b97f4a7c15) ^ uint64(id) }
