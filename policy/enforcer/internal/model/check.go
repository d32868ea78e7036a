package model

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// CheckRules reports what is wrong with the rules under that model, and returns those in force: all but
// the ones that only repeat another.
func CheckRules(rules []Rule, m *Model, r *Report) []Rule {
	c := NewRuleCheck(m, r, len(rules))
	for i := range rules {
		c.Check(&rules[i])
	}
	if !r.Failed() {
		checkChains(c.inForce, m, r)
	}
	return c.inForce
}

// NewRuleCheck returns a check for about as many rules, which reports what it finds.
func NewRuleCheck(m *Model, r *Report, count int) *RuleCheck {
	return &RuleCheck{
		model: m, report: r, patterns: newPatternCheck(m, r),
		seen: make(map[string]*Rule, count), inForce: make([]Rule, 0, count),
	}
}

// RuleCheck checks rules against their model, one after the other.
type RuleCheck struct {
	model    *Model
	report   *Report
	patterns *patternCheck
	seen     map[string]*Rule
	inForce  []Rule
}

// Check reports what is wrong with a rule, or takes it for one in force.
func (c *RuleCheck) Check(rule *Rule) {
	definition, isPolicy := c.model.Policies[rule.Type()]
	links, isRole := c.model.Roles[rule.Type()]
	switch {
	case isPolicy:
		if !c.checkCount(rule, len(definition), fieldNames(definition)) || !c.checkPolicy(rule, definition) {
			return
		}
	case isRole:
		names := strings.TrimSuffix(strings.Repeat("_, ", links.Names+links.Conditions), ", ")
		if !c.checkCount(rule, links.Names+links.Conditions, names) {
			return
		}
	default:
		c.report.Errorf(rule.Place(0), "unknown rule type %q; the model defines %s", rule.Type(), c.types())
		return
	}
	c.checkSpace(rule)
	if c.checkRepeated(rule) {
		c.inForce = append(c.inForce, *rule)
	}
}

func (c *RuleCheck) types() string {
	types := slices.Sorted(maps.Keys(c.model.Policies))
	return strings.Join(append(types, slices.Sorted(maps.Keys(c.model.Roles))...), ", ")
}

func fieldNames(fields []Field) string {
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].Name
	}
	return strings.Join(names, ", ")
}

func (c *RuleCheck) checkCount(rule *Rule, want int, names string) bool {
	if len(rule.Fields()) == want {
		return true
	}
	at := rule.Place(min(want+1, len(rule.Row)-1)) // the first field too many, or the last there is
	c.report.Errorf(at, "%d fields behind %s, which has %d: %s", len(rule.Fields()), rule.Type(), want, names)
	return false
}

// checkPolicy checks the fields that mean something by their name or by the functions that take them.
func (c *RuleCheck) checkPolicy(rule *Rule, definition []Field) bool {
	ok := true
	for i, value := range rule.Fields() {
		at := rule.Place(i + 1)
		switch name := definition[i].Name; {
		case name == "eft" && value != "allow" && value != "deny":
			c.report.Errorf(at, "effect %q is neither allow nor deny; Casbin would pass over the rule", value)
			ok = false
		case name == "priority" && !isInteger(value):
			c.report.Errorf(at, "priority %q is not an integer; Casbin could not sort the rules", value)
			ok = false
		}
		ok = c.patterns.check(rule.Type()+"."+definition[i].Name, value, at) && ok
	}
	return ok
}

func isInteger(text string) bool {
	_, err := strconv.Atoi(text)
	return err == nil
}

// Integer returns what a text stands for that isInteger has seen.
func Integer(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

// checkSpace warns of space that Casbin keeps, and of what looks like a comment and is none.
func (c *RuleCheck) checkSpace(rule *Rule) {
	for i, value := range rule.Row {
		switch {
		case strings.TrimSpace(value) != value:
			c.report.Warnf(rule.Place(i), "the space around %q belongs to the field; Casbin compares it", value)
		case strings.Contains(value, " #"):
			c.report.Warnf(rule.Place(i), "%q holds a # that begins no comment; only a line that begins with one is a comment", value)
		}
	}
}

// checkRepeated reports whether the rule is in force. Casbin drops a rule whose fields, joined with
// commas, have been seen, which two different rules can have in common.
func (c *RuleCheck) checkRepeated(rule *Rule) bool {
	key := strings.Join(rule.Row, ",")
	first, repeated := c.seen[key]
	switch {
	case !repeated:
		c.seen[key] = rule
		return true
	case slices.Equal(first.Row, rule.Row):
		c.report.Warnf(rule.Place(0), "the rule repeats line %d", first.Line)
	default:
		c.report.Errorf(rule.Place(0), "Casbin would drop the rule, because joined with commas its fields are those of line %d", first.Line)
	}
	return false
}

// CheckEmpty reports a policy without rules. Casbin then asks the matcher once, with every field of the rule
// empty, and some models allow at that.
func CheckEmpty(m *Model, allowIfEmpty bool, allows func() bool, r *Report) {
	switch {
	case allowIfEmpty || !m.matcher.usesPolicy:
		return
	case m.Effect == DenyOverride:
		r.Errorf(Place{1, 1}, "the policy has no rules, and under the effect %s an empty policy allows everything; set allow_if_empty if that is meant", m.Effect)
	case allows():
		r.Errorf(Place{1, 1}, "the policy has no rules, and the matcher holds nevertheless; set allow_if_empty if that is meant")
	default:
		r.Warnf(Place{1, 1}, "the policy has no rules")
	}
}

// CheckDeniable reports a model under which nothing is ever denied, because no rule can say so.
func CheckDeniable(m *Model, r *Report) {
	if m.Effect == DenyOverride && FieldIndex(m.Policies[m.Context.Policy], "eft") < 0 {
		r.Errorf(m.ByKey[m.Context.Policy].Place(0), "%s has no field eft, so no rule can deny, and under the effect %s every request is allowed", m.Context.Policy, m.Effect)
	}
}
