package config

import (
	"fmt"

	"github.com/kasbah-authz/kasbah/policy"
)

// maxFindings bounds what one load reports, so that a file of a million faults costs no more than one of a hundred.
const maxFindings = 100

// report collects the findings of one load.
type report struct {
	file     string
	findings policy.Findings
	errors   int
	warnings int
	tooLarge bool // some list is too long to be worth a look at the rest
}

func (r *report) failed() bool { return r.errors > 0 }

// full reports whether further errors would be left out; what is expensive to word is then not worded.
func (r *report) full() bool { return r.errors >= maxFindings }

func (r *report) errorf(line, column int, format string, arguments ...any) {
	r.errors++
	if r.errors <= maxFindings {
		r.add(policy.LevelError, line, column, fmt.Sprintf(format, arguments...))
	}
}

func (r *report) warnf(line, column int, format string, arguments ...any) {
	r.warnings++
	if r.warnings <= maxFindings {
		r.add(policy.LevelWarning, line, column, fmt.Sprintf(format, arguments...))
	}
}

func (r *report) add(level policy.Level, line, column int, message string) {
	r.findings = append(r.findings, &policy.Finding{
		Position: policy.Position{File: r.file, Line: line, Column: column}, Level: level, Message: message,
	})
}

// sorted returns the findings by position, and last how many were left out.
func (r *report) sorted() policy.Findings {
	r.findings.Sort()
	if more := r.errors - maxFindings; more > 0 {
		r.add(policy.LevelError, 0, 0, fmt.Sprintf("%d more errors are not shown", more))
	}
	if more := r.warnings - maxFindings; more > 0 {
		r.add(policy.LevelWarning, 0, 0, fmt.Sprintf("%d more warnings are not shown", more))
	}
	return r.findings
}
