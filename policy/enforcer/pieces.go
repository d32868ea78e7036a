package enforcer

import (
	"slices"
	"sort"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
)

// A policy that was read as a whole is its base. What it has become by later changes is a list of pieces: of the
// base, or of what was added. A unit is a line of a text, or a row of a table.

// piece is a run of units.
type piece struct {
	base  bool
	start int          // of a piece of the base: its first unit there
	count int          // units
	rules []model.Rule // of a piece that was added; lines of a text count from the piece's first, which is 1
	rows  bool         // each unit is a rule, whose line is the name of its row
}

// pieces is a policy after changes. It does not change.
type pieces []piece

// replace returns the pieces in which the units from the one to before the other are replaced by an added piece.
func (p pieces) replace(from, to int, added piece) pieces {
	before, rest := p.split(from)
	_, after := rest.split(to - from)
	result := slices.Clone(before)
	if added.count > 0 {
		result = append(result, added)
	}
	return append(result, after...)
}

// split cuts the pieces before that unit.
func (p pieces) split(at int) (before, after pieces) {
	for i, this := range p {
		if at >= this.count {
			at -= this.count
			continue
		}
		if at == 0 {
			return p[:i], p[i:]
		}
		left, right := this.split(at)
		return append(slices.Clone(p[:i]), left), append(pieces{right}, p[i+1:]...)
	}
	return p, nil
}

func (p piece) split(at int) (left, right piece) {
	left, right = p, p
	left.count, right.count = at, p.count-at
	if p.base {
		right.start += at
		return left, right
	}
	if p.rows {
		left.rules, right.rules = p.rules[:at], p.rules[at:]
		return left, right
	}
	cut := sort.Search(len(p.rules), func(i int) bool { return p.rules[i].Line > at })
	left.rules = p.rules[:cut]
	right.rules = slices.Clone(p.rules[cut:])
	for i := range right.rules {
		right.rules[i].Line -= at
	}
	return left, right
}

// added returns how many rules the pieces have that are not of the base.
func (p pieces) added() int {
	count := 0
	for _, this := range p {
		count += len(this.rules)
	}
	return count
}

// ruleSet is the rules of a policy, those of the matcher and the role links, in the order of the policy.
type ruleSet struct {
	base   []model.Rule // by line
	pieces pieces
	table  bool // lines are names of rows, which do not shift

	count  int
	starts []int // of each piece, the unit that it begins with now
}

func newRuleSet(base []model.Rule, units int, table bool) *ruleSet {
	return (&ruleSet{base: base, table: table}).with(pieces{{base: true, count: units}})
}

// with returns the rules of the same base in other pieces.
func (s *ruleSet) with(p pieces) *ruleSet {
	changed := &ruleSet{base: s.base, pieces: p, table: s.table}
	unit := 0
	for i := range p {
		changed.starts = append(changed.starts, unit)
		unit += p[i].count
		changed.count += len(changed.rulesOf(i))
	}
	return changed
}

// unit returns where a rule of the base stands in the base.
func (s *ruleSet) unit(i int) int {
	if s.table {
		return i
	}
	return s.base[i].Line - 1
}

// index returns the first rule of the base that does not stand before that unit.
func (s *ruleSet) index(unit int) int {
	if s.table {
		return min(unit, len(s.base))
	}
	return sort.Search(len(s.base), func(i int) bool { return s.unit(i) >= unit })
}

// rulesOf returns the rules of a piece. Those of the base are where they were in the base.
func (s *ruleSet) rulesOf(i int) []model.Rule {
	p := &s.pieces[i]
	if !p.base {
		return p.rules
	}
	return s.base[s.index(p.start):s.index(p.start+p.count)]
}

// at returns a rule of the base where it stands now.
func (s *ruleSet) at(r *model.Rule) *model.Rule {
	if s.table || len(s.pieces) == 1 && s.pieces[0].start == 0 {
		return r
	}
	moved := *r
	for i, p := range s.pieces {
		if unit := r.Line - 1; p.base && unit >= p.start && unit < p.start+p.count {
			moved.Line += s.starts[i] - p.start
		}
	}
	return &moved
}

// addedAt returns a rule of an added piece where it stands now.
func (s *ruleSet) addedAt(i int, r *model.Rule) model.Rule {
	moved := *r
	if !s.table {
		moved.Line += s.starts[i]
	}
	return moved
}

// all yields every rule where it stands now.
func (s *ruleSet) all(yield func(model.Rule) bool) {
	for i, p := range s.pieces {
		rules := s.rulesOf(i)
		for j := range rules {
			r := rules[j]
			if p.base {
				if !s.table {
					r.Line += s.starts[i] - p.start
				}
			} else {
				r = s.addedAt(i, &r)
			}
			if !yield(r) {
				return
			}
		}
	}
}
