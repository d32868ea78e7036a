package enforcer

import (
	"cmp"
	"errors"
	"slices"

	"github.com/kasbah-authz/kasbah/policy"
)

// layered is a policy in force: a large layer that was indexed when the policy was read, and a small one of
// what has changed since. It does not change.
type layered struct {
	program *program
	*symbols
	layers   [2]*layer // below, and what was added since; the second may be nil
	removed  []uint64  // bits: the rules of the first layer that are no longer there
	graphs   map[string]*roleGraph
	ownRoles string // the role definition in which the roles count that a caller brings; empty for none
	memory   *roleMemory
	count    int    // of the rules for the matcher
	linear   string // what every request is slow for, as of program.linear; empty for nothing
}

// newLayered indexes a whole policy.
func newLayered(p *program, rules []rule, ownRoles string, order func([]*rule) ([]*rule, error)) (*layered, error) {
	l := &layered{program: p, symbols: newSymbols(len(rules)), graphs: map[string]*roleGraph{}, ownRoles: ownRoles, memory: newRoleMemory()}
	asked, links := split(p, rules)
	asked, err := order(asked)
	if err != nil {
		return nil, err
	}
	for key, definition := range p.names.roles {
		l.graphs[key] = newRoleGraph(l.symbols, definition, p.domainPatterns, links[key])
	}
	ordered := make([]rule, len(asked))
	for i, r := range asked {
		ordered[i] = *r
	}
	l.count = len(asked)
	if l.layers[0], err = newLayer(p, l.symbols, ordered, nil); err != nil {
		return nil, err
	}
	l.linear = cmp.Or(p.linear(), l.layers[0].linear())
	return l, nil
}

// split tells the rules that the matcher is asked about from the role links.
func split(p *program, rules []rule) (asked []*rule, links map[string][]*rule) {
	links = map[string][]*rule{}
	for i := range rules {
		r := &rules[i]
		if _, ok := p.names.roles[r.ptype()]; ok {
			links[r.ptype()] = append(links[r.ptype()], r)
		} else if r.ptype() == p.names.policy {
			asked = append(asked, r)
		}
	}
	return asked, links
}

// byPriority orders rules as Casbin does where they have a field priority.
func byPriority(column int) func([]*rule) ([]*rule, error) {
	return func(rules []*rule) ([]*rule, error) {
		if column < 0 {
			return rules, nil
		}
		slices.SortStableFunc(rules, func(a, b *rule) int {
			return cmp.Compare(integer(a.fields()[column]), integer(b.fields()[column]))
		})
		return rules, nil
	}
}

// inTurn orders rules by one order, and what that leaves equal by the one before, as stable sorting does.
func inTurn(before, after func([]*rule) ([]*rule, error)) func([]*rule) ([]*rule, error) {
	return func(rules []*rule) ([]*rule, error) {
		rules, err := before(rules)
		if err != nil {
			return nil, err
		}
		return after(rules)
	}
}

func (l *layered) isRemoved(of *layer, i uint32) bool {
	return l.removed != nil && of == l.layers[0] && l.removed[i/64]&(1<<(i%64)) != 0
}

// matcher returns a pattern of the policy, compiled, or nil for a text that is none.
func (l *layered) matcher(function string, pattern symbol) matcher {
	for _, layer := range l.layers {
		if layer == nil {
			continue
		}
		for column, index := range layer.patterns {
			if column.function != function {
				continue
			}
			if compiled := index.compiled(pattern); compiled != nil {
				return compiled
			}
		}
	}
	return nil
}

// rule returns what a rule for eval says.
func (l *layered) rule(text symbol) *node {
	if l.layers[1] != nil && l.layers[1].evals[text] != nil {
		return l.layers[1].evals[text]
	}
	return l.layers[0].evals[text]
}

// indexed reports whether the index may be used for that request.
func (q *query) indexed() bool {
	p := q.within.program
	if p.needs.never != "" || !q.met(&p.needs) {
		return false
	}
	for _, l := range q.within.layers {
		if l != nil && len(p.evalColumns) > 0 && (l.needs.never != "" || !q.met(&l.needs)) {
			return false
		}
	}
	return true
}

var errNoRule = errors.New("the matcher calls eval, and there is no rule")

// verdict is what Casbin makes of a request: whether it is allowed, and by which rule.
type verdict struct {
	allowed bool
	by      rank // no rule, where its layer is nil
}

