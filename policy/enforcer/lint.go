package enforcer

import (
	"fmt"
	"math/bits"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/compiled"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/index"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/matcher"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
)

// Lint looks for rules and role links that have no effect, and returns at most 100 warnings, in the order of the text:
//
//   - a rule that can never match, because a condition of the matcher never holds for it;
//   - a rule of an effect that the policy effect does not ask for;
//   - a rule whose verdict another one gives already: with the same fields, with a wider pattern, for a role that the
//     other rule's role has, or for everyone; and, under an effect by priority, one that is never reached because an
//     earlier one always decides;
//   - an allowing rule that is always overridden by a denying one;
//   - a role link that leads to a role of which nothing speaks;
//   - a rule for a role that nobody has, where one exists that differs in upper and lower case only.
//
// What it reports is so for every request at which the matcher has a result for every rule, which [Enforcer.Evaluate]
// denies otherwise. To leave out all the rules that it reports changes no verdict, as long as one rule is left.
//
// It does not look for rules that several others cover together, for regular expressions and globs that cover one
// another, unless the narrower one matches a few texts only, for conditions with ! or <, or for what the configuration
// says about the request. Nothing is said of rules where Casbin itself evaluates the matcher, or where it may have no
// result whatever the request is. The time is in proportion to the number of rules, so that where rules have many roles
// and patterns, some of what could be found is not.
func (e *Enforcer) Lint() policy.Findings {
	r := &model.Report{File: e.policyFile}
	if e.compiled == nil {
		return nil
	}
	links := e.readLinks()
	e.lintRules(links, r)
	e.lintLinks(links, r)
	return ordered(r)
}

// linter looks at the rules for the matcher.
type linter struct {
	*compiled.Proof
	enforcer *Enforcer
	report   *model.Report
	unit     string // what a rule stands in: a line, or a row

	rules   []compiled.Rank // in the order in which they are asked
	inOrder bool            // the first that matches decides
	columns []int           // that the matcher names
	by      [2]*index.Postings
	wider   compiled.WiderValues
	covered map[int]int // rules that were reported, and which rule covers each
}

// row returns what stands in a rule.
func (l *linter) row(i int) []index.Symbol { return l.rules[i].Layer.Row(l.rules[i].Number) }

func (l *linter) effect(i int) int {
	if l.rules[i].Denies() {
		return compiled.Denying
	}
	return compiled.Allowing
}

func (l *linter) at(i int) *model.Rule { return l.enforcer.standing(l.rules[i]) }

// name returns how a message names a rule.
func (l *linter) name(i int) string { return fmt.Sprintf("%s %d", l.unit, l.at(i).Line) }

func (e *Enforcer) lintRules(links *linkSet, r *model.Report) {
	l := &linter{enforcer: e, report: r, unit: e.unit(), covered: map[int]int{}, rules: make([]compiled.Rank, 0, e.compiled.Count)}
	denies := false
	for at := range e.compiled.InOrder() {
		l.rules = append(l.rules, at)
		denies = denies || at.Denies()
	}
	if len(l.rules) == 0 {
		return
	}
	program := e.compiled.Program
	if !program.ByRule {
		r.Warnf(l.at(0).Place(0), "the rules have no effect, this one and %d more: the matcher names no field of the policy", len(l.rules)-1)
		return
	}
	for _, layer := range e.compiled.Layers {
		if program.Needs.Never != "" || layer != nil && layer.Needs.Never != "" {
			return
		}
	}
	l.Proof = compiled.NewProof(e.compiled, e.fieldNames(), links.transitive())
	l.inOrder = denies && (program.Effect == model.Priority || program.Effect == model.SubjectPriority)
	l.reportIdle(program)
	l.index(program)
	for i := range l.rules {
		if r.Counts[policy.LevelWarning] >= model.MaxFindings {
			return
		}
		if program.Asks[l.effect(i)] {
			l.look(i)
		}
	}
}

// unit returns what a rule stands in.
func (e *Enforcer) unit() string {
	if e.rules.table {
		return "row"
	}
	return "line"
}

// reportIdle reports the rules whose effect nobody asks for, as one finding.
func (l *linter) reportIdle(program *compiled.Program) {
	first, count := -1, 0
	for i := range l.rules {
		if !program.Asks[l.effect(i)] {
			if count++; first < 0 {
				first = i
			}
		}
	}
	if count == 0 {
		return
	}
	verb := verbOf(l.effect(first))
	others := ""
	if count > 1 {
		others = fmt.Sprintf(", and so do %d more", count-1)
	}
	l.warn(first, program.EffectColumn, "the rule %s%s, which has no effect under %s", verb, others, program.Effect)
}

// warn reports a rule, at a column of it, or at its beginning where that is negative.
func (l *linter) warn(i, column int, format string, args ...any) {
	l.report.Warnf(l.at(i).Place(column+1), format, args...)
}

