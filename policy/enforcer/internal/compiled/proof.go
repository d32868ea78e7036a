package compiled

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/index"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/matcher"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/pattern"
)

// Proof tells what holds of rules whatever the request is, as long as that is one at which the matcher has a result for
// every rule (needs).
type Proof struct {
	Frame
	fields  []string // of the request
	Formula *matcher.Formula
	ways    []way
	Evals   uint64          // the columns that rules for eval name
	chains  map[string]bool // the role definitions in which the roles of a role are those of whoever has it
	known   uint64          // the fields of the request that are known, of which values has the values
}

// way is one alternative of the matcher, and what the request must be for it to hold.
type way struct {
	conditions []*matcher.Condition
	facts      []fact
}

// fact says that a field of the request is what stands in the rule, or a literal.
type fact struct {
	field int
	value *matcher.Node
}

// NewProof returns what proves things of the rules of a policy. The fields are those of the request, by their names; chains
// are the role definitions in which whoever has a role has the roles that this one has.
func NewProof(within *Policy, fields []string, chains map[string]bool) *Proof {
	p := &Proof{
		Frame: Frame{Within: within, values: make([]matcher.Value, len(fields))}, fields: fields,
		Formula: matcher.NewFormula(within.Program.Matcher, false), chains: chains,
	}
	for _, l := range within.Layers {
		if l != nil {
			for _, tree := range l.Evals {
				p.Evals |= matcher.ColumnsOf(tree)
			}
		}
	}
	for _, conditions := range p.Formula.Alternatives() {
		w := way{conditions: conditions}
		for _, c := range conditions {
			if c.Negated || c.Node.Op != matcher.OpEqual {
				continue
			}
			for i, side := range c.Node.Args {
				other := c.Node.Args[1-i]
				if field, ok := side.PlainRequest(); ok && (other.Op == matcher.OpPolicy || other.Op == matcher.OpLiteral) {
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
func (p *Proof) suppose(w *way, row []index.Symbol) (failed *matcher.Condition, possible bool) {
	p.known = 0
	for _, f := range w.facts {
		if p.known&(1<<f.field) == 0 {
			p.values[f.field], p.known = p.valueOf(f.value, row), p.known|1<<f.field
		}
	}
	for _, c := range w.conditions {
		if holds, certain := p.truth(c.Node, row); certain && holds == c.Negated {
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
func canBe(field string, v matcher.Value) bool {
	if v.Kind != matcher.IsString {
		return true
	}
	return (field != "sub" || v.Text != "") && strings.IndexFunc(v.Text, func(c rune) bool { return c < ' ' || c == 0x7f }) < 0
}

// valueOf returns a literal, or what stands in the rule.
func (p *Proof) valueOf(n *matcher.Node, row []index.Symbol) matcher.Value {
	if n.Op == matcher.OpLiteral {
		return n.Literal
	}
	return matcher.Text(p.Within.Text(row[n.Field]))
}

// Matchable reports whether there may be a request that the rule matches. If it is for one condition that there is none,
// it returns that condition.
func (p *Proof) Matchable(row []index.Symbol) (failed *matcher.Condition, ok bool) {
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

// Implies reports whether whatever request the narrow rule matches, the wide one does.
func (p *Proof) Implies(narrow, wide []index.Symbol) bool {
	for i := range p.ways {
		if _, possible := p.suppose(&p.ways[i], narrow); possible && !p.holds(p.Formula, &p.ways[i], narrow, wide) {
			return false
		}
	}
	return true
}

func (p *Proof) holds(f *matcher.Formula, w *way, narrow, wide []index.Symbol) bool {
	switch f.Op {
	case matcher.OpAnd:
		return p.holds(f.Parts[0], w, narrow, wide) && p.holds(f.Parts[1], w, narrow, wide)
	case matcher.OpOr:
		return p.holds(f.Parts[0], w, narrow, wide) || p.holds(f.Parts[1], w, narrow, wide)
	default:
	}
	if holds, certain := p.truth(f.Node, wide); certain {
		return holds != f.Negated
	}
	return slices.ContainsFunc(w.conditions, func(c *matcher.Condition) bool { return p.follows(c, f.Condition, narrow, wide) })
}

// follows reports whether the one condition, of the narrow rule, makes the other hold, of the wide one.
func (p *Proof) follows(from, to *matcher.Condition, narrow, wide []index.Symbol) bool {
	if from.Negated == to.Negated && from.Node.Equal(to.Node) && p.agree(from, narrow, wide) {
		return true
	}
	a, b := from.Node, to.Node
	if from.Negated || to.Negated || a.Op != b.Op || a.Name != b.Name || a.Op != matcher.OpCall && a.Op != matcher.OpMatches ||
		len(a.Args) < 2 || len(a.Args) != len(b.Args) || !a.Args[0].Equal(b.Args[0]) || !matcher.Independent(a.Args[0]) ||
		!Fixed(a.Args[1]) || !Fixed(b.Args[1]) {
		return false
	}
	has, wants := p.valueOf(a.Args[1], narrow), p.valueOf(b.Args[1], wide)
	if has.Kind != matcher.IsString || wants.Kind != matcher.IsString {
		return false
	}
	if _, builtin := model.Builtins[a.Name]; !builtin {
		return p.inherits(a, b, has.Text, wants.Text, narrow, wide)
	}
	_, plain := a.Args[0].PlainRequest()
	return plain && len(a.Args) == 2 && pattern.Covers(a.Name, wants.Text, has.Text)
}

// Fixed reports whether the node is a literal, or stands in the rule.
func Fixed(n *matcher.Node) bool { return n.Op == matcher.OpLiteral || n.Op == matcher.OpPolicy }

// agree reports whether the rules have the same in the columns that the condition names.
func (p *Proof) agree(c *matcher.Condition, narrow, wide []index.Symbol) bool {
	columns := c.Columns
	if c.Node.Calls("eval") {
		columns |= p.Evals
	}
	for ; columns != 0; columns &= columns - 1 {
		if column := bits.TrailingZeros64(columns); narrow[column] != wide[column] {
			return false
		}
	}
	return true
}

// inherits reports whether whoever has the one role, by the call a, has the other one by the call b.
func (p *Proof) inherits(a, b *matcher.Node, has, wants string, narrow, wide []index.Symbol) bool {
	if !p.chains[a.Name] {
		return false
	}
	domain := ""
	if len(a.Args) > 2 && p.Within.Program.Names.Roles[a.Name].Names > 2 {
		first, known := p.resolve(a.Args[2], narrow)
		second, alsoKnown := p.resolve(b.Args[2], wide)
		if !known || !alsoKnown || first.Kind != matcher.IsString || !first.Equals(second) {
			return false
		}
		domain = first.Text
	}
	return slices.Contains(p.rolesOf(a.Name, has, domain), p.Within.Find(wants))
}

// rolesOf returns the role and those that it has, without any that a caller brings; nothing where they are many.
func (p *Proof) rolesOf(definition, name, domain string) []index.Symbol {
	p.held, p.symbols = p.held[:0], p.symbols[:0]
	held := heldRoles{definition: definition, name: name, domain: domain}
	if !p.hold(&held, maxWider) {
		return nil
	}
	return held.symbols
}

// resolve returns what the node is, where that is known.
func (p *Proof) resolve(n *matcher.Node, row []index.Symbol) (matcher.Value, bool) {
	if field, ok := n.PlainRequest(); ok {
		return p.values[field], p.known&(1<<field) != 0
	}
	if !Fixed(n) {
		return matcher.Value{}, false
	}
	return p.valueOf(n, row), true
}

// truth evaluates a part of the matcher, with what is known of the request.
func (p *Proof) truth(n *matcher.Node, row []index.Symbol) (holds, certain bool) {
	switch n.Op {
	case matcher.OpAnd, matcher.OpOr:
		left, leftCertain := p.truth(n.Args[0], row)
		right, rightCertain := p.truth(n.Args[1], row)
		decides := n.Op == matcher.OpOr // the value that is enough on one side
		if leftCertain && left == decides || rightCertain && right == decides {
			return decides, true
		}
		return !decides, leftCertain && rightCertain
	case matcher.OpNot:
		holds, certain = p.truth(n.Args[0], row)
		return !holds, certain
	case matcher.OpCall:
		if n.Name == "eval" {
			return p.truth(p.Within.rule(row[n.Args[0].Field]), row)
		}
	default:
	}
	own := n.Op == matcher.OpCall && n.Name == p.Within.ownRoles
	if !p.isKnown(n, own) {
		return false, false
	}
	p.held, p.symbols, p.Row = p.held[:0], p.symbols[:0], row
	v, err := p.evaluate(n)
	if err != nil || v.Kind != matcher.IsBool || own && !v.Holds() { // a role that is not held may be one that the caller brings
		return false, false
	}
	return v.Holds(), true
}

// isKnown reports whether nothing of the node depends on what is not known of the request. The roles of a caller are not
// known; of a call itself the false result is not.
func (p *Proof) isKnown(n *matcher.Node, call bool) bool {
	if n.Op == matcher.OpRequest {
		field, plain := n.PlainRequest()
		return plain && p.known&(1<<field) != 0
	}
	if n.Op == matcher.OpCall && !call && (n.Name == p.Within.ownRoles || n.Name == "eval") {
		return false
	}
	return !slices.ContainsFunc(n.Args, func(arg *matcher.Node) bool { return !p.isKnown(arg, false) })
}
