package enforcer

import (
	"slices"
)

const (
	// maxWider is how many values of one column may be wider than one, maxTuples how many combinations are looked for at
	// most, and tuplesPerRule how many for each rule in the mean.
	maxWider      = 64
	maxTuples     = 1 << 10
	tuplesPerRule = 16
)

// widerValues finds rules that may cover another one: in each column they have the same as it, or something wider.
type widerValues struct {
	*proof
	columns []widerColumn
	sets    [][]symbol
	values  []symbol // room for the sets
	counts  []int
	budget  int // how many combinations may still be looked for
}

// widerColumn says what may be wider in one column.
type widerColumn struct {
	column   int
	literals []symbol // that the matcher compares with what stands there
	calls    []*node  // of role functions
	indexes  []*patternIndex
}

func newWiderValues(p *proof, columns []int, rules int) widerValues {
	w := widerValues{proof: p, budget: maxTuples + tuplesPerRule*rules}
	for _, column := range columns {
		c := widerColumn{column: column}
		p.formula.each(func(condition *condition) { c.note(p, condition.node) })
		w.columns = append(w.columns, c)
	}
	return w
}

// note takes from a condition what may be wider.
func (c *widerColumn) note(p *proof, n *node) {
	if n.op == opPolicy || len(n.args) < 2 {
		return
	}
	switch {
	case n.op == opEqual, n.op == opIn:
		list := n.args
		if n.op == opIn {
			list = slices.Concat(n.args[:1], n.args[1].args)
		}
		if !slices.ContainsFunc(list, func(arg *node) bool { return arg.op == opPolicy && arg.field == c.column }) {
			return
		}
		for _, arg := range list {
			if id := p.within.find(arg.literal.text); arg.op == opLiteral && arg.literal.kind == isString && id != noSymbol {
				c.literals = append(c.literals, id)
			}
		}
	case n.args[1].op != opPolicy || n.args[1].field != c.column:
	case n.op == opCall && p.within.graphs[n.name] != nil:
		c.calls = append(c.calls, n)
	case n.op == opCall || n.op == opMatches:
		for _, l := range p.within.layers {
			if l == nil {
				continue
			}
			if index := l.patterns[patternColumn{n.name, c.column}]; index != nil && !slices.Contains(c.indexes, index) {
				c.indexes = append(c.indexes, index)
			}
		}
	}
}

// each yields the keys of the combinations that may cover the rule, that of the rule itself first, until it is told that one
// does. The proof holds what is known of a request that the rule matches.
func (w *widerValues) each(row []symbol, found func(key uint64) bool) {
	w.sets, w.counts, w.values = w.sets[:0], w.counts[:0], w.values[:0]
	for i := range w.columns {
		w.sets = append(w.sets, w.of(&w.columns[i], row))
		w.counts = append(w.counts, 0)
	}
	for range maxTuples {
		key := uint64(0)
		for i, at := range w.counts {
			key = tupleKey(key, w.sets[i][at])
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
func (w *widerValues) of(c *widerColumn, row []symbol) []symbol {
	own, start := row[c.column], len(w.values)
	values := append(append(w.values, own), c.literals...)
	name := w.within.text(own)
	for _, call := range c.calls {
		domain := ""
		if len(call.args) > 2 && w.within.program.names.roles[call.name].names > 2 {
			v, known := w.resolve(call.args[2], row)
			if !known || v.kind != isString {
				continue
			}
			domain = v.text
		}
		values = append(values, w.rolesOf(call.name, name, domain)...)
	}
	for _, index := range c.indexes {
		values = index.wider(name, values)
	}
	wider := values[start+1:]
	slices.Sort(wider)
	wider = slices.DeleteFunc(slices.Compact(wider), func(id symbol) bool { return id == own || id == noSymbol })
	end := start + 1 + min(len(wider), maxWider)
	w.values = values[:end]
	return values[start:end:end]
}
