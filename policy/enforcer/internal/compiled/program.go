package compiled

import (
	"fmt"
	"slices"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/matcher"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
)

// Program is a model, compiled. It depends on no rule.
type Program struct {
	Names   *matcher.Namespace
	Matcher *matcher.Node
	Effect  string
	width   int // fields of a rule

	EffectColumn   int // -1 where all rules allow
	PriorityColumn int // -1 where rules are asked in the order of the policy
	ByRule         bool
	domainPatterns bool // domains of role links are patterns
	SortsBySubject bool // links of g order the rules, too

	branches       []matcher.Branch
	Asks           [2]bool // which effects of rules count
	patternColumns []patternColumn
	evalColumns    []int
	Needs          matcher.Needs
}

// NewProgram compiles a model. Its error says what of the matcher is not compiled.
func NewProgram(m *model.Model) (*Program, error) {
	c := m.Context
	p := &Program{
		Names: &matcher.Namespace{
			Request: c.Request, Policy: c.Policy,
			RequestFields: m.Requests[c.Request], Policies: m.Policies[c.Policy], Roles: m.Roles,
		},
		Effect: m.Effect, width: len(m.Policies[c.Policy]),
		EffectColumn: model.FieldIndex(m.Policies[c.Policy], "eft"), PriorityColumn: model.FieldIndex(m.Policies[c.Policy], "priority"),
		ByRule: model.AsksRules(m.ByKey[c.Matcher].Value, c.Policy),
	}
	if p.width > 64 {
		return nil, fmt.Errorf("a policy definition of %d fields, more than 64, is not compiled", p.width)
	}
	text := model.CasbinValue("m", m.ByKey[c.Matcher].Value)
	var err error
	if p.Matcher, err = p.Names.Parse(text); err != nil {
		return nil, err
	}
	p.domainPatterns, p.SortsBySubject = model.TakesDomainPatterns(m), m.SortsBySubject()
	p.Asks = map[string][2]bool{model.AllowOverride: {Allowing: true}, model.DenyOverride: {Denying: true}}[m.Effect]
	if p.Asks == [2]bool{} {
		p.Asks = [2]bool{true, true}
	}
	p.branches = matcher.Plan(p.Matcher)
	matcher.Describe(p.branches, p.Names.Policies)
	p.collect(p.Matcher)
	p.Needs = matcher.NeedsOf(p.Matcher)
	return p, nil
}

// collect finds the columns whose texts are compiled.
func (p *Program) collect(n *matcher.Node) {
	if at, ok := model.PatternArguments[n.Name]; ok && (n.Op == matcher.OpCall || n.Op == matcher.OpMatches) && at < len(n.Args) && n.Args[at].Op == matcher.OpPolicy {
		c := patternColumn{n.Name, n.Args[at].Field}
		compiled := n.Name != "keyGet" && n.Name != "keyGet2" && n.Name != "keyGet3"
		switch {
		case n.Name == "eval":
			if !slices.Contains(p.evalColumns, c.column) {
				p.evalColumns = append(p.evalColumns, c.column)
			}
		case compiled && !slices.Contains(p.patternColumns, c):
			p.patternColumns = append(p.patternColumns, c)
		}
	}
	for _, arg := range n.Args {
		p.collect(arg)
	}
}

// linear returns the part of the matcher for which every rule is looked at, or nothing.
func (p *Program) linear() string {
	if !p.ByRule {
		return ""
	}
	if p.Needs.Never != "" {
		return p.Needs.Never
	}
	if i := slices.IndexFunc(p.branches, func(b matcher.Branch) bool { return b.Verify && len(b.Constraints) == 0 }); i >= 0 {
		return p.Matcher.String()
	}
	return ""
}
