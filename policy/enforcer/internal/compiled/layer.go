package compiled

import (
	"fmt"
	"slices"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/index"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/matcher"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
)

// layer is a part of a policy: its rules for one policy definition, in Casbin's order, and what finds them.
type layer struct {
	Rules   []model.Rule
	width   int            // fields a rule
	rows    []index.Symbol // width for each rule
	ranks   []uint64       // of each rule, ascending: Casbin asks the lower ones first; nil for one every 1<<32
	denies  []bool         // of each rule; nil where all allow
	effects [2]*segment

	patterns map[patternColumn]*index.Patterns
	Evals    map[index.Symbol]*matcher.Node // what the rules for eval say
	Needs    matcher.Needs                  // of those
}

// patternColumn is a column that a function takes for patterns.
type patternColumn struct {
	function string
	column   int
}

// The segments of a layer.
const (
	Allowing = 0
	Denying  = 1
)

// newLayer indexes rules. They are checked, and come in Casbin's order with their ranks.
func newLayer(p *Program, s *index.Symbols, rules []model.Rule, ranks []uint64) (*layer, error) {
	l := &layer{Rules: rules, width: p.width, ranks: ranks, rows: make([]index.Symbol, 0, len(rules)*p.width)}
	for i := range rules {
		for _, field := range rules[i].Fields() {
			l.rows = append(l.rows, s.Add(field))
		}
	}
	var numbers [2][]uint32
	for i := range rules {
		effect := Allowing
		if p.EffectColumn >= 0 && rules[i].Fields()[p.EffectColumn] == "deny" {
			effect = Denying
		}
		numbers[effect] = append(numbers[effect], uint32(i))
	}
	if len(numbers[Denying]) > 0 {
		l.denies = make([]bool, len(rules))
		for _, i := range numbers[Denying] {
			l.denies[i] = true
		}
	}
	if err := l.compile(p, s); err != nil {
		return nil, err
	}
	for effect := range l.effects {
		if len(numbers[effect]) > 0 && p.Asks[effect] {
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

func (l *layer) Row(i uint32) []index.Symbol {
	start := int(i) * l.width
	return l.rows[start : start+l.width : start+l.width]
}

// compile compiles what stands in the rules: patterns, and expressions for eval.
func (l *layer) compile(p *Program, s *index.Symbols) error {
	l.patterns = make(map[patternColumn]*index.Patterns, len(p.patternColumns))
	for _, c := range p.patternColumns {
		index, err := index.NewPatterns(s, c.function, l.column(c.column))
		if err != nil {
			return err
		}
		l.patterns[c] = index
	}
	l.Evals = map[index.Symbol]*matcher.Node{}
	for _, column := range p.evalColumns {
		for _, id := range l.column(column) {
			if l.Evals[id] != nil {
				continue
			}
			tree, err := p.Names.Parse(model.CasbinNames(s.Text(id)))
			if err != nil {
				return fmt.Errorf("%s: %w", s.Text(id), err)
			}
			if tree.Calls("eval") {
				return fmt.Errorf("%s: a rule for eval must not call eval, which could go on for ever", s.Text(id))
			}
			l.Evals[id] = tree
			own := matcher.NeedsOf(tree)
			l.Needs.Merge(&own)
		}
	}
	return nil
}

// maxAsked is how many patterns may have to be asked one by one before they are too many to be called indexed.
const maxAsked = 1000

// linear returns what makes a search slow: rules for eval whose result no request is sure to have, or patterns
// that begin with nothing that could be looked up. It is empty where nothing does.
func (l *layer) linear() string {
	if l.Needs.Never != "" {
		return l.Needs.Never
	}
	for column, index := range l.patterns {
		if count := index.Unindexed(); count > maxAsked {
			return fmt.Sprintf("%d patterns of %s that begin with no plain text", count, column.function)
		}
	}
	return ""
}

// column returns the symbols that occur in a column, each once.
func (l *layer) column(column int) []index.Symbol {
	all := make([]index.Symbol, 0, len(l.Rules))
	for i := range l.Rules {
		all = append(all, l.rows[i*l.width+column])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// segment finds the rules of one effect.
type segment struct {
	layer   *layer
	all     []uint32                   // the rules, ascending
	columns map[int]*index.Postings    // rules by the symbol in a column
	tuples  map[uint64]*index.Postings // rules by the symbols in several columns, by the set of columns
}

func newSegment(l *layer, branches []matcher.Branch, rules []uint32) *segment {
	s := &segment{layer: l, all: rules, columns: map[int]*index.Postings{}, tuples: map[uint64]*index.Postings{}}
	for i := range branches {
		b := &branches[i]
		for _, c := range b.Constraints {
			if s.columns[c.Column] == nil {
				s.columns[c.Column] = index.NewPostings(len(rules), func(i int) (uint64, uint32) {
					return uint64(l.Row(rules[i])[c.Column]), rules[i]
				})
			}
		}
		if set := b.ColumnSet(); len(b.Constraints) > 1 && s.tuples[set] == nil {
			s.tuples[set] = index.NewPostings(len(rules), func(i int) (uint64, uint32) {
				key, row := uint64(0), l.Row(rules[i])
				for _, c := range b.Constraints {
					key = TupleKey(key, row[c.Column])
				}
				return key, rules[i]
			})
		}
	}
	return s
}

// TupleKey adds a symbol to the key of the symbols before it. Two tuples may have one key.
func TupleKey(key uint64, id index.Symbol) uint64 {
	return index.Mix(key+0x9e3779b97f4a7c15) ^ uint64(id)
}
