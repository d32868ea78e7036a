package suite

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
)

// Enforcer is what suites test. An *enforcer.Enforcer is one.
type Enforcer interface {
	// Evaluate says whether the principal may, as in [policy.Stage].
	Evaluate(ctx context.Context, req *policy.Request, principal *policy.Principal) (policy.Outcome, error)
	// All yields every rule in force. The rule of an Outcome is one of them, or stands for none.
	All() iter.Seq[policy.Rule]
}

// Options say how suites are run.
type Options struct {
	// Match chooses cases by name; nil takes all.
	Match *regexp.Regexp
	// Now tells the time, to measure by. It has no influence on a verdict.
	Now func() time.Time
}

// Result is what became of a suite.
type Result struct {
	// File is the suite's.
	File string
	// Findings say why the suite was not run. Empty: it was.
	Findings policy.Findings
	// Cases are those that were run.
	Cases   []CaseResult
	Elapsed time.Duration
}

// Failed returns how many cases were not as expected.
func (r *Result) Failed() int {
	count := 0
	for i := range r.Cases {
		if r.Cases[i].Failed() {
			count++
		}
	}
	return count
}

// CaseResult is what became of a case.
type CaseResult struct {
	Case *Case
	Got  Verdict
	// Reason is why it is no allow, in the words of [policy.Reason]; empty for an allow.
	Reason string
	// Rule is what decided; the zero Rule where none did.
	Rule policy.Rule
	// Err is what went wrong, for the verdict [Error].
	Err error
	// Faults say what is not as expected, a line each. Empty: the case passed.
	Faults  []string
	Elapsed time.Duration
}

// Failed reports whether the case was not as expected.
func (c *CaseResult) Failed() bool { return len(c.Faults) > 0 }

// Run asks the enforcer about each case, in order. The error is ctx's, and then there is no result: a case that was cut
// short says nothing.
func Run(ctx context.Context, s *Suite, e Enforcer, options Options) (*Result, error) {
	result := &Result{File: s.File}
	start := options.Now()
	for i := range s.Cases {
		c := &s.Cases[i]
		if options.Match != nil && !options.Match.MatchString(c.Name) {
			continue
		}
		began := options.Now()
		outcome, err := e.Evaluate(ctx, c.Request, c.Principal)
		if ended := ctx.Err(); ended != nil {
			return nil, fmt.Errorf("running %s: %w", s.File, ended)
		}
		got := judge(outcome, err)
		got.Case, got.Elapsed = c, options.Now().Sub(began)
		s.compare(&got)
		result.Cases = append(result.Cases, got)
	}
	s.explainUnknownRules(result, e)
	result.Elapsed = options.Now().Sub(start)
	return result, nil
}

// judge reads an outcome as the pipeline does: only a permit without an error allows.
func judge(outcome policy.Outcome, err error) CaseResult {
	switch {
	case err != nil:
		reason := policy.Internal
		var fault *policy.StageError
		if errors.As(err, &fault) {
			reason = fault.Reason
		}
		return CaseResult{Got: Error, Reason: reason.String(), Err: err}
	case outcome.Verdict == policy.Permitted:
		return CaseResult{Got: Allow, Rule: outcome.Rule}
	}
	return CaseResult{Got: Deny, Reason: outcome.Reason.String(), Rule: outcome.Rule}
}

// compare writes down what is not as expected.
func (s *Suite) compare(got *CaseResult) {
	want := got.Case.Want
	switch {
	case got.Got != want.Verdict: // whose reason is another one, too
		got.Faults = append(got.Faults, fmt.Sprintf("want %s, got %s", want.Verdict, got.Got))
	case want.Reason != "" && got.Reason != want.Reason:
		got.Faults = append(got.Faults, fmt.Sprintf("want the reason %s, got %s", want.Reason, orNone(got.Reason)))
	}
	if want.Rule != "" && !s.isRule(want.Rule, got.Rule) {
		got.Faults = append(got.Faults, fmt.Sprintf("want the rule %s, got %s", want.Rule, orNone(got.Rule.Text)))
	}
}

// isRule reports whether a suite means that rule by its text or by its place. A place that is written just as rules have it
// is taken, too: what is not a file, a table, has no folder.
func (s *Suite) isRule(want string, rule policy.Rule) bool {
	if rule == (policy.Rule{}) {
		return false
	}
	place := placeOf(rule)
	return spaced(want) == spaced(rule.Text) || want == place || s.placed(want) == place
}

// placed returns "file:line" with the file as rules have it: seen from where the suite itself is.
func (s *Suite) placed(want string) string {
	i := strings.LastIndexByte(want, ':')
	if i < 0 || filepath.IsAbs(want) {
		return want
	}
	return filepath.Join(filepath.Dir(s.File), want[:i]) + want[i:]
}

func placeOf(rule policy.Rule) string {
	return fmt.Sprintf("%s:%d", filepath.Clean(rule.File), rule.Line)
}

// spaced returns a rule's text with one kind of white space around its commas: none.
func spaced(text string) string {
	fields := strings.Split(text, ",")
	for i := range fields {
		fields[i] = strings.TrimSpace(fields[i])
	}
	return strings.Join(fields, ",")
}

// explainUnknownRules adds to the cases that failed for a rule that the policy does not have at all that this is so. It
// looks through the rules once.
func (s *Suite) explainUnknownRules(result *Result, e Enforcer) {
	unknown := map[string][]*CaseResult{}
	for i := range result.Cases {
		c := &result.Cases[i]
		if want := c.Case.Want.Rule; want != "" && !s.isRule(want, c.Rule) {
			for _, name := range []string{spaced(want), want, s.placed(want)} {
				unknown[name] = append(unknown[name], c)
			}
		}
	}
	if len(unknown) == 0 {
		return
	}
	known := map[*CaseResult]bool{}
	for rule := range e.All() {
		for _, name := range []string{spaced(rule.Text), placeOf(rule)} {
			for _, c := range unknown[name] {
				known[c] = true
			}
		}
	}
	for i := range result.Cases {
		c := &result.Cases[i]
		if want := c.Case.Want.Rule; want != "" && !s.isRule(want, c.Rule) && !known[c] {
			c.Faults = append(c.Faults, "the policy has no rule "+want)
		}
	}
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
