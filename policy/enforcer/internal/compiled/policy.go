package compiled

import (
	"cmp"
	"errors"
	"slices"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/index"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/matcher"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/pattern"
)

// Policy is a policy in force: a large layer that was indexed when the policy was read, and a small one of
// what has changed since. It does not change.
type Policy struct {
	Program *Program
	*index.Symbols
	Layers   [2]*layer // below, and what was added since; the second may be nil
	removed  []uint64  // bits: the rules of the first layer that are no longer there
	Graphs   map[string]*index.RoleGraph
	ownRoles string // the role definition in which the roles count that a caller brings; empty for none
	memory   *roleMemory
	Count    int    // of the rules for the matcher
	Linear   string // what every request is slow for, as of Program.linear; empty for nothing
}

// New indexes a whole policy.
func New(p *Program, rules []model.Rule, ownRoles string, order func([]*model.Rule) ([]*model.Rule, error)) (*Policy, error) {
	l := &Policy{Program: p, Symbols: index.NewSymbols(len(rules)), Graphs: map[string]*index.RoleGraph{}, ownRoles: ownRoles, memory: newRoleMemory()}
	asked, links := split(p, rules)
	asked, err := order(asked)
	if err != nil {
		return nil, err
	}
	for key, definition := range p.Names.Roles {
		l.Graphs[key] = index.NewRoleGraph(l.Symbols, definition, p.domainPatterns, links[key])
	}
	ordered := make([]model.Rule, len(asked))
	for i, r := range asked {
		ordered[i] = *r
	}
	l.Count = len(asked)
	if l.Layers[0], err = newLayer(p, l.Symbols, ordered, nil); err != nil {
		return nil, err
	}
	l.Linear = cmp.Or(p.linear(), l.Layers[0].linear())
	return l, nil
}

// split tells the rules that the matcher is asked about from the role links.
func split(p *Program, rules []model.Rule) (asked []*model.Rule, links map[string][]*model.Rule) {
	links = map[string][]*model.Rule{}
	for i := range rules {
		r := &rules[i]
		if _, ok := p.Names.Roles[r.Type()]; ok {
			links[r.Type()] = append(links[r.Type()], r)
		} else if r.Type() == p.Names.Policy {
			asked = append(asked, r)
		}
	}
	return asked, links
}

// ByPriority orders rules as Casbin does where they have a field priority.
func ByPriority(column int) func([]*model.Rule) ([]*model.Rule, error) {
	return func(rules []*model.Rule) ([]*model.Rule, error) {
		if column < 0 {
			return rules, nil
		}
		slices.SortStableFunc(rules, func(a, b *model.Rule) int {
			return cmp.Compare(model.Integer(a.Fields()[column]), model.Integer(b.Fields()[column]))
		})
		return rules, nil
	}
}

// InTurn orders rules by one order, and what that leaves equal by the one before, as stable sorting does.
func InTurn(before, after func([]*model.Rule) ([]*model.Rule, error)) func([]*model.Rule) ([]*model.Rule, error) {
	return func(rules []*model.Rule) ([]*model.Rule, error) {
		rules, err := before(rules)
		if err != nil {
			return nil, err
		}
		return after(rules)
	}
}

func (l *Policy) isRemoved(of *layer, i uint32) bool {
	return l.removed != nil && of == l.Layers[0] && l.removed[i/64]&(1<<(i%64)) != 0
}

// matcher returns a pattern of the policy, compiled, or nil for a text that is none.
func (l *Policy) matcher(function string, pattern index.Symbol) pattern.Matcher {
	for _, layer := range l.Layers {
		if layer == nil {
			continue
		}
		for column, index := range layer.patterns {
			if column.function != function {
				continue
			}
			if compiled := index.Compiled(pattern); compiled != nil {
				return compiled
			}
		}
	}
	return nil
}

// rule returns what a rule for eval says.
func (l *Policy) rule(text index.Symbol) *matcher.Node {
	if l.Layers[1] != nil && l.Layers[1].Evals[text] != nil {
		return l.Layers[1].Evals[text]
	}
	return l.Layers[0].Evals[text]
}

// indexed reports whether the index may be used for that request.
func (q *Query) indexed() bool {
	p := q.Within.Program
	if p.Needs.Never != "" || !q.met(&p.Needs) {
		return false
	}
	for _, l := range q.Within.Layers {
		if l != nil && len(p.evalColumns) > 0 && (l.Needs.Never != "" || !q.met(&l.Needs)) {
			return false
		}
	}
	return true
}

var errNoRule = errors.New("the matcher calls eval, and there is no rule")

// Verdict is what Casbin makes of a request: whether it is allowed, and by which rule.
type Verdict struct {
	Allowed bool
	By      Rank // no rule, where its layer is nil
}

