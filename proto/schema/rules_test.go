package schema_test

import (
	"errors"
	"testing"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/proto/schema"
)

func TestRules(t *testing.T) {
	t.Parallel()
	rule := func(id string, holds bool, err error) schema.Rule {
		return schema.Rule{ID: id, Message: id + " must hold", Holds: func(*policy.Request, *policy.Principal) (bool, error) { return holds, err }}
	}
	tried := rule("tried", false, nil)
	tried.Reported = true
	triedBroken := rule("tried", true, errors.New("broken"))
	triedBroken.Reported = true
	for name, c := range map[string]struct {
		rules   []schema.Rule
		verdict policy.Verdict
		broken  string
		fault   bool
	}{
		"all hold":           {[]schema.Rule{rule("a", true, nil), rule("b", true, nil)}, policy.Passed, "", false},
		"one does not":       {[]schema.Rule{rule("a", true, nil), rule("b", false, nil)}, policy.Denied, "b", false},
		"none does":          {[]schema.Rule{rule("a", false, nil), tried, rule("b", false, nil)}, policy.Denied, "a b", false},
		"only a report":      {[]schema.Rule{rule("a", true, nil), tried}, policy.Passed, "tried", false},
		"one is broken":      {[]schema.Rule{rule("a", false, nil), rule("b", true, errors.New("broken"))}, policy.Denied, "", true},
		"a report is broken": {[]schema.Rule{triedBroken}, policy.Denied, "", true},
	} {
		outcome, err := schema.NewRules(c.rules).Evaluate(t.Context(), &policy.Request{}, &policy.Principal{})
		var fault *policy.StageError
		if outcome.Verdict != c.verdict || rules(outcome) != c.broken || errors.As(err, &fault) != c.fault || c.fault && fault.Reason != policy.PolicyError {
			t.Errorf("%s: %+v, %v", name, outcome, err)
		}
	}
}