// index prepares the search for rules by what stands in the columns that the matcher names.
func (l *linter) index(program *compiled.Program) {
	used := l.Evals
	l.Formula.Each(func(c *matcher.Condition) { used |= c.Columns })
	for ; used != 0; used &= used - 1 {
		l.columns = append(l.columns, bits.TrailingZeros64(used))
	}
	var numbers [2][]uint32
	for i := range l.rules {
		if effect := l.effect(i); program.Asks[effect] {
			numbers[effect] = append(numbers[effect], uint32(i))
		}
	}
	for effect := range l.by {
		l.by[effect] = index.NewPostings(len(numbers[effect]), func(i int) (uint64, uint32) {
			key, row := uint64(0), l.row(int(numbers[effect][i]))
			for _, column := range l.columns {
				key = compiled.TupleKey(key, row[column])
			}
			return key, numbers[effect][i]
		})
	}
	l.wider = compiled.NewWiderValues(l.Proof, l.columns, len(l.rules))
}

// look reports the rule if it has no effect.
func (l *linter) look(i int) {
	row := l.row(i)
	if failed, ok := l.Matchable(row); !ok {
		l.reportNever(i, failed)
		return
	}
	other := -1
	l.wider.Each(row, func(key uint64) bool {
		other = l.coveringAmong(i, key)
		return other >= 0
	})
	if other < 0 {
		return
	}
	l.covered[i] = other
	l.reportCovered(i, other)
}

func (l *linter) reportNever(i int, failed *matcher.Condition) {
	if failed == nil {
		l.warn(i, -1, "the rule can never match: no request meets the conditions of the matcher for it")
		return
	}
	column := -1
	if bits.OnesCount64(failed.Columns) == 1 {
		column = bits.TrailingZeros64(failed.Columns)
	}
	text := failed.Node.String()
	if failed.Negated {
		text = "!(" + text + ")"
	}
	l.warn(i, column, "the rule can never match: for it %s never holds together with the rest of the matcher", text)
}

// coveringAmong returns one of the rules with that key that makes the rule needless, or -1.
func (l *linter) coveringAmong(i int, key uint64) int {
	own := l.effect(i)
	for _, effect := range []int{compiled.Denying, compiled.Allowing} {
		overrides := effect == compiled.Denying && l.enforcer.compiled.Program.Effect == model.AllowAndDeny
		if effect != own && !l.inOrder && !overrides {
			continue
		}
		numbers := l.by[effect].Of(key)
		if len(numbers) > 0 && l.isCovered(i, int(numbers[0])) {
			return int(numbers[0]) // the others with these fields are the same
		}
	}
	return -1
}

// isCovered reports whether the rule is needless because of the other.
func (l *linter) isCovered(i, other int) bool {
	if other == i || l.inOrder && other > i {
		return false
	}
	if l.enforcer.compiled.Program.SortsBySubject && l.inOrder && !l.samePlace(i, other) {
		return false
	}
	if !l.Implies(l.row(i), l.row(other)) {
		return false
	}
	if other < i || l.effect(i) != l.effect(other) {
		return !l.leadsTo(other, i)
	}
	return !l.Implies(l.row(other), l.row(i)) && !l.leadsTo(other, i) // else it is the later one that is needless
}

// samePlace reports whether rules are ordered by their lines alone under an effect by subject priority, however deep below
// other roles their subject is taken to be.
func (l *linter) samePlace(i, other int) bool {
	a, b := l.row(i), l.row(other)
	domain := model.FieldIndex(l.enforcer.compiled.Program.Names.Policies, "dom")
	return a[0] == b[0] && (domain < 0 || a[domain] == b[domain])
}

// leadsTo reports whether one rule is needless because of another one that is so, in the end, because of the last.
func (l *linter) leadsTo(from, to int) bool {
	for {
		next, covered := l.covered[from]
		if !covered || next == to {
			return covered
		}
		from = next
	}
}

func verbOf(effect int) string {
	if effect == compiled.Denying {
		return "denies"
	}
	return "allows"
}

func (l *linter) reportCovered(i, other int) {
	verb, otherVerb := verbOf(l.effect(i)), verbOf(l.effect(other))
	switch {
	case l.effect(i) != l.effect(other) && l.inOrder:
		l.warn(i, -1, "the rule has no effect: %s comes first and %s all that this rule %s", l.name(other), otherVerb, verb)
	case l.effect(i) != l.effect(other):
		l.warn(i, -1, "the rule has no effect: %s %s all that this rule %s", l.name(other), otherVerb, verb)
	case l.Implies(l.row(other), l.row(i)):
		l.warn(i, -1, "the rule %s what %s %s already", verb, l.name(other), otherVerb)
	default:
		l.warn(i, -1, "the rule is not needed: %s %s all that this rule %s", l.name(other), otherVerb, verb)
	}
}

func (e *Enforcer) fieldNames() []string {
	names := make([]string, len(e.fields))
	for i := range e.fields {
		names[i] = e.fields[i].name
	}
	return names
}
