package enforcer

import (
	"math"
	"slices"
)

const (
	// unranked is above the rank of every rule.
	unranked = math.MaxUint64
	// lookCost is how many rules can be passed over in the time of one look into an index.
	lookCost = 4
)

// query is one request's search. It is taken from a pool, and what it allocates stays with it.
type query struct {
	frame
	sets    [][]symbol // of the constraints of the branch that is asked; sorted, or short
	counts  []int
	singles []symbol // sets of one
	matched []symbol // sets of patterns
	joined  []symbol // sets of several sources
	unmet   string   // why no rule was found, by the branch that came last
}

// search returns the lowest-ranked rule of that effect for which the matcher holds, or unranked.
func (q *query) search(p *program, effect int) (found rank, err error) {
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
		for _, l := range q.within.layers {
			if l != nil && l.effects[effect] != nil {
				if err := q.searchSegment(b, l.effects[effect], &found); err != nil {
					return found, err
				}
			}
		}
	}
	return found, nil
}

// rank is where a rule stands in the order of the policy.
type rank struct {
	rank   uint64
	layer  *layer
	number uint32 // of the rule in its layer
}

// open reports whether a branch can hold for this request, and works out its sets of symbols.
func (q *query) open(b *branch) (bool, error) {
	for _, condition := range b.conditions {
		v, err := q.evaluate(condition)
		if err != nil || !v.holds() {
			q.unmet = "a condition on the request does not hold"
			return false, err
		}
	}
	q.sets, q.singles, q.matched, q.joined = q.sets[:0], q.singles[:0], q.matched[:0], q.joined[:0]
	for i := range b.constraints {
		set, err := q.allowedSymbols(&b.constraints[i])
		if err != nil || len(set) == 0 {
			q.unmet = b.constraints[i].unmet
			return false, err
		}
		q.sets = append(q.sets, set)
	}
	q.unmet = b.together
	return true, nil
}

// allowedSymbols returns what may stand in the constraint's column.
func (q *query) allowedSymbols(c *constraint) ([]symbol, error) {
	if len(c.sources) == 1 {
		return q.source(c.column, &c.sources[0])
	}
	start := len(q.joined)
	for i := range c.sources {
		set, err := q.source(c.column, &c.sources[i])
		if err != nil {
			return nil, err
		}
		q.joined = append(q.joined, set...)
	}
	set := q.joined[start:len(q.joined):len(q.joined)]
	slices.Sort(set)
	return slices.Compact(set), nil
}

func (q *query) source(column int, s *source) ([]symbol, error) {
	key, err := q.evaluate(s.key)
	if err != nil || key.kind != isString {
		return nil, err
	}
	switch {
	case s.roles:
		domain := value{}
		if s.domain != nil {
			domain, err = q.evaluate(s.domain)
		}
		return q.roles(s.function, key.text, domain.text), err
	case s.function != "":
		start := len(q.matched)
		for _, l := range q.within.layers {
			if l != nil {
				q.matched, err = l.patterns[patternColumn{s.function, column}].matching(key.text, q.matched, &q.meter)
			}
			if err != nil {
				return nil, err
			}
		}
		set := q.matched[start:len(q.matched):len(q.matched)]
		if q.within.layers[1] != nil {
			slices.Sort(set)
			set = slices.Compact(set)
		}
		return set, nil
	}
	id := q.within.find(key.text)
	if id == noSymbol {
		return nil, nil
	}
	q.singles = append(q.singles, id)
	return q.singles[len(q.singles)-1 : len(q.singles) : len(q.singles)], nil
}

// searchSegment asks the index that is likely to give the fewest rules.
func (q *query) searchSegment(b *branch, s *segment, found *rank) error {
	if len(b.constraints) == 0 {
		return q.scan(b, s, s.all, found)
	}
	tuples, best, fewest := 1, 0, math.MaxInt
	for _, set := range q.sets {
		tuples = min(tuples*len(set), 1<<30)
	}
	if tuples > 1 || len(b.constraints) == 1 {
		for i, c := range b.constraints {
			if len(q.sets[i]) < tuples || len(b.constraints) == 1 {
				count := 0
				for _, id := range q.sets[i] {
					count += s.columns[c.column].count(uint64(id))
				}
				if count += len(q.sets[i]) * lookCost; count < fewest {
					best, fewest = i, count
				}
			}
		}
	}
	if len(b.constraints) > 1 && tuples*lookCost <= fewest {
		return q.searchTuples(b, s, found)
	}
	for _, id := range q.sets[best] {
		if err := q.scan(b, s, s.columns[b.constraints[best].column].of(uint64(id)), found); err != nil {
			return err
		}
	}
	return nil
}

// searchTuples looks for every combination of the symbols that are possible.
func (q *query) searchTuples(b *branch, s *segment, found *rank) error {
	index := s.tuples[b.columnSet()]
	q.counts = append(q.counts[:0], make([]int, len(q.sets))...)
	for {
		key := uint64(0)
		for i, at := range q.counts {
			key = tupleKey(key, q.sets[i][at])
		}
		if err := q.scan(b, s, index.of(key), found); err != nil {
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
func (q *query) scan(b *branch, s *segment, rules []uint32, found *rank) error {
	for _, i := range rules {
		at := s.layer.rank(i)
		if at >= found.rank {
			return nil
		}
		if q.within.isRemoved(s.layer, i) || !q.allowed(b, s.layer.row(i)) {
			continue
		}
		if b.verify {
			holds, err := q.holds(s.layer, i)
			if err != nil {
				return err
			}
			if !holds {
				continue
			}
		}
		*found = rank{at, s.layer, i}
		return nil
	}
	return nil
}

// allowed reports whether the rule has symbols that are possible, in all columns: lists are of one column
// only, and of keys that others may share.
func (q *query) allowed(b *branch, row []symbol) bool {
	for i, c := range b.constraints {
		if !contains(q.sets[i], row[c.column]) {
			return false
		}
	}
	return true
}

// contains reports whether the symbol is in the set, which is sorted where it is long.
func contains(set []symbol, id symbol) bool {
	if len(set) <= 8 {
		return slices.Contains(set, id)
	}
	_, found := slices.BinarySearch(set, id)
	return found
}

// holds asks the matcher about one rule; but about no more than the request has time for.
func (q *query) holds(l *layer, i uint32) (bool, error) {
	q.charge(1)
	if err := q.late(); err != nil {
		return false, err
	}
	q.row = l.row(i)
	v, err := q.evaluate(q.within.program.matcher)
	if err != nil {
		return false, err
	}
	switch v.kind {
	case isBool, isNumber:
		return v.number != 0, nil
	default:
		return false, errKinds
	}
}

// met reports whether the request has what is needed.
func (f *frame) met(s *needs) bool {
	for i := range s.values {
		v, err := f.evaluate(s.values[i].part)
		if err != nil || !v.isKind(s.values[i].kind) {
			return false
		}
	}
	for _, pair := range s.pairs {
		left, err := f.evaluate(pair[0])
		right, errRight := f.evaluate(pair[1])
		if err != nil || errRight != nil || left.kind != right.kind || left.kind != isString && left.kind != isNumber {
			return false
		}
	}
	return true
}
