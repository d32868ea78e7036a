package enforcer_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	stringadapter "github.com/casbin/casbin/v2/persist/string-adapter"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// comparison holds our enforcer of one model and policy against Casbin's.
type comparison struct {
	ours   *enforcer.Enforcer
	truth  *casbin.Enforcer
	which  []any // what Casbin is given before a request
	values []any // of the request that is being compared
	fields []string

	allowed bool // Casbin's last verdict
}

// newComparison builds both. Its error is a fault of the texts, by either reader.
func newComparison(modelText, rules string, ctx enforcer.Context) (*comparison, error) {
	m, err := model.NewModelFromString(modelText)
	if err != nil {
		return nil, err
	}
	c := &comparison{}
	request := "r"
	if ctx.Request != "" {
		request = ctx.Request
		c.which = []any{casbin.EnforceContext{RType: ctx.Request, PType: ctx.Policy, EType: ctx.Effect, MType: ctx.Matcher}}
	}
	cfg := enforcer.Config{
		Name: "compared", AllowIfEmpty: true, Context: ctx, Fields: map[string]enforcer.Field{},
		Model: enforcer.Text{File: "model.conf", Data: []byte(modelText)}, Policy: enforcer.Text{File: "policy.csv", Data: []byte(rules)},
	}
	for i, token := range m["r"][request].Tokens {
		_, name, _ := strings.Cut(token, "_")
		c.fields = append(c.fields, name)
		cfg.Fields[name] = func(*policy.Request, *policy.Principal) (any, error) { return c.values[i], nil }
	}
	var findings policy.Findings
	if c.ours, findings = enforcer.New(cfg); c.ours == nil {
		return nil, findings.Err()
	}
	if c.truth, err = casbin.NewEnforcer(m, stringadapter.NewAdapter("# not empty\n"+trimmed(rules))); err != nil {
		panic(fmt.Sprintf("we take what Casbin does not: %v\n%s\n%s", err, modelText, rules))
	}
	return c, nil
}

// compare returns how the two differ: in the verdict, in whether there is one at all, or in the rule that decided.
func (c *comparison) compare(ctx context.Context, values ...any) error {
	c.values = values
	want, explained, wantErr := c.truth.EnforceEx(slices.Concat(c.which, values)...)
	c.allowed = want
	got, err := c.ours.Evaluate(ctx, &policy.Request{}, &policy.Principal{})
	switch {
	case (err == nil) != (wantErr == nil):
		return fmt.Errorf("%v: error %w, Casbin's %w", values, err, wantErr)
	case err != nil:
		return nil
	case (got.Verdict == policy.Permitted) != want:
		return fmt.Errorf("%v: %+v, Casbin says %t by %q", values, got, want, explained)
	case strings.HasPrefix(got.Rule.Text, "m"), got.Rule.Text == "" && len(explained) == 0:
		return nil
	}
	reader := csv.NewReader(strings.NewReader(got.Rule.Text))
	reader.TrimLeadingSpace = true
	row, err := reader.Read()
	if err != nil || !slices.Equal(row[1:], explained) {
		return fmt.Errorf("%v: decided by %q, Casbin by %q", values, got.Rule.Text, explained)
	}
	return nil
}

// trimmed returns the lines without the space around them, which Casbin's adapter for files takes away, and the one for
// strings does not.
func trimmed(rules string) string {
	lines := strings.Split(rules, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "\n")
}
