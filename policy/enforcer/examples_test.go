package enforcer_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// examples are the models of Casbin's repository, each with the policies that it comes with there. A model that we
// refuse says why.
var examples = []struct {
	model    string
	policies []string
	refused  string
	linear   bool // every rule is looked at
	context  enforcer.Context
}{
	{model: "abac_model.conf"},
	{model: "abac_not_using_policy_model.conf", policies: []string{"abac_rule_effect_policy.csv"}},
	{model: "abac_rule_model.conf", policies: []string{"abac_rule_policy.csv"}},
	{model: "basic_model.conf", policies: []string{"basic_policy.csv", "basic_inverse_policy.csv"}},
	{model: "basic_model_without_spaces.conf", policies: []string{"basic_policy.csv"}},
	{model: "basic_with_root_model.conf", policies: []string{"basic_policy.csv"}},
	{model: "basic_without_resources_model.conf", policies: []string{"basic_without_resources_policy.csv"}},
	{model: "basic_without_users_model.conf", policies: []string{"basic_without_users_policy.csv"}},
	{model: "biba_model.conf"},
	{model: "blp_model.conf"},
	{model: "comment_model.conf", policies: []string{"basic_policy.csv"}},
	{model: "eval_operator_model.conf", policies: []string{"eval_operator_policy.csv"}},
	{model: "glob_model.conf", policies: []string{"glob_policy.csv"}},
	{model: "ipmatch_model.conf", policies: []string{"ipmatch_policy.csv"}},
	{model: "keyget2_model.conf", policies: []string{"keymatch2_policy.csv"}},
	{model: "keyget_model.conf", policies: []string{"keymatch_policy.csv"}},
	{model: "keymatch2_model.conf", policies: []string{"keymatch2_policy.csv"}},
	{model: "keymatch_custom_model.conf", policies: []string{"keymatch2_policy.csv"}, refused: "unknown function keyMatchCustom"},
	{model: "keymatch_model.conf", policies: []string{"keymatch_policy.csv"}},
	{model: "keymatch_with_rbac_in_domain.conf", policies: []string{"keymatch_with_rbac_in_domain.csv"}},
	{model: "lbac_model.conf"},
	{model: "multiple_policy_definitions_model.conf", policies: []string{"multiple_policy_definitions_policy.csv"}},
	{model: "multiple_policy_definitions_model.conf", policies: []string{"multiple_policy_definitions_policy.csv"}, context: enforcer.Context{Request: "r2", Policy: "p2", Effect: "e", Matcher: "m2"}},
	{model: "object_conditions_model.conf", policies: []string{"object_conditions_policy.csv"}, refused: "invalid token"},
	{model: "orbac_model.conf", policies: []string{"orbac_policy.csv"}},
	{model: "pbac_model.conf", policies: []string{"pbac_policy.csv"}},
	{model: "priority_model.conf", policies: []string{"priority_policy.csv"}},
	{model: "priority_model.conf", policies: []string{"priority_indeterminate_policy.csv"}, refused: "neither allow nor deny"},
	{model: "priority_model_enforce_context.conf", policies: []string{"priority_policy_enforce_context.csv"}},
	{model: "priority_model_enforce_context.conf", policies: []string{"priority_policy_enforce_context.csv"}, context: enforcer.Context{Request: "r2", Policy: "p", Effect: "e", Matcher: "m2"}},
	{model: "priority_model_explicit.conf", policies: []string{"priority_policy_explicit.csv"}},
	{model: "priority_model_explicit_customized.conf", policies: []string{"priority_policy_explicit_customized.csv"}},
	{model: "rbac_model.conf", policies: []string{"rbac_policy.csv", "rbac_with_hierarchy_policy.csv"}},
	{model: "rbac_model_in_multi_line.conf", policies: []string{"rbac_policy.csv"}},
	{model: "rbac_model_matcher_using_in_op.conf", policies: []string{"rbac_policy.csv"}},
	{model: "rbac_model_matcher_using_in_op_bracket.conf", policies: []string{"rbac_policy.csv"}},
	{model: "rbac_with_all_pattern_model.conf", policies: []string{"rbac_with_all_pattern_policy.csv"}},
	{model: "rbac_with_deny_model.conf", policies: []string{"rbac_with_deny_policy.csv"}},
	{model: "rbac_with_different_types_of_roles_model.conf", policies: []string{"rbac_with_different_types_of_roles_policy.csv"}},
	{model: "rbac_with_domain_pattern_model.conf", policies: []string{"rbac_with_domain_pattern_policy.csv"}},
	{model: "rbac_with_domain_temporal_roles_model.conf", policies: []string{"rbac_with_domain_temporal_roles_policy.csv"}},
	{model: "rbac_with_domains_conditional_model.conf", policies: []string{"rbac_with_domains_conditional_policy.csv"}},
	{model: "rbac_with_domains_model.conf", policies: []string{"rbac_with_domains_policy.csv", "rbac_with_domains_policy2.csv", "rbac_with_hierarchy_with_domains_policy.csv"}},
	{model: "rbac_with_multiple_policy_model.conf", policies: []string{"rbac_with_multiple_policy_policy.csv"}},
	{model: "rbac_with_not_deny_model.conf", policies: []string{"rbac_with_deny_policy.csv"}},
	{model: "rbac_with_pattern_model.conf", policies: []string{"rbac_with_pattern_policy.csv"}},
	{model: "rbac_with_resource_roles_model.conf", policies: []string{"rbac_with_resource_roles_policy.csv"}},
	{model: "rbac_with_temporal_roles_model.conf", policies: []string{"rbac_with_temporal_roles_policy.csv"}},
	{model: "rebac_model.conf", policies: []string{"rebac_policy.csv"}},
	{model: "subject_priority_model.conf", policies: []string{"subject_priority_policy.csv"}},
	{model: "subject_priority_model_with_domain.conf", policies: []string{"subject_priority_policy_with_domain.csv"}},
	{model: "syntax_matcher_model.conf"},
}

