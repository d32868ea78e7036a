package enforcer

import (
	"errors"
	"slices"
)

// errWhole says that a difference is not taken as one, and that the policy must be indexed as a whole.
var errWhole = errors.New("the policy is read as a whole")

// difference is what a policy has become of another one.
type difference struct {
	roles      map[string]role
	gone, come []rule // of all definitions
	runs       []run
}

// run is a part of the rules for the matcher: some that were indexed as a whole and are kept, from the one to before the
// other, or some that have come.
type run struct {
	kept     bool
	from, to int
	added    []rule
}

// with returns the policy that this one has become, in time in proportion to the difference.
func (l *layered) with(d *difference) (*layered, error) {
	after := *l
	after.symbols, after.memory = l.extend(), newRoleMemory()
	if err := after.changeLinks(d); err != nil {
		return nil, err
	}
	if err := after.changeRules(d.runs); err != nil {
		return nil, err
	}
	return &after, nil
}

// changeLinks changes the role links.
func (l *layered) changeLinks(d *difference) error {
	before := l.graphs
	l.graphs = make(map[string]*roleGraph, len(before))
	for key, graph := range before {
		gone, come := ofType(d.gone, key), ofType(d.come, key)
		l.graphs[key] = graph
		if len(gone) > 0 || len(come) > 0 {
			l.graphs[key] = graph.with(l.symbols, d.roles[key], come, gone)
		}
	}
	f := frame{within: l}
	for i := range d.come {
		link := &d.come[i]
		graph, ok := l.graphs[link.ptype()]
		if !ok {
			continue
		}
		domain := ""
		if d.roles[link.ptype()].names > 2 {
			domain = link.fields()[2]
		}
		user, role := l.find(link.fields()[0]), l.find(link.fields()[1])
		same := 0
		for _, other := range graph.of(linkKey(user, l.find(domain))) {
			if symbol(other) == role {
				same++
			}
		}
		if same != 1 || contains(f.roles(link.ptype(), link.fields()[1], domain), user) {
			return errWhole // a link is there twice, or leads back to where it began
		}
	}
	return nil
}

func ofType(rules []rule, ptype string) []*rule {
	var found []*rule
	for i := range rules {
		if rules[i].ptype() == ptype {
			found = append(found, &rules[i])
		}
	}
	return found
}

// changeRules changes the rules for the matcher: which of the lower layer are no longer there, and which have come.
func (l *layered) changeRules(runs []run) error {
	base := l.layers[0]
	l.removed = make([]uint64, (len(base.rules)+63)/64)
	l.count = len(base.rules)
	var come []rule
	var ranks []uint64
	next := 0 // of the lower layer
	for _, s := range runs {
		if s.kept {
			l.remove(next, s.from)
			next = s.to
		}
		for i := range s.added {
			ranks = append(ranks, uint64(next)<<32+uint64(len(come)+1))
			come = append(come, s.added[i])
		}
	}
	l.remove(next, len(base.rules))
	l.layers[1] = nil
	l.count += len(come)
	if l.count == 0 {
		return errWhole
	}
	if len(come) == 0 {
		return nil
	}
	above, err := newLayer(l.program, l.symbols, come, ranks)
	if err != nil {
		return err
	}
	l.layers[1] = above
	if above.linear() != "" || l.repeats(above) {
		return errWhole
	}
	return nil
}

// before returns how many of the rules that were indexed as a whole stand before that line.
func (l *layered) before(line int) int {
	index, _ := slices.BinarySearchFunc(l.layers[0].rules, line, func(r rule, line int) int { return r.line - line })
	return index
}

// remove takes rules of the base out of force.
func (l *layered) remove(from, to int) {
	for i := from; i < to; i++ {
		l.removed[i/64] |= 1 << (i % 64)
		l.count--
	}
}

// repeats reports whether a rule of the upper layer is there twice.
func (l *layered) repeats(above *layer) bool {
	rows := make(map[uint64]bool, len(above.rules))
	for i := range above.rules {
		key := rowKey(above.row(uint32(i)))
		if rows[key] {
			return true
		}
		rows[key] = true
	}
	below := l.layers[0]
	for i := range below.rules {
		if rows[rowKey(below.row(uint32(i)))] && !l.isRemoved(below, uint32(i)) {
			return true
		}
	}
	return false
}

// rowKey is the same for equal rows, and in all likelihood for no others.
func rowKey(row []symbol) (key uint64) {
	for _, id := range row {
		key = tupleKey(key, id)
	}
	return key
}
