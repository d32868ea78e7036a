package compiled

import (
	"math"
	"slices"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/index"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/matcher"
)

const (
	// unranked is above the rank of every rule.
	unranked = math.MaxUint64
	// lookCost is how many rules can be passed over in the time of one look into an index.
	lookCost = 4
)

// Query is one request's search. It is taken from a pool, and what it allocates stays with it.
type Query struct {
	Frame
	sets    [][]index.Symbol // of the constraints of the branch that is asked; sorted, or short
	counts  []int
	singles []index.Symbol // sets of one
	matched []index.Symbol // sets of patterns
	joined  []index.Symbol // sets of several sources
	Unmet   string         // why no rule was found, by the branch that came last
}

// search returns the lowest-ranked rule of that effect for which the matcher holds, or unranked.
func (q *Query) search(p *Program, effect int) (found Rank, err error) {
	found.rank = unranked
	for i := range p.branches {
		b := &p.branches[i]
		holds, err := q.open(b)
		if err != nil {
			return found, err
		}
		if !holds {
			continue
		}
		for _, l := range q.Within.Layers {
			if l != nil && l.effects[effect] != nil {
				if err := q.searchSegment(b, l.effects[effect], &found); err != nil {
					return found, err
				}
			}
		}
	}
	return found, nil
}

// Rank is where a rule stands in the order of the policy.
type Rank struct {
	rank   uint64
	Layer  *layer
	Number uint32 // of the rule in its layer
}

// open reports whether a branch can hold for this request, and works out its sets of symbols.
func (q *Query) open(b *matcher.Branch) (bool, error) {
	for _, condition := range b.Conditions {
		v, err := q.evaluate(condition)
		if err != nil || !v.Holds() {
			q.Unmet = "a condition on the request does not hold"
			return false, err
		}
	}
	q.sets, q.singles, q.matched, q.joined = q.sets[:0], q.singles[:0], q.matched[:0], q.joined[:0]
	for i := range b.Constraints {
		set, err := q.allowedSymbols(&b.Constraints[i])
		if err != nil || len(set) == 0 {
			q.Unmet = b.Constraints[i].Unmet
			return false, err
		}
		q.sets = append(q.sets, set)
	}
	q.Unmet = b.Together
	return true, nil
}

// allowedSymbols returns what may stand in the constraint's column.
func (q *Query) allowedSymbols(c *matcher.Constraint) ([]index.Symbol, error) {
	if len(c.Sources) == 1 {
		return q.source(c.Column, &c.Sources[0])
	}
	start := len(q.joined)
	for i := range c.Sources {
		set, err := q.source(c.Column, &c.Sources[i])
		if err != nil {
			return nil, err
		}
		q.joined = append(q.joined, set...)
	}
	set := q.joined[start:len(q.joined):len(q.joined)]
	slices.Sort(set)
	return slices.Compact(set), nil
}

func (q *Query) source(column int, s *matcher.Source) ([]index.Symbol, error) {
	key, err := q.evaluate(s.Key)
	if err != nil || key.Kind != matcher.IsString {
		return nil, err
	}
	switch {
	case s.Roles:
		domain := matcher.Value{}
		if s.Domain != nil {
			domain, err = q.evaluate(s.Domain)
		}
		return q.roles(s.Function, key.Text, domain.Text), err
	case s.Function != "":
		start := len(q.matched)
		for _, l := range q.Within.Layers {
			if l != nil {
				q.matched, err = l.patterns[patternColumn{s.Function, column}].Matching(key.Text, q.matched, &q.Meter)
			}
			if err != nil {
				return nil, err
			}
		}
		set := q.matched[start:len(q.matched):len(q.matched)]
		if q.Within.Layers[1] != nil {
			slices.Sort(set)
			set = slices.Compact(set)
		}
		return set, nil
	}
	id := q.Within.Find(key.Text)
	if id == index.NoSymbol {
		return nil, nil
	}
	q.singles = append(q.singles, id)
	return q.singles[len(q.singles)-1 : len(q.singles) : len(q.singles)], nil
}