// TestExamplesOfCasbin compares every model of Casbin's examples, over requests made of what occurs in them.
func TestExamplesOfCasbin(t *testing.T) {
	folder := examplesFolder(t)
	named := map[string]bool{}
	for _, example := range examples {
		named[example.model] = true
		modelText := readText(t, filepath.Join(folder, example.model))
		if len(example.policies) == 0 {
			example.policies = []string{""}
		}
		for _, name := range example.policies {
			rules := ""
			if name != "" {
				rules = readText(t, filepath.Join(folder, name))
			}
			t.Run(example.model+" "+example.context.Policy+" "+name, func(t *testing.T) {
				c, err := newComparison(modelText, rules, example.context)
				if example.refused != "" {
					if err == nil || !strings.Contains(err.Error(), example.refused) {
						t.Errorf("refused with %v, want %q", err, example.refused)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if (c.ours.Linear() != "") != example.linear {
					t.Errorf("every rule is looked at: %q", c.ours.Linear())
				}
				compareVocabulary(t, c, modelText+"\n"+rules)
			})
		}
	}
	models, err := filepath.Glob(filepath.Join(folder, "*model*.conf"))
	if err != nil || len(models) < 45 {
		t.Fatal(models, err)
	}
	for _, m := range models {
		if !named[filepath.Base(m)] {
			t.Errorf("%s is not compared", filepath.Base(m))
		}
	}
}

// compareVocabulary asks both about requests drawn from the words of the texts.
func compareVocabulary(t *testing.T, c *comparison, text string) {
	t.Helper()
	words := []any{
		"nobody", "/alice_data/1", "/alice_data2/7/using/3", "/pen/1", "/book/2/3", "192.168.2.1", "domain1", 1.0, 25.0, true,
		map[string]any{"Age": 20.0, "Owner": "alice", "Name": "alice", "Position": "x"},
		map[string]any{},
		[]any{"alice"},
		nil,
	}
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ,\r\n\"'()", r) }) {
		if !slices.Contains(words[:7], any(word)) {
			words = append(words, word)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 4000 {
		values := make([]any, len(c.fields))
		for i := range values {
			values[i] = words[random.IntN(len(words))]
			if c.fields[i] == "sub" && values[i] == nil {
				values[i] = "alice"
			}
		}
		if err := c.compare(t.Context(), values...); err != nil {
			t.Fatal(err)
		}
	}
}

// examplesFolder is where the module of Casbin has its examples.
func examplesFolder(t testing.TB) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/casbin/casbin/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "examples")
}

func readText(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
