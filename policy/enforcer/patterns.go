package enforcer

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// patternCheck checks what stands in the place of a pattern, each pattern once.
type patternCheck struct {
	report *report
	byName map[string][]pattern // where "p.obj" is taken for a pattern
	known  map[[2]string]patternFault
}

// patternFault is what was found of a pattern: an error, a warning, or neither.
type patternFault struct {
	err     error
	warning string
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

// examine returns what is wrong with a pattern that the function is given.
func examine(function, text string) patternFault {
	if _, plain := newSegments(function, text); plain {
		return patternFault{}
	}
	if err := tryPattern(function, text); err != nil {
		return patternFault{err: fmt.Errorf("%q is no pattern for %s: %w", text, function, err)}
	}
	switch function {
	case "regexMatch":
		if !anchored(text) {
			return patternFault{warning: fmt.Sprintf("the regular expression %q is not anchored, so that it matches inside longer text; write ^…$", text)}
		}
	case "keyMatch":
		star := strings.IndexByte(text, '*')
		if star > 0 && text[star-1] != '/' {
			return patternFault{warning: fmt.Sprintf("%q matches everything that begins with %q, as %q; a * belongs behind a slash", text, text[:star], text[:star]+"x")}
		}
		if star >= 0 && star < len(text)-1 {
			return patternFault{warning: fmt.Sprintf("keyMatch ignores what stands behind the first * of %q", text)}
		}
	case "keyMatch2", "keyMatch3", "keyMatch4", "keyMatch5":
		if strings.Contains(strings.ReplaceAll(text, "/*", ""), "*") {
			return patternFault{warning: fmt.Sprintf("a * of %q that is not behind a slash repeats the character before it, as in a regular expression", text)}
		}
	}
	return patternFault{}
}

// anchored reports whether the expression matches whole texts only.
func anchored(text string) bool {
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return false
	}
	return anchoredAt(parsed, syntax.OpBeginText, first) && anchoredAt(parsed, syntax.OpEndText, last)
}

func first(parts []*syntax.Regexp) *syntax.Regexp { return parts[0] }
func last(parts []*syntax.Regexp) *syntax.Regexp  { return parts[len(parts)-1] }

func anchoredAt(e *syntax.Regexp, anchor syntax.Op, end func([]*syntax.Regexp) *syntax.Regexp) bool {
	switch e.Op {
	case anchor:
		return true
	case syntax.OpConcat, syntax.OpCapture:
		return len(e.Sub) > 0 && anchoredAt(end(e.Sub), anchor, end)
	case syntax.OpAlternate:
		for _, part := range e.Sub {
			if !anchoredAt(part, anchor, end) {
				return false
			}
		}
		return true
	case syntax.OpNoMatch:
		return true
	case syntax.OpStar: // .* at an end is as good as an anchor there: the author means any text
		return e.Sub[0].Op == syntax.OpAnyChar || e.Sub[0].Op == syntax.OpAnyCharNotNL
	default:
		return false
	}
}

var keyMatch4Token = regexp.MustCompile(`{([^/]+)}`)

// checkKeyMatch4 finds patterns with groups of their own, at which Casbin panics once they match.
func checkKeyMatch4(text string) error {
	tokens := len(keyMatch4Token.FindAllString(text, -1))
	compiled, err := regexp.Compile("^" + keyMatch4Token.ReplaceAllString(strings.ReplaceAll(text, "/*", "/.*"), "([^/]+)") + "$")
	if err != nil {
		return err
	}
	if compiled.NumSubexp() != tokens {
		return fmt.Errorf("it holds parentheses; only {names} may group")
	}
	return nil
}
