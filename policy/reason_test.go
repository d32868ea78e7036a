package policy_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy"
)

func TestReasons(t *testing.T) {
	t.Parallel()
	all := policy.Reasons()
	if len(all) < 25 {
		t.Fatalf("%d reasons; the table lost some", len(all))
	}
	word := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	seen := map[string]bool{}
	for i, reason := range all {
		name := reason.String()
		if int(reason) != i || !word.MatchString(name) || seen[name] {
			t.Errorf("reason %d is number %d, named %q, seen before: %v", i, reason, name, seen[name])
		}
		seen[name] = true
		if back, err := policy.ParseReason(name); err != nil || back != reason {
			t.Errorf("ParseReason(%q) = %v, %v", name, back, err)
		}
	}
	for _, name := range []string{"", "Internal", "allow", "reason(200)", "internal "} {
		if got, err := policy.ParseReason(name); err == nil || got != policy.Internal {
			t.Errorf("ParseReason(%q) = %v, %v", name, got, err)
		}
	}
	if got := policy.Reason(200).String(); !strings.Contains(got, "200") {
		t.Errorf("Reason(200) is %q", got)
	}
}

func TestZeroValuesDeny(t *testing.T) {
	t.Parallel()
	if (policy.Decision{}).Effect != policy.Deny || (policy.Decision{}).Reason != policy.Internal {
		t.Error("the zero Decision")
	}
	if (policy.Outcome{}).Verdict != policy.Denied {
		t.Error("the zero Outcome")
	}
	var effect policy.Effect
	if effect != policy.Deny || effect.String() != "deny" || policy.Effect(7).String() != "deny" || policy.Allow.String() != "allow" {
		t.Error("the names of effects")
	}
	var principal *policy.Principal
	if !principal.Anonymous() || !(&policy.Principal{ID: "a", Subject: "a"}).Anonymous() || (&policy.Principal{Provider: "p"}).Anonymous() {
		t.Error("who is anonymous")
	}
	refused := policy.Refuse(policy.InvalidRequest, "two readings")
	if refused.Effect != policy.Deny || refused.Reason != policy.InvalidRequest || refused.Detail != "two readings" || refused.Principal == nil {
		t.Errorf("Refuse: %+v", refused)
	}
}
