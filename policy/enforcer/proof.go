package enforcer

import (
	"math/bits"
	"slices"
	"strings"
)

// proof tells what holds of rules whatever the request is, as long as that is one at which the matcher has a result for
// every rule (needs).
type proof struct {
	frame
	fields  []string // of the request
	formula *formula
	ways    []way
	evals   uint64          // the columns that rules for eval name
	chains  map[string]bool // the role definitions in which the roles of a role are those of whoever has it
	known   uint64          // the fields of the request that are known, of which values has the values
}

// way is one alternative of the matcher, and what the request must be for it to hold.
type way struct {
	conditions []*condition
	facts      []fact
}

// fact says that a field of the request is what stands in the rule, or a literal.
type fact struct {
	field int
	value *node
}

func newProof(within *layered, fields []string, chains map[string]bool) *proof {
	p := &proof{
		frame: frame{within: within, values: make([]value, len(fields))}, fields: fields,
		formula: newFormula(within.program.matcher, false), chains: chains,
	}
	for _, l := range within.layers {
		if l != nil {
			for _, tree := range l.evals {
				p.evals |= columnsOf(tree)
			}
		}
	}
	for _, conditions := range p.formula.alternatives() {
		w := way{conditions: conditions}
		for _, c := range conditions {
			if c.negated || c.node.op != opEqual {
				continue
			}
			for i, side := range c.node.args {
				other := c.node.args[1-i]
				if field, ok := side.plainRequest(); ok && (other.op == opPolicy || other.op == opLiteral) {
					w.facts = append(w.facts, fact{field, other})
				}
			}
		}
		p.ways = append(p.ways, w)
	}
	return p
}

// suppose takes the rule to match in that way, and notes what the request then is. Where there is no such request, it
// returns the condition that cannot hold, or nil for all of them together.
func (p *proof) suppose(w *way, row []symbol) (failed *condition, possible bool) {
	p.known = 0
	for _, f := range w.facts {
		if p.known&(1<<f.field) == 0 {
			p.values[f.field], p.known = p.valueOf(f.value, row), p.known|1<<f.field
		}
	}
	for _, c := range w.conditions {
		if holds, certain := p.truth(c.node, row); certain && holds == c.negated {
			return c, false
		}
	}
	for known := p.known; known != 0; known &= known - 1 {
		field := bits.TrailingZeros64(known)
		if !canBe(p.fields[field], p.values[field]) {
			return nil, false
		}
	}
	return nil, true
}

// canBe reports whether a request can have that value in the field (checkValue).
func canBe(field string, v value) bool {
	if v.kind != isString {
		return true
	}
	return (field != "sub" || v.text != "") && strings.IndexFunc(v.text, func(c rune) bool { return c < ' ' || c == 0x7f }) < 0
}

// valueOf returns a literal, or what stands in the rule.
func (p *proof) valueOf(n *node, row []symbol) value {
	if n.op == opLiteral {
		return n.literal
	}
	return text(p.within.text(row[n.field]))
}

// matchable reports whether there may be a request that the rule matches. If it is for one condition that there is none,
// it returns that condition.
func (p *proof) matchable(row []symbol) (failed *condition, ok bool) {
	for i := range p.ways {
		if failed, ok = p.suppose(&p.ways[i], row); ok {
			return nil, true
		}
	}
	if len(p.ways) > 1 {
		failed = nil
	}
	return failed, false
}

// implies reports whether whatever request the narrow rule matches, the wide one does.
func (p *proof) implies(narrow, wide []symbol) bool {
	for i := range p.ways {
		if _, possible := p.suppose(&p.ways[i], narrow); possible && !p.holds(p.formula, &p.ways[i], narrow, wide) {
			return false
		}
	}
	return true
}

func (p *proof) holds(f *formula, w *way, narrow, wide []symbol) bool {
	switch f.op {
	case opAnd:
		return p.holds(f.parts[0], w, narrow, wide) && p.holds(f.parts[1], w, narrow, wide)
	case opOr:
		return p.holds(f.parts[0], w, narrow, wide) || p.holds(f.parts[1], w, narrow, wide)
	default:
	}
	if holds, certain := p.truth(f.node, wide); certain {
		return holds != f.negated
	}
	return slices.ContainsFunc(w.conditions, func(c *condition) bool { return p.follows(c, f.condition, narrow, wide) })
}