// searchSegment asks the index that is likely to give the fewest rules.
func (q *Query) searchSegment(b *matcher.Branch, s *segment, found *Rank) error {
	if len(b.Constraints) == 0 {
		return q.scan(b, s, s.all, found)
	}
	tuples, best, fewest := 1, 0, math.MaxInt
	for _, set := range q.sets {
		tuples = min(tuples*len(set), 1<<30)
	}
	if tuples > 1 || len(b.Constraints) == 1 {
		for i, c := range b.Constraints {
			if len(q.sets[i]) < tuples || len(b.Constraints) == 1 {
				count := 0
				for _, id := range q.sets[i] {
					count += s.columns[c.Column].Count(uint64(id))
				}
				if count += len(q.sets[i]) * lookCost; count < fewest {
					best, fewest = i, count
				}
			}
		}
	}
	if len(b.Constraints) > 1 && tuples*lookCost <= fewest {
		return q.searchTuples(b, s, found)
	}
	for _, id := range q.sets[best] {
		if err := q.scan(b, s, s.columns[b.Constraints[best].Column].Of(uint64(id)), found); err != nil {
			return err
		}
	}
	return nil
}

// searchTuples looks for every combination of the symbols that are possible.
func (q *Query) searchTuples(b *matcher.Branch, s *segment, found *Rank) error {
	index := s.tuples[b.ColumnSet()]
	q.counts = append(q.counts[:0], make([]int, len(q.sets))...)
	for {
		key := uint64(0)
		for i, at := range q.counts {
			key = TupleKey(key, q.sets[i][at])
		}
		if err := q.scan(b, s, index.Of(key), found); err != nil {
			return err
		}
		i := len(q.counts) - 1
		for ; i >= 0; i-- {
			if q.counts[i]++; q.counts[i] < len(q.sets[i]) {
				break
			}
			q.counts[i] = 0
		}
		if i < 0 {
			return nil
		}
	}
}

// scan takes the first of those rules that is below what was found, in force, and matches.
func (q *Query) scan(b *matcher.Branch, s *segment, rules []uint32, found *Rank) error {
	for _, i := range rules {
		at := s.layer.rank(i)
		if at >= found.rank {
			return nil
		}
		if q.Within.isRemoved(s.layer, i) || !q.allowed(b, s.layer.Row(i)) {
			continue
		}
		if b.Verify {
			holds, err := q.holds(s.layer, i)
			if err != nil {
				return err
			}
			if !holds {
				continue
			}
		}
		*found = Rank{at, s.layer, i}
		return nil
	}
	return nil
}

// allowed reports whether the rule has symbols that are possible, in all columns: lists are of one column
// only, and of keys that others may share.
func (q *Query) allowed(b *matcher.Branch, row []index.Symbol) bool {
	for i, c := range b.Constraints {
		if !contains(q.sets[i], row[c.Column]) {
			return false
		}
	}
	return true
}

// contains reports whether the symbol is in the set, which is sorted where it is long.
func contains(set []index.Symbol, id index.Symbol) bool {
	if len(set) <= 8 {
		return slices.Contains(set, id)
	}
	_, found := slices.BinarySearch(set, id)
	return found
}

// holds asks the matcher about one rule; but about no more than the request has time for.
func (q *Query) holds(l *layer, i uint32) (bool, error) {
	q.Charge(1)
	if err := q.Late(); err != nil {
		return false, err
	}
	q.Row = l.Row(i)
	v, err := q.evaluate(q.Within.Program.Matcher)
	if err != nil {
		return false, err
	}
	switch v.Kind {
	case matcher.IsBool, matcher.IsNumber:
		return v.Number != 0, nil
	default:
		return false, errKinds
	}
}

// met reports whether the request has what is needed.
func (f *Frame) met(s *matcher.Needs) bool {
	for i := range s.Values {
		v, err := f.evaluate(s.Values[i].Part)
		if err != nil || !v.IsKind(s.Values[i].Kind) {
			return false
		}
	}
	for _, pair := range s.Pairs {
		left, err := f.evaluate(pair[0])
		right, errRight := f.evaluate(pair[1])
		if err != nil || errRight != nil || left.Kind != right.Kind || left.Kind != matcher.IsString && left.Kind != matcher.IsNumber {
			return false
		}
	}
	return true
}
