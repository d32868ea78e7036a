package enforcer

// patternCheck checks what stands in the place of a pattern, each pattern once.
type patternCheck struct {
	report *report
	byName map[string][]pattern // where "p.obj" is taken for a pattern
	known  map[[2]string]patternFault
}

func newPatternCheck(m *modelDefinition, r *report) *patternCheck {
	c := &patternCheck{report: r, byName: map[string][]pattern{}, known: map[[2]string]patternFault{}}
	for _, p := range m.patterns {
		if p.field != "" {
			c.byName[p.field] = append(c.byName[p.field], p)
		}
	}
	return c
}

// checkLiterals checks the patterns that are strings of a matcher.
func checkLiterals(m *modelDefinition, r *report) {
	for _, p := range m.patterns {
		if p.field != "" || p.function == "eval" {
			continue
		}
		v := examine(p.function, p.literal)
		if v.err != nil {
			r.errorf(p.at, "%v", v.err)
		} else if v.warning != "" {
			r.warnf(p.at, "%s", v.warning)
		}
	}
}

// check reports whether the value can stand in that field of a policy.
func (c *patternCheck) check(name, value string, at place) bool {
	ok := true
	for _, p := range c.byName[name] {
		if p.function == "eval" {
			ok = c.checkRule(value, p.scope.forRules(), at) && ok
			continue
		}
		v, known := c.known[[2]string{p.function, value}]
		if !known {
			v = examine(p.function, value)
			c.known[[2]string{p.function, value}] = v
		}
		if v.err != nil {
			c.report.errorf(at, "%v", v.err)
			ok = false
		} else if v.warning != "" {
			c.report.warnf(at, "%s", v.warning)
		}
	}
	return ok
}

// checkRule checks the text of a rule that eval runs. It may name what the matcher around it may name.
func (c *patternCheck) checkRule(text string, s scope, at place) bool {
	before := c.report.counts
	e := &expression{text: text, scope: s, place: func(offset int) place { return place{at.line, at.column + offset} }}
	for _, p := range e.check(c.report) {
		switch {
		case p.field != "": // whatever stands there in this rule has not been examined as a pattern
			c.report.errorf(p.at, "%s takes %s for a pattern in a rule for eval; write the pattern as a string there, or the call into the matcher", p.function, p.field)
		default:
			if v := examine(p.function, p.literal); v.err != nil {
				c.report.errorf(p.at, "%v", v.err)
			}
		}
	}
	return before == c.report.counts
}
