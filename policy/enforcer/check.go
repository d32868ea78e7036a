package enforcer

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// checkRules reports what is wrong with the rules under that model, and returns those in force: all but
// the ones that only repeat another.
func checkRules(rules []rule, m *modelDefinition, r *report) []rule {
	c := newRuleCheck(m, r, len(rules))
	for i := range rules {
		c.check(&rules[i])
	}
	if !r.failed() {
		checkChains(c.inForce, m, r)
	}
	return c.inForce
}

func newRuleCheck(m *modelDefinition, r *report, count int) *ruleCheck {
	return &ruleCheck{
		model: m, report: r, patterns: newPatternCheck(m, r),
		seen: make(map[string]*rule, count), inForce: make([]rule, 0, count),
	}
}

type ruleCheck struct {
	model    *modelDefinition
	report   *report
	patterns *patternCheck
	seen     map[string]*rule
	inForce  []rule
}

func (c *ruleCheck) check(rule *rule) {
	definition, isPolicy := c.model.policies[rule.ptype()]
	links, isRole := c.model.roles[rule.ptype()]
	switch {
	case isPolicy:
		if !c.checkCount(rule, len(definition), fieldNames(definition)) || !c.checkPolicy(rule, definition) {
			return
		}
	case isRole:
		names := strings.TrimSuffix(strings.Repeat("_, ", links.names+links.conditions), ", ")
		if !c.checkCount(rule, links.names+links.conditions, names) {
			return
		}
	default:
		c.report.errorf(rule.place(0), "unknown rule type %q; the model defines %s", rule.ptype(), c.types())
		return
	}
	c.checkSpace(rule)
	if c.checkRepeated(rule) {
		c.inForce = append(c.inForce, *rule)
	}
}

func (c *ruleCheck) types() string {
	types := slices.Sorted(maps.Keys(c.model.policies))
	return strings.Join(append(types, slices.Sorted(maps.Keys(c.model.roles))...), ", ")
}

func fieldNames(fields []field) string {
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].name
	}
	return strings.Join(names, ", ")
}

func (c *ruleCheck) checkCount(rule *rule, want int, names string) bool {
	if len(rule.fields()) == want {
		return true
	}
	at := rule.place(min(want+1, len(rule.row)-1)) // the first field too many, or the last there is
	c.report.errorf(at, "%d fields behind %s, which has %d: %s", len(rule.fields()), rule.ptype(), want, names)
	return false
}

// checkPolicy checks the fields that mean something by their name or by the functions that take them.
func (c *ruleCheck) checkPolicy(rule *rule, definition []field) bool {
	ok := true
	for i, value := range rule.fields() {
		at := rule.place(i + 1)
		switch name := definition[i].name; {
		case name == "eft" && value != "allow" && value != "deny":
			c.report.errorf(at, "effect %q is neither allow nor deny; Casbin would pass over the rule", value)
			ok = false
		case name == "priority" && !isInteger(value):
			c.report.errorf(at, "priority %q is not an integer; Casbin could not sort the rules", value)
			ok = false
		}
		ok = c.patterns.check(rule.ptype()+"."+definition[i].name, value, at) && ok
	}
	return ok
}

func isInteger(text string) bool {
	_, err := strconv.Atoi(text)
	return err == nil
}

// integer returns what a text stands for that isInteger has seen.
func integer(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

// checkSpace warns of space that Casbin keeps, and of what looks like a comment and is none.
func (c *ruleCheck) checkSpace(rule *rule) {
	for i, value := range rule.row {
		switch {
		case strings.TrimSpace(value) != value:
			c.report.warnf(rule.place(i), "the space around %q belongs to the field; Casbin compares it", value)
		case strings.Contains(value, " #"):
			c.report.warnf(rule.place(i), "%q holds a # that begins no comment; only a line that begins with one is a comment", value)
		}
	}
}

// checkRepeated reports whether the rule is in force. Casbin drops a rule whose fields, joined with
// commas, have been seen, which two different rules can have in common.
func (c *ruleCheck) checkRepeated(rule *rule) bool {
	key := strings.Join(rule.row, ",")
	first, repeated := c.seen[key]
	switch {
	case !repeated:
		c.seen[key] = rule
		return true
	case slices.Equal(first.row, rule.row):
		c.report.warnf(rule.place(0), "the rule repeats line %d", first.line)
	default:
		c.report.errorf(rule.place(0), "Casbin would drop the rule, because joined with commas its fields are those of line %d", first.line)
	}
	return false
}

// checkEmpty reports a policy without rules. Casbin then asks the matcher once, with every field of the rule
// empty, and some models allow at that.
func checkEmpty(m *modelDefinition, allowIfEmpty bool, allows func() bool, r *report) {
	switch {
	case allowIfEmpty || !m.matcher.usesPolicy:
		return
	case m.effect == denyOverride:
		r.errorf(place{1, 1}, "the policy has no rules, and under the effect %s an empty policy allows everything; set allow_if_empty if that is meant", m.effect)
	case allows():
		r.errorf(place{1, 1}, "the policy has no rules, and the matcher holds nevertheless; set allow_if_empty if that is meant")
	default:
		r.warnf(place{1, 1}, "the policy has no rules")
	}
}

// checkDeniable reports a model under which nothing is ever denied, because no rule can say so.
func checkDeniable(m *modelDefinition, r *report) {
	if m.effect == denyOverride && fieldIndex(m.policies[m.context.Policy], "eft") < 0 {
		r.errorf(m.byKey[m.context.Policy].place(0), "%s has no field eft, so no rule can deny, and under the effect %s every request is allowed", m.context.Policy, m.effect)
	}
}