// follows reports whether the one condition, of the narrow rule, makes the other hold, of the wide one.
func (p *proof) follows(from, to *condition, narrow, wide []symbol) bool {
	if from.negated == to.negated && from.node.equal(to.node) && p.agree(from, narrow, wide) {
		return true
	}
	a, b := from.node, to.node
	if from.negated || to.negated || a.op != b.op || a.name != b.name || a.op != opCall && a.op != opMatches ||
		len(a.args) < 2 || len(a.args) != len(b.args) || !a.args[0].equal(b.args[0]) || !independent(a.args[0]) ||
		!fixed(a.args[1]) || !fixed(b.args[1]) {
		return false
	}
	has, wants := p.valueOf(a.args[1], narrow), p.valueOf(b.args[1], wide)
	if has.kind != isString || wants.kind != isString {
		return false
	}
	if _, builtin := builtins[a.name]; !builtin {
		return p.inherits(a, b, has.text, wants.text, narrow, wide)
	}
	_, plain := a.args[0].plainRequest()
	return plain && len(a.args) == 2 && covers(a.name, wants.text, has.text)
}

// fixed reports whether the node is a literal, or stands in the rule.
func fixed(n *node) bool { return n.op == opLiteral || n.op == opPolicy }

// agree reports whether the rules have the same in the columns that the condition names.
func (p *proof) agree(c *condition, narrow, wide []symbol) bool {
	columns := c.columns
	if c.node.calls("eval") {
		columns |= p.evals
	}
	for ; columns != 0; columns &= columns - 1 {
		if column := bits.TrailingZeros64(columns); narrow[column] != wide[column] {
			return false
		}
	}
	return true
}

// inherits reports whether whoever has the one role, by the call a, has the other one by the call b.
func (p *proof) inherits(a, b *node, has, wants string, narrow, wide []symbol) bool {
	if !p.chains[a.name] {
		return false
	}
	domain := ""
	if len(a.args) > 2 && p.within.program.names.roles[a.name].names > 2 {
		first, known := p.resolve(a.args[2], narrow)
		second, alsoKnown := p.resolve(b.args[2], wide)
		if !known || !alsoKnown || first.kind != isString || !first.equals(second) {
			return false
		}
		domain = first.text
	}
	return slices.Contains(p.rolesOf(a.name, has, domain), p.within.find(wants))
}

// rolesOf returns the role and those that it has, without any that a caller brings; nothing where they are many.
func (p *proof) rolesOf(definition, name, domain string) []symbol {
	p.held, p.symbols = p.held[:0], p.symbols[:0]
	held := heldRoles{definition: definition, name: name, domain: domain}
	if !p.hold(&held, maxWider) {
		return nil
	}
	return held.symbols
}

// resolve returns what the node is, where that is known.
func (p *proof) resolve(n *node, row []symbol) (value, bool) {
	if field, ok := n.plainRequest(); ok {
		return p.values[field], p.known&(1<<field) != 0
	}
	if !fixed(n) {
		return value{}, false
	}
	return p.valueOf(n, row), true
}

// truth evaluates a part of the matcher, with what is known of the request.
func (p *proof) truth(n *node, row []symbol) (holds, certain bool) {
	switch n.op {
	case opAnd, opOr:
		left, leftCertain := p.truth(n.args[0], row)
		right, rightCertain := p.truth(n.args[1], row)
		decides := n.op == opOr // the value that is enough on one side
		if leftCertain && left == decides || rightCertain && right == decides {
			return decides, true
		}
		return !decides, leftCertain && rightCertain
	case opNot:
		holds, certain = p.truth(n.args[0], row)
		return !holds, certain
	case opCall:
		if n.name == "eval" {
			return p.truth(p.within.rule(row[n.args[0].field]), row)
		}
	default:
	}
	own := n.op == opCall && n.name == p.within.ownRoles
	if !p.isKnown(n, own) {
		return false, false
	}
	p.held, p.symbols, p.row = p.held[:0], p.symbols[:0], row
	v, err := p.evaluate(n)
	if err != nil || v.kind != isBool || own && !v.holds() { // a role that is not held may be one that the caller brings
		return false, false
	}
	return v.holds(), true
}

// isKnown reports whether nothing of the node depends on what is not known of the request. The roles of a caller are not
// known; of a call itself the false result is not.
func (p *proof) isKnown(n *node, call bool) bool {
	if n.op == opRequest {
		field, plain := n.plainRequest()
		return plain && p.known&(1<<field) != 0
	}
	if n.op == opCall && !call && (n.name == p.within.ownRoles || n.name == "eval") {
		return false
	}
	return !slices.ContainsFunc(n.args, func(arg *node) bool { return !p.isKnown(arg, false) })
}
