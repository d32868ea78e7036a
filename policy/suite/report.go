package suite

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/kasbah-authz/kasbah/policy"
)

// Report is what became of all suites of one run. It writes itself in three ways, which say the same.
type Report struct {
	Results []*Result
	// Coverage is of each enforcer that was asked, where that is wanted.
	Coverage []*Coverage
}

// Broken returns how many suites were not run.
func (r *Report) Broken() int {
	count := 0
	for _, result := range r.Results {
		if len(result.Findings) > 0 {
			count++
		}
	}
	return count
}

// Failed returns how many cases of all suites were not as expected.
func (r *Report) Failed() int {
	count := 0
	for _, result := range r.Results {
		count += result.Failed()
	}
	return count
}

// Cases returns how many cases of all suites were run.
func (r *Report) Cases() int {
	count := 0
	for _, result := range r.Results {
		count += len(result.Cases)
	}
	return count
}

// detail returns what a failure shows beside its faults, a line each.
func (c *CaseResult) detail() []string {
	lines := []string{"request: " + describeRequest(c.Case.Request), "principal: " + describePrincipal(c.Case.Principal)}
	if c.Reason != "" {
		lines = append(lines, "reason: "+c.Reason)
	}
	if c.Err != nil {
		lines = append(lines, "error: "+c.Err.Error())
	} else {
		lines = append(lines, "rule: "+describeRule(c.Rule))
	}
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return lines
}

func describeRequest(req *policy.Request) string {
	text := req.Method + " " + req.Host + req.Path
	if req.Query != "" {
		text += "?" + req.Query
	}
	return text
}

func describePrincipal(p *policy.Principal) string {
	if p.Anonymous() {
		return anonymous
	}
	const shown = 10
	switch roles := p.Roles; {
	case len(roles) == 0:
		return p.ID
	case len(roles) > shown:
		return p.ID + ", roles " + strings.Join(roles[:shown], ", ") + fmt.Sprintf(" and %d more", len(roles)-shown)
	default:
		return p.ID + ", roles " + strings.Join(roles, ", ")
	}
}

func describeRule(rule policy.Rule) string {
	if rule == (policy.Rule{}) {
		return "none"
	}
	return rule.Text + " (" + rule.Position.String() + ")"
}

// maxLine bounds a line of a report, in bytes: a request may be long.
const maxLine = 1000

// printable returns a text as one line that a terminal shows for what it is.
func printable(text string) string {
	if len(text) > maxLine {
		text = strings.ToValidUTF8(text[:maxLine], "") + "…"
	}
	if strings.ContainsFunc(text, func(c rune) bool { return hidden(c) || c == '\n' || c == '\r' || c == '\ufffd' }) {
		return strconv.Quote(text)
	}
	return text
}
