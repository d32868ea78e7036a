package enforcer_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// changed is a policy that is edited: as a text, or as the rows of a table.
type changed struct {
	model  string
	table  bool
	lines  []string
	ids    []int64 // of rows
	nextID int64
	values []any
}

func (c *changed) config(previous *enforcer.Enforcer) enforcer.Config {
	cfg := enforcer.Config{
		Name: "changed", AllowIfEmpty: true, Previous: previous, Fields: map[string]enforcer.Field{},
		Model:  enforcer.Text{File: "model.conf", Data: []byte(c.model)},
		Policy: enforcer.Text{File: "policy.csv", Data: []byte(strings.Join(c.lines, "\n"))},
	}
	for i, name := range []string{"sub", "dom", "obj", "act"} {
		cfg.Fields[name] = func(*policy.Request, *policy.Principal) (any, error) { return c.values[i], nil }
	}
	if c.table {
		cfg.Table = &enforcer.Table{Name: "policy.csv"}
		for i, line := range c.lines {
			if !strings.HasPrefix(line, "#") && line != "" {
				cfg.Table.Rows = append(cfg.Table.Rows, enforcer.Row{ID: c.ids[i], Fields: strings.Split(line, ", ")})
			}
		}
	}
	return cfg
}

// edit changes some lines. A table gets new rows at its end, and changes and loses them anywhere.
func (c *changed) edit(t *rapid.T, m *drawnModel) {
	for range rapid.IntRange(1, 3).Draw(t, "edits") {
		at := rapid.IntRange(0, len(c.lines)).Draw(t, "at")
		added := m.drawLine(t)
		if c.table && rapid.Bool().Draw(t, "at the end") {
			at = len(c.lines)
		}
		switch kind := rapid.IntRange(0, 2).Draw(t, "kind"); {
		case at == len(c.lines) || kind == 0 && !c.table:
			c.lines, c.ids = slices.Insert(c.lines, at, added), slices.Insert(c.ids, at, c.nextID)
			c.nextID++
		case kind == 1:
			c.lines[at] = added
		default:
			c.lines, c.ids = slices.Delete(c.lines, at, at+1), slices.Delete(c.ids, at, at+1)
		}
	}
}

func (m *drawnModel) drawLine(t *rapid.T) string {
	switch rapid.IntRange(0, 9).Draw(t, "line") {
	case 0:
		return "# a comment"
	case 1:
		return ""
	case 2, 3, 4:
		name := rapid.SampledFrom(drawnSubjects[:5])
		if rapid.Bool().Draw(t, "in a domain") {
			return "g3, " + name.Draw(t, "user") + ", " + name.Draw(t, "role") + ", " + rapid.SampledFrom(drawnDomains).Draw(t, "domain")
		}
		return "g, " + name.Draw(t, "user") + ", " + name.Draw(t, "role")
	}
	return m.drawRule(t)
}

func rulesOf(e *enforcer.Enforcer) []policy.Rule { return slices.Collect(e.All()) }

// TestChanges edits policies step by step. An enforcer that was made by changing the one before is in nothing
// different from one that was read as a whole: not in its rules and where they stand, nor in any outcome but its words.
func TestChanges(t *testing.T) {
	var changes, whole atomic.Int64
	for _, table := range []bool{false, true} {
		t.Run(fmt.Sprint("table ", table), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				m := drawModel(t)
				if m.evals || m.ranked {
					return // quoted fields, and rules that are sorted, are read as a whole
				}
				c := &changed{model: m.text, table: table, nextID: 100}
				for range rapid.IntRange(5, 30).Draw(t, "lines") {
					c.lines, c.ids, c.nextID = append(c.lines, m.drawLine(t)), append(c.ids, c.nextID), c.nextID+1
				}
				previous, _ := enforcer.New(c.config(nil))
				for range 6 {
					c.edit(t, &m)
					now, findings := enforcer.New(c.config(previous))
					fresh, want := enforcer.New(c.config(nil))
					if (now == nil) != (fresh == nil) {
						t.Fatalf("changed %v, read %v", findings, want)
					}
					if fresh == nil {
						continue
					}
					if enforcer.Derived(now) {
						changes.Add(1)
					} else {
						whole.Add(1)
						if diff := cmp.Diff(want, findings); diff != "" {
							t.Fatal(diff)
						}
					}
					c.same(t, &m, now, fresh)
					previous = now
				}
			})
		})
	}
	t.Cleanup(func() {
		t.Logf("%d changes, %d read as a whole", changes.Load(), whole.Load())
		if changes.Load() < 100 {
			t.Error("hardly any change was taken as one")
		}
	})
}

func (c *changed) same(t *rapid.T, m *drawnModel, now, fresh *enforcer.Enforcer) {
	if diff := cmp.Diff(rulesOf(fresh), rulesOf(now)); diff != "" || fresh.Rules() != now.Rules() {
		t.Fatalf("%d rules and %d: %s", fresh.Rules(), now.Rules(), diff)
	}
	for range 10 {
		c.values = drawRequest(t, m)
		want, wantErr := fresh.Evaluate(t.Context(), &policy.Request{}, &policy.Principal{})
		got, err := now.Evaluate(t.Context(), &policy.Request{}, &policy.Principal{})
		got.Detail, want.Detail = "", "" // a text that no rule has any more is told from one that none ever had
		if (err == nil) != (wantErr == nil) || !cmp.Equal(got, want) {
			t.Fatalf("%v: %+v, %v; read as a whole %+v, %v\n%s\n%s", c.values, got, err, want, wantErr, c.model, strings.Join(c.lines, "\n"))
		}
	}
}

// TestRowsWithAnyID: the IDs of rows order them, however far apart they are and below zero too.
func TestRowsWithAnyID(t *testing.T) {
	const text = "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n" + allowSome + "[matchers]\nm = r.sub == p.sub && r.obj == p.obj && r.act == p.act\n"
	row := func(id int64, subject string) enforcer.Row {
		return enforcer.Row{ID: id, Fields: []string{"p", subject, "/x", "GET"}}
	}
	var before *enforcer.Enforcer
	for _, rows := range [][]enforcer.Row{
		{row(math.MinInt64, "a"), row(-7, "b"), row(9, "c"), row(math.MaxInt64, "d")},
		{row(math.MinInt64, "a"), row(-8, "e"), row(9, "c"), row(math.MaxInt64, "d")},
		{row(math.MinInt64, "a"), row(-8, "e"), row(9, "c")},
	} {
		e, findings := enforcer.New(enforcer.Config{Name: "rows", Previous: before, Model: enforcer.Text{Data: []byte(text)}, Table: &enforcer.Table{Name: "t", Rows: rows}})
		if e == nil {
			t.Fatal(findings)
		}
		if before != nil && !enforcer.Derived(e) {
			t.Error("the change was not taken alone")
		}
		for _, subject := range []string{"a", "b", "c", "d", "e"} {
			want := slices.IndexFunc(rows, func(r enforcer.Row) bool { return r.Fields[1] == subject }) >= 0
			got, err := e.Evaluate(t.Context(), &policy.Request{Path: "/x", Method: "GET"}, &policy.Principal{ID: subject})
			if err != nil || (got.Verdict == policy.Permitted) != want {
				t.Errorf("%s of %v: %+v, %v", subject, rows, got, err)
			}
		}
		before = e
	}
}
