package enforcer_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// pageRow is a row of Casbin's benchmark page: a model and a policy of its examples, or more rules of the same kind,
// and the request that Casbin's own benchmark makes of them.
type pageRow struct {
	name, model, policy string
	request             []any
	rules               func() string
}

func pageRows() []pageRow {
	attributes := map[string]any{"Owner": "alice", "Age": 20.0}
	return []pageRow{
		{"ACL, 2 rules", "basic_model.conf", "basic_policy.csv", []any{"alice", "data1", "read"}, nil},
		{"RBAC, 5 rules", "rbac_model.conf", "rbac_policy.csv", []any{"alice", "data2", "read"}, nil},
		{"RBAC, 1,100 rules", "rbac_model.conf", "", []any{"user501", "data9", "read"}, pageRBAC(100)},
		{"RBAC, 11,000 rules", "rbac_model.conf", "", []any{"user5001", "data99", "read"}, pageRBAC(1000)},
		{"RBAC, 110,000 rules", "rbac_model.conf", "", []any{"user50001", "data999", "read"}, pageRBAC(10_000)},
		{"RBAC with resource roles, 6 rules", "rbac_with_resource_roles_model.conf", "rbac_with_resource_roles_policy.csv", []any{"alice", "data1", "read"}, nil},
		{"RBAC with domains, 6 rules", "rbac_with_domains_model.conf", "rbac_with_domains_policy.csv", []any{"alice", "domain1", "data1", "read"}, nil},
		{"ABAC, no rule", "abac_model.conf", "", []any{"alice", attributes, "read"}, nil},
		{"ABAC with eval, 2 rules", "abac_rule_model.conf", "abac_rule_policy.csv", []any{attributes, "/data1", "read"}, nil},
		{"ABAC with eval, 1,000 rules", "abac_rule_model.conf", "", []any{attributes, "data500", "read"}, pageABAC(1000)},
		{"RESTful, 5 rules", "keymatch_model.conf", "keymatch_policy.csv", []any{"alice", "/alice_data/resource1", "GET"}, nil},
		{"deny override, 6 rules", "rbac_with_deny_model.conf", "rbac_with_deny_policy.csv", []any{"alice", "data1", "read"}, nil},
		{"priority, 9 rules", "priority_model.conf", "priority_policy.csv", []any{"alice", "data1", "read"}, nil},
	}
}

// pageRBAC are that many roles, ten times as many users, and a tenth as many resources.
func pageRBAC(roles int) func() string {
	return func() string {
		var text strings.Builder
		for i := range roles {
			fmt.Fprintf(&text, "p, group%d, data%d, read\n", i, i/10)
		}
		for i := range 10 * roles {
			fmt.Fprintf(&text, "g, user%d, group%d\n", i, i/10)
		}
		return text.String()
	}
}

func pageABAC(rules int) func() string {
	return func() string {
		var text strings.Builder
		for i := range rules {
			fmt.Fprintf(&text, "p, r.sub.Age > 18, data%d, read\n", i)
		}
		return text.String()
	}
}

// BenchmarkPage is every row of Casbin's benchmark page: a decision of ours beside Casbin's in the same run.
func BenchmarkPage(b *testing.B) {
	folder := examplesFolder(b)
	for _, row := range pageRows() {
		rules := ""
		switch {
		case row.rules != nil:
			rules = row.rules()
		case row.policy != "":
			rules = readText(b, filepath.Join(folder, row.policy))
		}
		c, err := newComparison(readText(b, filepath.Join(folder, row.model)), rules, enforcer.Context{})
		if err != nil {
			b.Fatal(row.name, err)
		}
		if err := c.compare(b.Context(), row.request...); err != nil {
			b.Fatal(row.name, err)
		}
		req, caller := &policy.Request{}, &policy.Principal{}
		b.Run(row.name+"/kasbah", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.ours.Evaluate(b.Context(), req, caller)
			}
		})
		b.Run(row.name+"/casbin", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.truth.Enforce(row.request...)
			}
		})
	}
}
