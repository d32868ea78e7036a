package model

import "github.com/kasbah-authz/kasbah/policy/enforcer/internal/pattern"

// patternCheck checks what stands in the place of a pattern, each pattern once.
type patternCheck struct {
	report *Report
	byName map[string][]patternUse // where "p.obj" is taken for a pattern
	known  map[[2]string]pattern.Fault
}

func newPatternCheck(m *Model, r *Report) *patternCheck {
	c := &patternCheck{report: r, byName: map[string][]patternUse{}, known: map[[2]string]pattern.Fault{}}
	for _, p := range m.patterns {
		if p.field != "" {
			c.byName[p.field] = append(c.byName[p.field], p)
		}
	}
	return c
}

// CheckLiterals checks the patterns that are strings of a matcher.
func CheckLiterals(m *Model, r *Report) {
	for _, p := range m.patterns {
		if p.field != "" || p.function == "eval" {
			continue
		}
		v := pattern.Examine(p.function, p.literal)
		if v.Err != nil {
			r.Errorf(p.at, "%v", v.Err)
		} else if v.Warning != "" {
			r.Warnf(p.at, "%s", v.Warning)
		}
	}
}

// check reports whether the value can stand in that field of a policy.
func (c *patternCheck) check(name, value string, at Place) bool {
	ok := true
	for _, p := range c.byName[name] {
		if p.function == "eval" {
			ok = c.checkRule(value, p.scope.forRules(), at) && ok
			continue
		}
		v, known := c.known[[2]string{p.function, value}]
		if !known {
			v = pattern.Examine(p.function, value)
			c.known[[2]string{p.function, value}] = v
		}
		if v.Err != nil {
			c.report.Errorf(at, "%v", v.Err)
			ok = false
		} else if v.Warning != "" {
			c.report.Warnf(at, "%s", v.Warning)
		}
	}
	return ok
}

// checkRule checks the text of a rule that eval runs. It may name what the matcher around it may name.
func (c *patternCheck) checkRule(text string, s scope, at Place) bool {
	before := c.report.Counts
	e := &expression{text: text, scope: s, place: func(offset int) Place { return Place{at.Line, at.Column + offset} }}
	for _, p := range e.check(c.report) {
		switch {
		case p.field != "": // whatever stands there in this rule has not been examined as a pattern
			c.report.Errorf(p.at, "%s takes %s for a pattern in a rule for eval; write the pattern as a string there, or the call into the matcher", p.function, p.field)
		default:
			if v := pattern.Examine(p.function, p.literal); v.Err != nil {
				c.report.Errorf(p.at, "%v", v.Err)
			}
		}
	}
	return before == c.report.Counts
}
