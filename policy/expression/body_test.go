package expression_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/expression"
)

var bodies = []string{
	`body.amount`, `body.amount > 10`, `body.items[1].name`, `has(body.amount)`, `has(body.missing)`, `body.missing`, `"amount" in body`, `size(body.items)`,
	`body.items.exists(i, i.name == "b")`, `body.currency == "EUR"`, `body.at > timestamp("2026-01-01T00:00:00Z")`, `body`, `body == {}`, `body["amount"] + 1`, `body.big == 18446744073709551615u`,
	`type(body) == map`, `body != null`, `body.wait < duration("5s")`, `body.amount == body.amount`, `[body] == [body]`, `body.items.all(i, i.name != "")`, `body.missing.deeper`,
}

// body is typed, and read alike with and without CEL.
func TestBody(t *testing.T) {
	t.Parallel()
	req := &policy.Request{Parsed: func() (any, error) {
		return map[string]any{
			"amount": int64(20), "currency": "EUR", "big": uint64(1<<64 - 1), "wait": time.Second, "at": time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC),
			"items": []any{map[string]any{"name": "a"}, map[string]any{"name": "b"}}, "price": json.Number("1.5"),
		}, nil
	}}
	want := map[string]any{
		`body.amount`: int64(20), `body.amount > 10`: true, `body.items[1].name`: "b", `has(body.amount)`: true, `has(body.missing)`: false, `"amount" in body`: true, `size(body.items)`: int64(2),
		`body.items.exists(i, i.name == "b")`: true, `body.currency == "EUR"`: true, `body.at > timestamp("2026-01-01T00:00:00Z")`: true, `body["amount"] + 1`: int64(21),
		`body.big == 18446744073709551615u`: true, `body.wait < duration("5s")`: true, `body.price`: 1.5,
	}
	for source, value := range want {
		for name, compile := range map[string]func(string) (*expression.Expression, error){"direct": expression.Compile, "CEL": expression.CompileIndirect} {
			e, err := compile(source)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := e.Value(req, nil); err != nil || !reflect.DeepEqual(got, value) {
				t.Errorf("%s, %s: %v, %v", source, name, got, err)
			}
		}
	}
}

// Where no body was validated, nothing that asks for one has a value: not even that it is absent.
func TestNoBody(t *testing.T) {
	t.Parallel()
	for name, req := range map[string]*policy.Request{
		"none": {}, "none that can be read": {Parsed: func() (any, error) { return nil, errors.New("hunter2") }},
	} {
		for _, source := range bodies {
			for _, compile := range []func(string) (*expression.Expression, error){expression.Compile, expression.CompileIndirect} {
				e, err := compile(source)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := e.Value(req, nil); err == nil || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("%s: %s is %v, %v", name, source, got, err)
				}
				if got, ok, err := e.Text(req, nil); err == nil {
					t.Errorf("%s: as text %s is %q, %v", name, source, got, ok)
				}
				if got, err := e.Strings(req, nil); err == nil {
					t.Errorf("%s: as a list %s is %q", name, source, got)
				}
			}
		}
	}
}

// A condition on a credential sees no body.
func TestConditionWithoutBody(t *testing.T) {
	t.Parallel()
	if _, err := expression.Condition(`body.amount == 1`); err == nil {
		t.Error("a condition reads the body")
	}
}
