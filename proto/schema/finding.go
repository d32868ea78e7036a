package schema

import (
	"strings"

	"github.com/kasbah-authz/kasbah/policy"
)

// maxViolations is how many violations of one body are told.
const maxViolations = 20

// finding is what is wrong with a body: at least one violation.
type finding struct {
	reason     policy.Reason
	violations []policy.Violation
}

func one(rule, message string) []policy.Violation {
	return []policy.Violation{{Rule: rule, Message: message}}
}

func invalid(rule, message string) *finding {
	return &finding{reason: policy.InvalidRequest, violations: one(rule, message)}
}

func tooLong(message string) *finding {
	return &finding{reason: policy.BodyTooLarge, violations: one("body.max_bytes", message)}
}

// outcome is what becomes of the body: it is denied, unless what is wrong with it is only to be reported.
func (f *finding) outcome(reported bool) policy.Outcome {
	if reported {
		return policy.Outcome{Verdict: policy.Passed, Violations: f.violations}
	}
	return policy.Outcome{Reason: f.reason, Violations: f.violations, Detail: "the body breaks " + Describe(f.violations)}
}

// Describe returns violations as the operator may see them: where each is, and which rule it breaks, with nothing of the body.
func Describe(violations []policy.Violation) string {
	var text strings.Builder
	for i, violation := range violations {
		if i > 0 {
			text.WriteString(", ")
		}
		if violation.Field != "" {
			text.WriteString(violation.Field + ": ")
		}
		text.WriteString(violation.Rule)
	}
	return text.String()
}
