package enforcer

import (
	"net"
	"slices"
	"unsafe"
)

const (
	// maxEquivalent is how many patterns are looked at that match the same texts.
	maxEquivalent = 8
	// maxWider is how many values of one column may be wider than one, maxTuples how many combinations are looked for at
	// most, and tuplesPerRule how many for each rule in the mean.
	maxWider      = 64
	maxTuples     = 1 << 10
	tuplesPerRule = 16
	// maxUnindexed bounds how often patterns are asked that no index knows.
	maxUnindexed = 20_000_000
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

// wider appends patterns that may match all that the pattern matches. A pattern is matched by those wider than it as if it
// were a text, and an expression that matches a few texts by those that match these.
func (x *patternIndex) wider(pattern string, found []symbol) []symbol {
	texts := []string{pattern}
	switch x.function {
	case "regexMatch":
		if few, ok := textsOf(x.function, pattern); ok {
			texts = few[:1]
		}
	case "ipMatch":
		if address, _, err := net.ParseCIDR(pattern); err == nil {
			texts[0] = address.String()
		}
	}
	text := texts[0]
	found = append(found, some(x.equal[text])...)
	for _, length := range x.begins.lengths {
		if length > len(text) {
			break
		}
		found = append(found, some(x.begins.symbols[text[:length]])...)
	}
	found = x.widerShapes(text, found)
	found = x.widerBlocks(text, found)
	if len(x.matchers)*len(x.asks.known) > maxUnindexed {
		return found
	}
	for _, id := range x.asks.of(text, nil) {
		if holds, err := x.matchers[id].match(text); holds && err == nil {
			found = append(found, id)
		}
	}
	return found
}

// some returns the first of patterns that match the same.
func some(patterns []symbol) []symbol { return patterns[:min(len(patterns), maxEquivalent)] }

func (x *patternIndex) widerShapes(text string, found []symbol) []symbol {
	var buffer [maxKey]byte
	for _, s := range x.shapes[:min(len(x.shapes), maxTuples)] {
		key, ok := s.keyOf(text, buffer[:0])
		if !ok {
			continue
		}
		if at := s.keys.find(unsafe.String(unsafe.SliceData(key), len(key))); at != noSymbol { //nolint:gosec // only looked at
			found = append(append(found, s.first[at]), some(s.others[at])...)
		}
	}
	return found
}

func (x *patternIndex) widerBlocks(text string, found []symbol) []symbol {
	if len(x.bits) == 0 || net.ParseIP(text) == nil {
		return found
	}
	return x.findAddress(text, found)
}