// Decide gives Casbin's verdict on the request that the query holds. With NoWait it returns
// [policy.ErrWouldWait] rather than take more than MaxUnwaited steps.
func (q *Query) Decide() (v Verdict, err error) {
	defer model.Recovered(&err)
	p, many := q.Within.Program, q.NoWait && q.Within.Count > index.MaxUnwaited
	switch {
	case !p.ByRule || q.Within.Count == 0:
		return q.decideOnce()
	case many && q.Within.Linear != "":
		return Verdict{}, policy.ErrWouldWait
	case q.indexed():
		v, err = q.decideIndexed()
		if err == nil || q.Context.Err() != nil || errors.Is(err, policy.ErrWouldWait) {
			return v, err
		} // another error may be one that Casbin does not come to, or comes to later than to its verdict
	}
	if many {
		return Verdict{}, policy.ErrWouldWait
	}
	return q.decideInOrder()
}

func (q *Query) decideIndexed() (v Verdict, err error) {
	defer model.Recovered(&err)
	p := q.Within.Program
	none := Rank{rank: unranked}
	allow, deny := none, none
	if p.Asks[Denying] {
		if deny, err = q.search(p, Denying); err != nil {
			return Verdict{}, err
		}
	}
	if p.Asks[Allowing] && (p.Effect != model.AllowAndDeny || deny == none) {
		if allow, err = q.search(p, Allowing); err != nil {
			return Verdict{}, err
		}
	}
	switch p.Effect {
	case model.AllowOverride:
		return Verdict{allow != none, allow}, nil
	case model.DenyOverride:
		return Verdict{deny == none, deny}, nil
	case model.AllowAndDeny:
		if deny != none {
			return Verdict{false, deny}, nil
		}
		return Verdict{allow != none, allow}, nil
	}
	if deny.rank < allow.rank {
		return Verdict{false, deny}, nil
	}
	return Verdict{allow != none, allow}, nil
}

// Rule returns the rule that stands there.
func (r Rank) Rule() *model.Rule { return &r.Layer.Rules[r.Number] }

// Denies reports whether the rule denies.
func (r Rank) Denies() bool { return r.Layer.denies != nil && r.Layer.denies[r.Number] }

// Ask makes the query one for that request.
func (q *Query) Ask(within *Policy, values []any, roles []string, subject int) {
	q.Within = within
	for _, v := range values {
		q.values = append(q.values, matcher.NewValue(v))
	}
	q.caller = caller{q.values[subject].Text, roles}
}

// Forget drops everything of the request, and keeps the room that it took.
func (q *Query) Forget() {
	clear(q.values)
	clear(q.held)
	clear(q.sets)
	q.values, q.held, q.sets, q.Frame.symbols = q.values[:0], q.held[:0], q.sets[:0], q.Frame.symbols[:0]
	q.caller, q.Within, q.Row, q.Unmet = caller{}, nil, nil, ""
	q.Meter, q.heldAt = index.Meter{}, nil
}

// decideOnce asks a matcher that names no rule, or has none to be asked about: Casbin then takes every field
// of the rule for empty.
func (q *Query) decideOnce() (Verdict, error) {
	if len(q.Within.Program.evalColumns) > 0 {
		return Verdict{}, errNoRule
	}
	q.Row = make([]index.Symbol, q.Within.Program.width)
	v, err := q.evaluate(q.Within.Program.Matcher)
	if err != nil {
		return Verdict{}, err
	}
	if v.Kind != matcher.IsBool {
		return Verdict{}, errKinds
	}
	return Verdict{Allowed: v.Holds() || q.Within.Program.Effect == model.DenyOverride}, nil
}

// decideInOrder asks the matcher about one rule after the other, as Casbin does, until the verdict is clear.
// It is for requests at which the matcher can return an error: Casbin's, if it comes before the verdict.
func (q *Query) decideInOrder() (Verdict, error) {
	p := q.Within.Program
	var firstAllow Rank
	for at := range q.Within.InOrder() {
		holds, err := q.holds(at.Layer, at.Number)
		if err != nil {
			return Verdict{}, err
		}
		if !holds {
			continue
		}
		denies := at.Denies()
		switch {
		case p.Effect == model.AllowOverride && denies, p.Effect == model.DenyOverride && !denies:
			continue
		case p.Effect == model.AllowAndDeny && !denies:
			if firstAllow.Layer == nil {
				firstAllow = at
			}
			continue
		}
		return Verdict{!denies, at}, nil
	}
	return Verdict{firstAllow.Layer != nil || p.Effect == model.DenyOverride, firstAllow}, nil
}

// InOrder yields the rules in force in Casbin's order.
func (l *Policy) InOrder() func(yield func(Rank) bool) {
	return func(yield func(Rank) bool) {
		below, above := l.Layers[0], l.Layers[1]
		next := 0
		for i := range below.Rules {
			at := below.rank(uint32(i))
			for ; above != nil && next < len(above.ranks) && above.ranks[next] < at; next++ {
				if !yield(Rank{above.ranks[next], above, uint32(next)}) {
					return
				}
			}
			if !l.isRemoved(below, uint32(i)) && !yield(Rank{at, below, uint32(i)}) {
				return
			}
		}
		for ; above != nil && next < len(above.ranks); next++ {
			if !yield(Rank{above.ranks[next], above, uint32(next)}) {
				return
			}
		}
	}
}
