package enforcer

import (
	"fmt"
	"slices"
)

// program is a model, compiled. It depends on no rule.
type program struct {
	names   *namespace
	matcher *node
	effect  string
	width   int // fields of a rule

	effectColumn   int // -1 where all rules allow
	priorityColumn int // -1 where rules are asked in the order of the policy
	byRule         bool
	domainPatterns bool // domains of role links are patterns
	sortsBySubject bool // links of g order the rules, too

	branches       []branch
	asks           [2]bool // which effects of rules count
	patternColumns []patternColumn
	evalColumns    []int
	needs          needs
}

// newProgram compiles a model. Its error says what of the matcher is not compiled.
func newProgram(m *modelDefinition) (*program, error) {
	c := m.context
	p := &program{
		names: &namespace{
			request: c.Request, policy: c.Policy,
			requestFields: m.requests[c.Request], policies: m.policies[c.Policy], roles: m.roles,
		},
		effect: m.effect, width: len(m.policies[c.Policy]),
		effectColumn: fieldIndex(m.policies[c.Policy], "eft"), priorityColumn: fieldIndex(m.policies[c.Policy], "priority"),
		byRule: asksRules(m.byKey[c.Matcher].value, c.Policy),
	}
	if p.width > 64 {
		return nil, fmt.Errorf("a policy definition of %d fields, more than 64, is not compiled", p.width)
	}
	text := casbinValue("m", m.byKey[c.Matcher].value)
	var err error
	if p.matcher, err = p.names.parse(text); err != nil {
		return nil, err
	}
	p.domainPatterns, p.sortsBySubject = takesDomainPatterns(m), m.sortsBySubject()
	p.asks = map[string][2]bool{allowOverride: {allowing: true}, denyOverride: {denying: true}}[m.effect]
	if p.asks == [2]bool{} {
		p.asks = [2]bool{true, true}
	}
	p.branches = plan(p.matcher)
	describe(p.branches, p.names.policies)
	p.collect(p.matcher)
	p.needs = needsOf(p.matcher)
	return p, nil
}

// collect finds the columns whose texts are compiled.
func (p *program) collect(n *node) {
	if at, ok := patternArguments[n.name]; ok && (n.op == opCall || n.op == opMatches) && at < len(n.args) && n.args[at].op == opPolicy {
		c := patternColumn{n.name, n.args[at].field}
		compiled := n.name != "keyGet" && n.name != "keyGet2" && n.name != "keyGet3"
		switch {
		case n.name == "eval":
			if !slices.Contains(p.evalColumns, c.column) {
				p.evalColumns = append(p.evalColumns, c.column)
			}
		case compiled && !slices.Contains(p.patternColumns, c):
			p.patternColumns = append(p.patternColumns, c)
		}
	}
	for _, arg := range n.args {
		p.collect(arg)
	}
}

// linear returns the part of the matcher for which every rule is looked at, or nothing.
func (p *program) linear() string {
	if !p.byRule {
		return ""
	}
	if p.needs.never != "" {
		return p.needs.never
	}
	if i := slices.IndexFunc(p.branches, func(b branch) bool { return b.verify && len(b.constraints) == 0 }); i >= 0 {
		return p.matcher.String()
	}
	return ""
}
