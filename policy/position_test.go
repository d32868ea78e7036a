package policy_test

import (
	"errors"
	"testing"

	"github.com/kasbah-authz/kasbah/policy"
)

func TestPosition(t *testing.T) {
	t.Parallel()
	for want, position := range map[string]policy.Position{
		"":          {},
		"a.csv":     {File: "a.csv"},
		"a.csv:3":   {File: "a.csv", Line: 3},
		"a.csv:3:7": {File: "a.csv", Line: 3, Column: 7},
	} {
		if got := position.String(); got != want {
			t.Errorf("%#v is %q; want %q", position, got, want)
		}
	}
}

func TestFindings(t *testing.T) {
	t.Parallel()
	grave := &policy.Finding{Position: policy.Position{File: "a.csv", Line: 3, Column: 7}, Message: "no such role"}
	light := &policy.Finding{Position: policy.Position{File: "a.csv"}, Level: policy.LevelWarning, Message: "is empty"}
	nowhere := &policy.Finding{Message: "x"}
	for finding, want := range map[*policy.Finding]string{
		grave: "a.csv:3:7: error: no such role", light: "a.csv: warning: is empty", nowhere: "error: x",
	} {
		if got := finding.Error(); got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
	if err := (policy.Findings{light}).Err(); err != nil {
		t.Errorf("warnings alone are an error: %v", err)
	}
	if err := policy.Findings(nil).Err(); err != nil {
		t.Errorf("no findings are an error: %v", err)
	}
	err := policy.Findings{light, grave}.Err()
	if err == nil || err.Error() != "a.csv: warning: is empty\na.csv:3:7: error: no such role" {
		t.Errorf("findings: %v", err)
	}
	var all policy.Findings
	if !errors.As(err, &all) || len(all) != 2 {
		t.Errorf("findings out of their error: %v", all)
	}
}

func TestFieldError(t *testing.T) {
	t.Parallel()
	inner := errors.New("is required")
	err := error(&policy.FieldError{Field: "jwt.audiences", Err: inner})
	if err.Error() != "jwt.audiences: is required" || !errors.Is(err, inner) {
		t.Errorf("%v", err)
	}
}

func TestHeadersGet(t *testing.T) {
	t.Parallel()
	headers := policy.Headers{{Name: "a", Value: "1"}, {Name: "b", Value: ""}, {Name: "a", Value: "2"}, {Name: "a", Value: "3"}}
	for name, want := range map[string]struct {
		value string
		count int
	}{"a": {"1", 3}, "b": {"", 1}, "c": {"", 0}, "A": {"", 0}} {
		if value, count := headers.Get(name); value != want.value || count != want.count {
			t.Errorf("Get(%q) = %q, %d", name, value, count)
		}
	}
}

func TestParam(t *testing.T) {
	t.Parallel()
	req := policy.Request{Params: []policy.Param{{Name: "id", Value: "7"}, {Name: "empty"}}}
	if value, ok := req.Param("id"); value != "7" || !ok {
		t.Errorf("id: %q, %v", value, ok)
	}
	if value, ok := req.Param("empty"); value != "" || !ok {
		t.Errorf("empty: %q, %v", value, ok)
	}
	if value, ok := req.Param("ID"); value != "" || ok {
		t.Errorf("ID: %q, %v", value, ok)
	}
}
