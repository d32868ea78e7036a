package suite

import (
	"bufio"
	"fmt"
	"io"
)

// maxUnreached is how many rules that no case reached are listed of each enforcer, if not all are wanted.
const maxUnreached = 20

// TextOptions say how much a report tells.
type TextOptions struct {
	// Verbose tells of cases that passed, too.
	Verbose bool
	// All lists every rule that no case reached, and the role links; else 20 of the former.
	All bool
}

// WriteText writes the report in the manner of go test.
func (r *Report) WriteText(w io.Writer, options TextOptions) error {
	out := bufio.NewWriter(w)
	for _, result := range r.Results {
		result.writeText(out, options)
	}
	for _, coverage := range r.Coverage {
		coverage.writeText(out, options)
	}
	return out.Flush()
}

func (r *Result) writeText(out *bufio.Writer, options TextOptions) {
	for i := range r.Cases {
		r.Cases[i].writeText(out, options)
	}
	file := printable(r.File)
	switch failed := r.Failed(); {
	case len(r.Findings) > 0:
		fmt.Fprintf(out, "FAIL\t%s\t[not run: it is broken]\n", file)
	case len(r.Cases) == 0:
		fmt.Fprintf(out, "ok  \t%s\t%.3fs\t[no cases to run]\n", file, r.Elapsed.Seconds())
	case failed > 0:
		fmt.Fprintf(out, "FAIL\t%s\t%.3fs\t%d of %s failed\n", file, r.Elapsed.Seconds(), failed, count(len(r.Cases), "case"))
	default:
		fmt.Fprintf(out, "ok  \t%s\t%.3fs\t%s\n", file, r.Elapsed.Seconds(), count(len(r.Cases), "case"))
	}
}

func (c *CaseResult) writeText(out *bufio.Writer, options TextOptions) {
	name, seconds := printable(c.Case.Name), c.Elapsed.Seconds()
	if options.Verbose {
		fmt.Fprintf(out, "=== RUN   %s\n", name)
	}
	if !c.Failed() {
		if options.Verbose {
			fmt.Fprintf(out, "--- PASS: %s (%.2fs)\n", name, seconds)
		}
		return
	}
	fmt.Fprintf(out, "--- FAIL: %s (%.2fs)\n", name, seconds)
	for _, fault := range c.Faults {
		fmt.Fprintf(out, "    %s: %s\n", printable(c.Case.Position.String()), printable(fault))
	}
	for _, line := range c.detail() {
		fmt.Fprintf(out, "        %s\n", line)
	}
}

func (c *Coverage) writeText(out *bufio.Writer, options TextOptions) {
	fmt.Fprintf(out, "coverage: enforcer %s of %s: %d of %s reached (%.1f%%)", printable(c.Enforcer), printable(c.Config),
		c.Reached, count(c.Rules, "rule"), c.Percent())
	if len(c.Links) > 0 {
		fmt.Fprintf(out, "; %s, not counted", count(len(c.Links), "role link"))
	}
	fmt.Fprintln(out)
	for i, rule := range c.Unreached {
		if i == maxUnreached && !options.All {
			fmt.Fprintf(out, "and %s that no case reached; --cover-all lists them\n", count(len(c.Unreached)-i, "more rule"))
			break
		}
		fmt.Fprintf(out, "%s: no case reached the rule: %s\n", printable(rule.Position.String()), printable(rule.Text))
	}
	if options.All {
		for _, link := range c.Links {
			fmt.Fprintf(out, "%s: a role link, not counted: %s\n", printable(link.Position.String()), printable(link.Text))
		}
	}
}

// count returns "1 case", "2 cases".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
