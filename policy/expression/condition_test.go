package expression_test

import (
	"testing"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/expression"
)

func TestCondition(t *testing.T) {
	who := &policy.Principal{ID: "alice", Tenant: "acme", Provider: "corp", Roles: []string{"a"}, Claims: map[string]any{"verified": true, "text": "true", "level": 2.0}}
	for source, want := range map[string]string{
		`principal.claims.verified`: "true", `principal.claims.verified == true && principal.tenant == "acme"`: "true",
		`principal.roles.exists(request, request == "a")`: "true", `principal.claims.level > 2.0`: "false", `false`: "false",
		`principal.claims.text`: "error", `principal.claims.absent`: "error", `principal.claims.level > "x"`: "error",
		`request.path == "/"`: "no condition", `principal.id == request.method`: "no condition", `source.address == ""`: "no condition",
		`principal.id`: "no condition", `principal.roles`: "no condition", `principal.`: "no condition", `size(metadata) == 0`: "no condition",
	} {
		condition, err := expression.Condition(source)
		got := "no condition"
		if err == nil {
			switch held, fault := condition(who); {
			case fault != nil && !held:
				got = "error"
			case fault == nil && held:
				got = "true"
			case fault == nil:
				got = "false"
			}
		}
		if got != want {
			t.Errorf("%s: %s (%v), want %s", source, got, err, want)
		}
	}
}
