package main

import (
	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
	"github.com/kasbah-authz/kasbah/server"
)

// explanationJSON is an explanation as --json prints it.
type explanationJSON struct {
	Effect    string         `json:"effect"`
	Reason    string         `json:"reason"`
	Detail    string         `json:"detail,omitempty"`
	Route     string         `json:"route"`
	Principal string         `json:"principal"`
	Fields    map[string]any `json:"fields,omitempty"`
	Roles     []string       `json:"roles,omitempty"`
	Rule      *ruleJSON      `json:"rule,omitempty"`
	Matching  int            `json:"matching"`
	Matches   []matchJSON    `json:"matches"`
	Missing   int            `json:"missing"`
	Misses    []missJSON     `json:"misses"`
	Casbin    string         `json:"casbin,omitempty"`

	Violations []violationJSON `json:"violations,omitempty"`
	Reported   []violationJSON `json:"reported,omitempty"`
}

type violationJSON struct {
	Field   string `json:"field"`
	Rule    string `json:"rule"`
	Message string `json:"message"`
}

func newViolationsJSON(violations []policy.Violation) []violationJSON {
	var out []violationJSON
	for _, v := range violations {
		out = append(out, violationJSON(v))
	}
	return out
}

type ruleJSON struct {
	Text   string `json:"text"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

type matchJSON struct {
	Rule  *ruleJSON  `json:"rule"`
	Deny  bool       `json:"deny"`
	Paths []pathJSON `json:"paths,omitempty"`
}

type pathJSON struct {
	Call  string      `json:"call"`
	Names []string    `json:"names"`
	Links []*ruleJSON `json:"links"` // null for a role that the caller brings
}

type missJSON struct {
	Rule      *ruleJSON `json:"rule"`
	Deny      bool      `json:"deny"`
	Condition string    `json:"condition"`
	Values    string    `json:"values"`
}

func newExplanationJSON(x *server.Explanation) *explanationJSON {
	d := &x.Decision
	out := &explanationJSON{
		Effect: d.Effect.String(), Reason: d.Reason.String(), Detail: d.Detail, Route: d.Route, Principal: d.Principal.ID,
		Rule: newRuleJSON(d.Rule), Matches: []matchJSON{}, Misses: []missJSON{},
		Violations: newViolationsJSON(d.Violations), Reported: newViolationsJSON(d.Reported),
	}
	if x.Authorize != nil {
		out.authorize(x.Authorize)
	}
	return out
}

func (out *explanationJSON) authorize(x *enforcer.Explanation) {
	out.Fields, out.Roles, out.Matching, out.Missing, out.Casbin = map[string]any{}, x.Roles, x.Matching, x.Missing, x.Casbin
	for _, field := range x.Fields {
		out.Fields[field.Name] = field.Value
	}
	for _, match := range x.Matches {
		m := matchJSON{Rule: newRuleJSON(match.Rule), Deny: match.Deny}
		for _, path := range match.Paths {
			p := pathJSON{Call: path.Call, Names: path.Names}
			for _, link := range path.Links {
				p.Links = append(p.Links, newRuleJSON(link))
			}
			m.Paths = append(m.Paths, p)
		}
		out.Matches = append(out.Matches, m)
	}
	for _, miss := range x.Misses {
		out.Misses = append(out.Misses, missJSON{newRuleJSON(miss.Rule), miss.Deny, miss.Condition, miss.Values})
	}
}

// newRuleJSON is nil for no rule.
func newRuleJSON(r policy.Rule) *ruleJSON {
	if r == (policy.Rule{}) {
		return nil
	}
	return &ruleJSON{r.Text, r.File, r.Line, r.Column}
}
