package config_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/proto/config"
	"github.com/kasbah-authz/kasbah/testdata"
)

func load(t *testing.T, text string) *config.Document {
	t.Helper()
	document, findings := config.Load("kasbah.yaml", []byte(text))
	if document == nil {
		t.Fatalf("findings:\n%v", findings)
	}
	return document
}

const positioned = `routes:
- name: a
  match: [{path: /a}, {path: /b, methods: [GET]}]
  public: true
  headers:
    X-User: principal.id
    x-roles: principal.roles
- {name: b, match: [{path: /c}], public: true}
`

func TestPosition(t *testing.T) {
	document := load(t, `routes:
- name: a
  match: [{path: /a}, {path: /b, methods: [GET]}]
  public: true
  headers:
    X-User: principal.id
  query:
    'odd"].name': principal.id
- {name: b, match: [{path: /c}], public: true}
`)
	for _, c := range []struct{ field, want string }{
		{"", "kasbah.yaml"},
		{"routes", "kasbah.yaml:2:1"},
		{"routes[0]", "kasbah.yaml:2:3"},
		{"routes[0].name", "kasbah.yaml:2:9"},
		{"routes[0].match[1].path", "kasbah.yaml:3:30"},
		{"routes[0].match[1].methods[0]", "kasbah.yaml:3:44"},
		{`routes[0].headers["X-User"]`, "kasbah.yaml:6:13"},
		{`routes[0].headers["x-user"]`, "kasbah.yaml:6:13"}, // as Config has it
		{`routes[0].query["odd\"].name"]`, "kasbah.yaml:8:19"},
		{"routes[1].match[0].path", "kasbah.yaml:9:28"},
		// absent: what encloses it
		{"server", "kasbah.yaml:1:1"},
		{"server.log.level", "kasbah.yaml:1:1"},
		{"routes[0].match[1].host", "kasbah.yaml:3:23"},
		{`routes[0].headers["x-other"]`, "kasbah.yaml:6:5"},
		{"routes[2].name", "kasbah.yaml:2:1"},
		{"routes[0].name.more[1]", "kasbah.yaml:2:9"},
		// what is no path leads as far as it makes sense
		{"routes[-1]", "kasbah.yaml:2:1"},
		{"routes[x", "kasbah.yaml:2:1"},
		{`routes[0].headers["`, "kasbah.yaml:6:5"},
		{"[0]", "kasbah.yaml:1:1"},
		{"..", "kasbah.yaml:1:1"},
		{"routes[99999999999999999999]", "kasbah.yaml:2:1"},
	} {
		if got := document.Position(c.field).String(); got != c.want {
			t.Errorf("position of %q is %s, want %s", c.field, got, c.want)
		}
	}
}

func TestFinding(t *testing.T) {
	document := load(t, positioned)
	cause := errors.New("no such field")
	located := &policy.Finding{Position: policy.Position{File: "model.conf", Line: 3}, Level: policy.LevelWarning, Message: "odd"}
	for _, c := range []struct {
		name, prefix string
		err          error
		want         string
	}{
		{"plain", "routes[1]", cause, "kasbah.yaml:8:3: error: no such field"},
		{"field", "routes[0]", &policy.FieldError{Field: "match[1].path", Err: cause}, "kasbah.yaml:3:30: error: no such field"},
		{"bracket", "routes[0].headers", &policy.FieldError{Field: `["x-user"]`, Err: cause}, "kasbah.yaml:6:13: error: no such field"},
		{"no prefix", "", &policy.FieldError{Field: "routes[1].name", Err: cause}, "kasbah.yaml:8:10: error: no such field"},
		{"no field", "routes[1]", &policy.FieldError{Err: cause}, "kasbah.yaml:8:3: error: no such field"},
		{
			"wrapped", "routes[0]", fmt.Errorf("compiling: %w", &policy.FieldError{Field: "name", Err: cause}),
			"kasbah.yaml:2:9: error: compiling: no such field",
		},
		{
			"nested", "routes[0]", &policy.FieldError{Field: "match[0]", Err: &policy.FieldError{Field: "path", Err: cause}},
			"kasbah.yaml:3:18: error: no such field",
		},
		{"located", "routes[0]", fmt.Errorf("reading: %w", located), "model.conf:3: warning: odd"},
		{"of no file", "routes[1]", &policy.Finding{Message: "odd"}, "kasbah.yaml:8:3: error: odd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, document.Finding(c.prefix, c.err).Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
	if document.Finding("routes", nil) != nil {
		t.Error("no error has a finding")
	}
}

// TestHeadersAreFolded also holds the Config to the names that Position is then asked for.
func TestHeadersAreFolded(t *testing.T) {
	document := load(t, string(testdata.Read(t, "configs/good/every_field.yaml")))
	headers := document.Config().GetRoutes()[0].GetHeaders()
	want := map[string]string{"x-user": "principal.id", "authorization": "principal.claims.upstream"}
	if diff := cmp.Diff(want, headers); diff != "" {
		t.Error(diff)
	}
}
