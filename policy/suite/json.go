package suite

import (
	"encoding/json"
	"io"

	"github.com/kasbah-authz/kasbah/policy"
)

type jsonRule struct {
	Text   string `json:"text"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column,omitempty"`
}

type jsonCase struct {
	Kind    string    `json:"kind"` // "case"
	Suite   string    `json:"suite"`
	Name    string    `json:"name"`
	Line    int       `json:"line"`
	Column  int       `json:"column"`
	Passed  bool      `json:"passed"`
	Want    string    `json:"want"`
	Got     string    `json:"got"`
	Reason  string    `json:"reason,omitempty"`
	Rule    *jsonRule `json:"rule,omitempty"`
	Error   string    `json:"error,omitempty"`
	Faults  []string  `json:"faults,omitempty"`
	Seconds float64   `json:"seconds"`
}

type jsonSuite struct {
	Kind     string   `json:"kind"` // "suite"
	Suite    string   `json:"suite"`
	Cases    int      `json:"cases"`
	Failed   int      `json:"failed"`
	Findings []string `json:"findings,omitempty"`
	Seconds  float64  `json:"seconds"`
}

type jsonCoverage struct {
	Kind      string     `json:"kind"` // "coverage"
	Config    string     `json:"config"`
	Enforcer  string     `json:"enforcer"`
	Rules     int        `json:"rules"`
	Reached   int        `json:"reached"`
	Percent   float64    `json:"percent"`
	RoleLinks int        `json:"role_links"`
	Unreached []jsonRule `json:"unreached"`
}

// WriteJSON writes the report as one JSON object a line: each suite's cases, then the suite, and last the coverage of each
// enforcer with every rule that no case reached.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for _, result := range r.Results {
		for i := range result.Cases {
			if err := encoder.Encode(result.Cases[i].json(result.File)); err != nil {
				return err
			}
		}
		line := jsonSuite{"suite", result.File, len(result.Cases), result.Failed(), nil, result.Elapsed.Seconds()}
		for _, finding := range result.Findings {
			line.Findings = append(line.Findings, finding.Error())
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	for _, c := range r.Coverage {
		line := jsonCoverage{"coverage", c.Config, c.Enforcer, c.Rules, c.Reached, c.Percent(), len(c.Links), []jsonRule{}}
		for _, rule := range c.Unreached {
			line.Unreached = append(line.Unreached, *newJSONRule(rule))
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

func (c *CaseResult) json(file string) jsonCase {
	line := jsonCase{
		Kind: "case", Suite: file, Name: c.Case.Name, Line: c.Case.Line, Column: c.Case.Column, Passed: !c.Failed(),
		Want: c.Case.Want.Verdict.String(), Got: c.Got.String(), Reason: c.Reason, Faults: c.Faults, Seconds: c.Elapsed.Seconds(),
	}
	if c.Rule != (policy.Rule{}) {
		line.Rule = newJSONRule(c.Rule)
	}
	if c.Err != nil {
		line.Error = c.Err.Error()
	}
	return line
}

func newJSONRule(rule policy.Rule) *jsonRule {
	return &jsonRule{rule.Text, rule.File, rule.Line, rule.Column}
}
