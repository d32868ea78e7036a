package compiled

import (
	"cmp"
	"errors"
	"slices"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/index"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
)

// ErrWhole says that a difference is not taken as one, and that the policy must be indexed as a whole.
var ErrWhole = errors.New("the policy is read as a whole")

// Difference is what a policy has become of another one.
type Difference struct {
	Roles      map[string]model.Role
	Gone, Come []model.Rule // of all definitions
	Runs       []Run
}

// Run is a part of the rules for the matcher: some that were indexed as a whole and are kept, from the one to before the
// other, or some that have come.
type Run struct {
	Kept     bool
	From, To int
	Added    []model.Rule
}

// With returns the policy that this one has become, in time in proportion to the difference.
func (l *Policy) With(d *Difference) (*Policy, error) {
	after := *l
	after.Symbols, after.memory = l.Extend(), newRoleMemory()
	if err := after.changeLinks(d); err != nil {
		return nil, err
	}
	if err := after.changeRules(d.Runs); err != nil {
		return nil, err
	}
	return &after, nil
}

// changeLinks changes the role links.
func (l *Policy) changeLinks(d *Difference) error {
	before := l.Graphs
	l.Graphs = make(map[string]*index.RoleGraph, len(before))
	for key, graph := range before {
		gone, come := ofType(d.Gone, key), ofType(d.Come, key)
		l.Graphs[key] = graph
		if len(gone) > 0 || len(come) > 0 {
			l.Graphs[key] = graph.With(l.Symbols, d.Roles[key], come, gone)
		}
	}
	f := Frame{Within: l}
	for i := range d.Come {
		link := &d.Come[i]
		graph, ok := l.Graphs[link.Type()]
		if !ok {
			continue
		}
		domain := ""
		if d.Roles[link.Type()].Names > 2 {
			domain = link.Fields()[2]
		}
		user, role := l.Find(link.Fields()[0]), l.Find(link.Fields()[1])
		same := 0
		for _, other := range graph.Of(index.LinkKey(user, l.Find(domain))) {
			if index.Symbol(other) == role {
				same++
			}
		}
		if same != 1 || contains(f.roles(link.Type(), link.Fields()[1], domain), user) {
			return ErrWhole // a link is there twice, or leads back to where it began
		}
	}
	return nil
}

func ofType(rules []model.Rule, ptype string) []*model.Rule {
	var found []*model.Rule
	for i := range rules {
		if rules[i].Type() == ptype {
			found = append(found, &rules[i])
		}
	}
	return found
}

// changeRules changes the rules for the matcher: which of the lower layer are no longer there, and which have come.
func (l *Policy) changeRules(runs []Run) error {
	base := l.Layers[0]
	l.removed = make([]uint64, (len(base.Rules)+63)/64)
	l.Count = len(base.Rules)
	var come []model.Rule
	var ranks []uint64
	next := 0 // of the lower layer
	for _, s := range runs {
		if s.Kept {
			l.remove(next, s.From)
			next = s.To
		}
		for i := range s.Added {
			ranks = append(ranks, uint64(next)<<32+uint64(len(come)+1))
			come = append(come, s.Added[i])
		}
	}
	l.remove(next, len(base.Rules))
	l.Layers[1] = nil
	l.Count += len(come)
	if l.Count == 0 {
		return ErrWhole
	}
	if len(come) == 0 {
		return nil
	}
	above, err := newLayer(l.Program, l.Symbols, come, ranks)
	if err != nil {
		return err
	}
	l.Layers[1] = above
	if above.linear() != "" || l.repeats(above) {
		return ErrWhole
	}
	return nil
}

// Before returns how many of the rules that were indexed as a whole stand before that line.
func (l *Policy) Before(line int) int {
	index, _ := slices.BinarySearchFunc(l.Layers[0].Rules, line, func(r model.Rule, line int) int { return cmp.Compare(r.Line, line) })
	return index
}

// remove takes rules of the base out of force.
func (l *Policy) remove(from, to int) {
	for i := from; i < to; i++ {
		l.removed[i/64] |= 1 << (i % 64)
		l.Count--
	}
}

// repeats reports whether a rule of the upper layer is there twice.
func (l *Policy) repeats(above *layer) bool {
	rows := make(map[uint64]bool, len(above.Rules))
	for i := range above.Rules {
		key := rowKey(above.Row(uint32(i)))
		if rows[key] {
			return true
		}
		rows[key] = true
	}
	below := l.Layers[0]
	for i := range below.Rules {
		if rows[rowKey(below.Row(uint32(i)))] && !l.isRemoved(below, uint32(i)) {
			return true
		}
	}
	return false
}

// rowKey is the same for equal rows, and in all likelihood for no others.
func rowKey(row []index.Symbol) (key uint64) {
	for _, id := range row {
		key = TupleKey(key, id)
	}
	return key
}

// Derived reports whether the policy is one that another one has become. Tests ask, so that they know what they compare.
func (l *Policy) Derived() bool { return l.removed != nil }
