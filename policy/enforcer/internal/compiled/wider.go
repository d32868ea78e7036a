package compiled

import (
	"slices"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/index"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/matcher"
)

const (
	// maxWider is how many values of one column may be wider than one, maxTuples how many combinations are looked for at
	// most, and tuplesPerRule how many for each rule in the mean.
	maxWider      = 64
	maxTuples     = 1 << 10
	tuplesPerRule = 16
)

// WiderValues finds rules that may cover another one: in each column they have the same as it, or something wider.
type WiderValues struct {
	*Proof
	columns []widerColumn
	sets    [][]index.Symbol
	values  []index.Symbol // room for the sets
	counts  []int
	budget  int // how many combinations may still be looked for
}

// widerColumn says what may be wider in one column.
type widerColumn struct {
	column   int
	literals []index.Symbol  // that the matcher compares with what stands there
	calls    []*matcher.Node // of role functions
	indexes  []*index.Patterns
}

// NewWiderValues looks for rules that are wider in those columns, of as many rules.
func NewWiderValues(p *Proof, columns []int, rules int) WiderValues {
	w := WiderValues{Proof: p, budget: maxTuples + tuplesPerRule*rules}
	for _, column := range columns {
		c := widerColumn{column: column}
		p.Formula.Each(func(condition *matcher.Condition) { c.note(p, condition.Node) })
		w.columns = append(w.columns, c)
	}
	return w
}

// note takes from a condition what may be wider.
func (c *widerColumn) note(p *Proof, n *matcher.Node) {
	if n.Op == matcher.OpPolicy || len(n.Args) < 2 {
		return
	}
	switch {
	case n.Op == matcher.OpEqual, n.Op == matcher.OpIn:
		list := n.Args
		if n.Op == matcher.OpIn {
			list = slices.Concat(n.Args[:1], n.Args[1].Args)
		}
		if !slices.ContainsFunc(list, func(arg *matcher.Node) bool { return arg.Op == matcher.OpPolicy && arg.Field == c.column }) {
			return
		}
		for _, arg := range list {
			if id := p.Within.Find(arg.Literal.Text); arg.Op == matcher.OpLiteral && arg.Literal.Kind == matcher.IsString && id != index.NoSymbol {
				c.literals = append(c.literals, id)
			}
		}
	case n.Args[1].Op != matcher.OpPolicy || n.Args[1].Field != c.column:
	case n.Op == matcher.OpCall && p.Within.Graphs[n.Name] != nil:
		c.calls = append(c.calls, n)
	case n.Op == matcher.OpCall || n.Op == matcher.OpMatches:
		for _, l := range p.Within.Layers {
			if l == nil {
				continue
			}
			if index := l.patterns[patternColumn{n.Name, c.column}]; index != nil && !slices.Contains(c.indexes, index) {
				c.indexes = append(c.indexes, index)
			}
		}
	}
}

// Each yields the keys of the combinations that may cover the rule, that of the rule itself first, until it is told that one
// does. The proof holds what is known of a request that the rule matches.
func (w *WiderValues) Each(row []index.Symbol, found func(key uint64) bool) {
	w.sets, w.counts, w.values = w.sets[:0], w.counts[:0], w.values[:0]
	for i := range w.columns {
		w.sets = append(w.sets, w.of(&w.columns[i], row))
		w.counts = append(w.counts, 0)
	}
	for range maxTuples {
		key := uint64(0)
		for i, at := range w.counts {
			key = TupleKey(key, w.sets[i][at])
		}
		if w.budget--; found(key) || w.budget < 0 {
			return
		}
		i := len(w.counts) - 1
		for ; i >= 0; i-- {
			if w.counts[i]++; w.counts[i] < len(w.sets[i]) {
				break
			}
			w.counts[i] = 0
		}
		if i < 0 {
			return
		}
	}
}

// of returns what may stand in a column of a wider rule, the rule's own value first.
func (w *WiderValues) of(c *widerColumn, row []index.Symbol) []index.Symbol {
	own, start := row[c.column], len(w.values)
	values := append(append(w.values, own), c.literals...)
	name := w.Within.Text(own)
	for _, call := range c.calls {
		domain := ""
		if len(call.Args) > 2 && w.Within.Program.Names.Roles[call.Name].Names > 2 {
			v, known := w.resolve(call.Args[2], row)
			if !known || v.Kind != matcher.IsString {
				continue
			}
			domain = v.Text
		}
		values = append(values, w.rolesOf(call.Name, name, domain)...)
	}
	for _, index := range c.indexes {
		values = index.Wider(name, values)
	}
	wider := values[start+1:]
	slices.Sort(wider)
	wider = slices.DeleteFunc(slices.Compact(wider), func(id index.Symbol) bool { return id == own || id == index.NoSymbol })
	end := start + 1 + min(len(wider), maxWider)
	w.values = values[:end]
	return values[start:end:end]
}
