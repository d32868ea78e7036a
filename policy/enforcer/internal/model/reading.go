package model

import (
	"errors"
	"fmt"
	"strings"

	"github.com/casbin/casbin/v2/model"
	"github.com/casbin/casbin/v2/util"
	"github.com/casbin/govaluate"
)

// CompareReading reports a definition that Casbin's own parser reads otherwise than we do.
func CompareReading(text string, m *Model) (err error) {
	defer Recovered(&err)
	parsed, err := model.NewModelFromString(text)
	if err != nil {
		return err
	}
	count := 0
	for section, definitions := range parsed {
		if section == "logger" {
			continue
		}
		for key, d := range definitions {
			count++
			own := m.ByKey[key]
			if own == nil || d.Value != CasbinValue(section, own.Value) {
				return fmt.Errorf("casbin reads %s as %q", key, d.Value)
			}
		}
	}
	if count != len(m.ByKey) {
		return fmt.Errorf("casbin reads %d definitions of %d", count, len(m.ByKey))
	}
	return nil
}

// CasbinNames writes r_sub for r.sub, as Casbin does before it parses an expression.
func CasbinNames(text string) string { return util.EscapeAssertion(text) }

// CasbinValue is what Casbin makes of a definition's value.
func CasbinValue(section, value string) string {
	if section != "e" && section != "m" {
		return value
	}
	value = util.RemoveComments(CasbinNames(value))
	if section == "m" {
		value = util.EscapeStringLiterals(value)
		if strings.Contains(value, "in") {
			value = strings.NewReplacer("[", "(", "]", ")").Replace(value)
		}
	}
	return value
}

// AsksRules reports whether Casbin asks that matcher about each rule, or once. It looks for these letters.
func AsksRules(matcher, policy string) bool {
	return strings.Contains(CasbinValue("m", matcher), policy+"_")
}

// TakesDomainPatterns reports whether Casbin takes the domains of role links for patterns. It looks for this text.
func TakesDomainPatterns(m *Model) bool {
	return strings.Contains(CasbinValue("m", m.ByKey["m"].Value), "keyMatch(r_dom, p_dom)")
}

// parseExpression returns what Casbin's expression parser has to say.
func parseExpression(e *expression) (err error) {
	defer func() {
		if recover() != nil { // it runs past the end of some unfinished expressions
			err = errors.New("the expression is not finished")
		}
	}()
	text := CasbinNames(e.text)
	if !e.scope.inPolicy {
		text = CasbinValue("m", e.text)
	}
	functions := map[string]govaluate.ExpressionFunction{}
	for name := range e.scope.functions {
		functions[name] = func(...any) (any, error) { return true, nil }
	}
	if !util.HasEval(text) {
		delete(functions, "eval")
	}
	parsed, err := govaluate.NewEvaluableExpressionWithFunctions(text, functions)
	if err != nil {
		return fmt.Errorf("it does not parse: %s", strings.ToLower(strings.TrimSpace(err.Error())))
	}
	for _, t := range parsed.Tokens() {
		switch name := t.Value.(type) {
		case string:
			if t.Kind == govaluate.VARIABLE && !e.scope.fields[strings.Replace(name, "_", ".", 1)] {
				return fmt.Errorf("unknown name %s", name)
			}
		case []string:
			if t.Kind == govaluate.ACCESSOR && !e.scope.fields[strings.Replace(name[0], "_", ".", 1)] {
				return fmt.Errorf("unknown name %s", name[0])
			}
		}
	}
	return nil
}

// Brief cuts an error of Casbin's to one line of bounded length: a caught panic carries its stack, and
// errors quote values, which may be long, or nobody's business.
func Brief(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	if before, after, ok := strings.Cut(text, "Value '"); ok {
		if i := strings.LastIndex(after, "' cannot"); i >= 0 {
			text = before + "a value" + after[i+1:]
		}
	}
	return errors.New("evaluating the matcher: " + text[:min(len(text), 300)])
}

// Recovered turns a panic into an error. Casbin panics at patterns and at values of a kind that it does not
// expect.
func Recovered(err *error) {
	if v := recover(); v != nil {
		*err = Brief(fmt.Errorf("panic: %v", v))
	}
}