// decide gives Casbin's verdict on the request that the query holds. With noWait it returns
// [policy.ErrWouldWait] rather than take more than maxUnwaited steps.
func (q *query) decide() (v verdict, err error) {
	defer recovered(&err)
	p, many := q.within.program, q.noWait && q.within.count > maxUnwaited
	switch {
	case !p.byRule || q.within.count == 0:
		return q.decideOnce()
	case many && q.within.linear != "":
		return verdict{}, policy.ErrWouldWait
	case q.indexed():
		v, err = q.decideIndexed()
		if err == nil || q.ctx.Err() != nil || errors.Is(err, policy.ErrWouldWait) {
			return v, err
		} // another error may be one that Casbin does not come to, or comes to later than to its verdict
	}
	if many {
		return verdict{}, policy.ErrWouldWait
	}
	return q.decideInOrder()
}

func (q *query) decideIndexed() (v verdict, err error) {
	defer recovered(&err)
	p := q.within.program
	none := rank{rank: unranked}
	allow, deny := none, none
	if p.asks[denying] {
		if deny, err = q.search(p, denying); err != nil {
			return verdict{}, err
		}
	}
	if p.asks[allowing] && (p.effect != allowAndDeny || deny == none) {
		if allow, err = q.search(p, allowing); err != nil {
			return verdict{}, err
		}
	}
	switch p.effect {
	case allowOverride:
		return verdict{allow != none, allow}, nil
	case denyOverride:
		return verdict{deny == none, deny}, nil
	case allowAndDeny:
		if deny != none {
			return verdict{false, deny}, nil
		}
		return verdict{allow != none, allow}, nil
	}
	if deny.rank < allow.rank {
		return verdict{false, deny}, nil
	}
	return verdict{allow != none, allow}, nil
}

// rule returns the rule that stands there.
func (r rank) rule() *rule { return &r.layer.rules[r.number] }

func (r rank) denies() bool { return r.layer.denies != nil && r.layer.denies[r.number] }

// ask makes the query one for that request.
func (q *query) ask(within *layered, values []any, roles []string, subject int) {
	q.within = within
	for _, v := range values {
		q.values = append(q.values, newValue(v))
	}
	q.caller = caller{q.values[subject].text, roles}
}

// forget drops everything of the request, and keeps the room that it took.
func (q *query) forget() {
	clear(q.values)
	clear(q.held)
	clear(q.sets)
	q.values, q.held, q.sets, q.frame.symbols = q.values[:0], q.held[:0], q.sets[:0], q.frame.symbols[:0]
	q.caller, q.within, q.row, q.unmet = caller{}, nil, nil, ""
	q.meter, q.heldAt = meter{}, nil
}

// decideOnce asks a matcher that names no rule, or has none to be asked about: Casbin then takes every field
// of the rule for empty.
func (q *query) decideOnce() (verdict, error) {
	if len(q.within.program.evalColumns) > 0 {
		return verdict{}, errNoRule
	}
	q.row = make([]symbol, q.within.program.width)
	v, err := q.evaluate(q.within.program.matcher)
	if err != nil {
		return verdict{}, err
	}
	if v.kind != isBool {
		return verdict{}, errKinds
	}
	return verdict{allowed: v.holds() || q.within.program.effect == denyOverride}, nil
}

// decideInOrder asks the matcher about one rule after the other, as Casbin does, until the verdict is clear.
// It is for requests at which the matcher can return an error: Casbin's, if it comes before the verdict.
func (q *query) decideInOrder() (verdict, error) {
	p := q.within.program
	var firstAllow rank
	for at := range q.within.inOrder() {
		holds, err := q.holds(at.layer, at.number)
		if err != nil {
			return verdict{}, err
		}
		if !holds {
			continue
		}
		denies := at.denies()
		switch {
		case p.effect == allowOverride && denies, p.effect == denyOverride && !denies:
			continue
		case p.effect == allowAndDeny && !denies:
			if firstAllow.layer == nil {
				firstAllow = at
			}
			continue
		}
		return verdict{!denies, at}, nil
	}
	return verdict{firstAllow.layer != nil || p.effect == denyOverride, firstAllow}, nil
}

// inOrder yields the rules in force in Casbin's order.
func (l *layered) inOrder() func(yield func(rank) bool) {
	return func(yield func(rank) bool) {
		below, above := l.layers[0], l.layers[1]
		next := 0
		for i := range below.rules {
			at := below.rank(uint32(i))
			for ; above != nil && next < len(above.ranks) && above.ranks[next] < at; next++ {
				if !yield(rank{above.ranks[next], above, uint32(next)}) {
					return
				}
			}
			if !l.isRemoved(below, uint32(i)) && !yield(rank{at, below, uint32(i)}) {
				return
			}
		}
		for ; above != nil && next < len(above.ranks); next++ {
			if !yield(rank{above.ranks[next], above, uint32(next)}) {
				return
			}
		}
	}
}
