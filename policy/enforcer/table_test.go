package enforcer_test

import (
	"slices"
	"testing"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	"github.com/casbin/casbin/v2/persist"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// rowsAdapter gives Casbin rows as its adapters for databases do.
type rowsAdapter struct {
	persist.Adapter
	rows []enforcer.Row
}

func (a *rowsAdapter) LoadPolicy(m model.Model) error {
	for _, row := range a.rows {
		if err := persist.LoadPolicyArray(row.Fields, m); err != nil {
			return err
		}
	}
	return nil
}

// TestRowsOfTables: a table holds what no line of a text can, commas, quotes and space, and means the same to both.
func TestRowsOfTables(t *testing.T) {
	const text = "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n[role_definition]\ng = _, _\n" + allowSome +
		"[matchers]\nm = g(r.sub, p.sub) && (r.obj == p.obj || keyMatch2(r.obj, p.obj)) && r.act == p.act\n"
	field := rapid.SampledFrom([]string{"a", "b", "a,b", `"a"`, " a", "a ", "p, a", "#a", "/:x", "é", "a\"b,c"})
	compared, allowed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var rows []enforcer.Row
		for i := range rapid.IntRange(1, 12).Draw(t, "rows") {
			fields := []string{"p", field.Draw(t, "sub"), field.Draw(t, "obj"), field.Draw(t, "act")}
			if rapid.IntRange(0, 2).Draw(t, "link") == 0 {
				fields = append([]string{"g"}, fields[1:3]...)
			}
			rows = append(rows, enforcer.Row{ID: int64(10 * i), Fields: fields})
		}
		var values []string
		e, findings := enforcer.New(enforcer.Config{
			Name: "rows", AllowIfEmpty: true, Model: enforcer.Text{File: "model.conf", Data: []byte(text)}, Table: &enforcer.Table{Name: "casbin_rule", Rows: rows},
			Fields: map[string]enforcer.Field{
				"sub": func(*policy.Request, *policy.Principal) (any, error) { return values[0], nil },
				"obj": func(*policy.Request, *policy.Principal) (any, error) { return values[1], nil },
				"act": func(*policy.Request, *policy.Principal) (any, error) { return values[2], nil },
			},
		})
		if e == nil {
			if len(findings) == 0 {
				t.Fatal("refused without a word")
			}
			return
		}
		m, err := model.NewModelFromString(text)
		if err != nil {
			t.Fatal(err)
		}
		truth, err := casbin.NewEnforcer(m, &rowsAdapter{rows: rows})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			values = []string{field.Draw(t, "r.sub"), field.Draw(t, "r.obj"), field.Draw(t, "r.act")}
			if row := rapid.SampledFrom(rows).Draw(t, "row"); row.Fields[0] == "p" {
				values[1], values[2] = row.Fields[2], row.Fields[3] // or hardly anything would be allowed
			}
			want, explained, err := truth.EnforceEx(asAny(values)...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := e.Evaluate(t.Context(), &policy.Request{}, &policy.Principal{})
			if err != nil || (got.Verdict == policy.Permitted) != want {
				t.Fatalf("%q over %+v: %+v, %v; Casbin says %t", values, rows, got, err, want)
			}
			compared++
			if !want {
				continue
			}
			allowed++
			at := slices.IndexFunc(rows, func(row enforcer.Row) bool { return row.Fields[0] == "p" && slices.Equal(row.Fields[1:], explained) })
			if got.Rule.File != "casbin_rule" || got.Rule.Line != int(rows[at].ID) {
				t.Fatalf("%q: decided by %v, Casbin by row %d", values, got.Rule, rows[at].ID)
			}
		}
	})
	if allowed < compared/50 || compared < 100 {
		t.Errorf("%d of %d allowed show little", allowed, compared)
	}
}
