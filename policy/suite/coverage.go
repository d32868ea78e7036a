package suite

import (
	"strings"

	"github.com/kasbah-authz/kasbah/policy"
)

// Coverage says which rules of an enforcer decided a case.
//
// A rule is reached when it is the one that a verdict came from. Under an effect that allows when some rule allows, that
// is the first rule that matches: a later one that would allow the same is not reached by that case. Role links decide
// nothing by themselves; they are counted apart.
type Coverage struct {
	// Config and Enforcer name the enforcer.
	Config, Enforcer string
	// Rules is how many rules there are that can decide, Reached how many of them did.
	Rules, Reached int
	// Unreached are the others, in the order of the policy.
	Unreached []policy.Rule
	// Links are the role links, in the order of the policy.
	Links []policy.Rule
}

// Cover returns which of the enforcer's rules decided at least one case of the results, passed or not.
func Cover(e Enforcer, results []*Result) *Coverage {
	decided := map[policy.Rule]bool{}
	for _, result := range results {
		for i := range result.Cases {
			decided[result.Cases[i].Rule] = true
		}
	}
	c := &Coverage{}
	for rule := range e.All() {
		switch {
		case isLink(rule):
			c.Links = append(c.Links, rule)
		case decided[rule]:
			c.Rules++
			c.Reached++
		default:
			c.Rules++
			c.Unreached = append(c.Unreached, rule)
		}
	}
	return c
}

// Percent returns how many rules in a hundred were reached, from 0 to 100: all of them where there are none. It is rounded
// down to a tenth, so that 100 means all.
func (c *Coverage) Percent() float64 {
	if c.Rules == 0 {
		return 100
	}
	return float64(c.Reached*1000/c.Rules) / 10
}

// AtLeast reports whether that many rules in a hundred were reached, without rounding.
func (c *Coverage) AtLeast(percent float64) bool {
	return c.Rules == 0 || 100*float64(c.Reached) >= percent*float64(c.Rules)
}

// isLink reports whether a rule is a role link: its type, the first field, is g, g2 and so on.
func isLink(rule policy.Rule) bool {
	return strings.HasPrefix(strings.Trim(rule.Text, `" `), "g")
}
