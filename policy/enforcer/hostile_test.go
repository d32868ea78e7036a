package enforcer_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// injections are fifty texts that mean something to some evaluator: Casbin's, a shell's, a template's, a database's.
var injections = []string{
	`" || true || "`, `' || true || '`, `" || "1"=="1`, `') || ('1'=='1`, `alice" || r.sub == "alice`, `alice" // `, `alice' # `, `alice"; `,
	`true`, `false`, `1 == 1`, `1`, `!false`, `) || (true`, `(true)`, `p.sub`, `r.sub`, `p_sub`, `r_sub`, `[r_sub]`, `[p_sub]`, `p.sub == p.sub`,
	`eval(true)`, `eval(p.sub)`, `eval("true")`, `g(r.sub, "reader")`, `g("alice", "reader")`, `keyMatch("/a", "/a")`, `regexMatch("a", ".*")`,
	`*`, `/*`, `.*`, `^.*$`, `/.*`, `:id`, `{id}`, `/orders/{id}`, `\`, `\\`, `\"`, `"`, `'`, "`", `$1`, `${sub}`, `%s%n`, `{{.}}`, `<script>`,
	`'; DROP TABLE casbin_rule; --`, `p, mallory, /orders/:id, GET`, `alice,reader`, `allow`, `some(where (p.eft == allow))`,
}

// TestInjections puts each text, alone and around ordinary values, into each field, under matchers of every kind of
// function. Compared as text it matches nothing, so whatever is allowed was evaluated.
func TestInjections(t *testing.T) {
	if len(injections) < 50 {
		t.Fatalf("%d injections", len(injections))
	}
	ordinary := []string{"alice", "/orders/7", "GET"}
	for _, matcher := range []string{
		`r.sub == p.sub && r.obj == p.obj && r.act == p.act`,
		`g(r.sub, p.sub) && keyMatch(r.obj, p.obj) && regexMatch(r.act, p.act)`,
		`g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && globMatch(r.act, p.act)`,
		`g(r.sub, p.sub) && keyMatch4(r.obj, p.obj) && r.act in ("GET", "HEAD")`,
		`g(r.sub, p.sub) && keyMatch5(r.obj, p.obj) && eval(p.act)`,
	} {
		s := &system{name: matcher, model: subjectObjectAction + "[role_definition]\ng = _, _\n" + allowSome + "[matchers]\nm = " + matcher + "\n"}
		act := "GET"
		switch {
		case strings.Contains(matcher, "regexMatch"):
			act = "^GET$"
		case strings.Contains(matcher, "eval"):
			act = `r.act == 'GET'`
		}
		e := build(t, s, "p, alice, /orders/7, "+act+"\n", principalRoles)
		if got, err := e.Evaluate(t.Context(), request(s, ordinary), &policy.Principal{}); err != nil || got.Verdict != policy.Permitted {
			t.Fatalf("%s: the ordinary request: %+v, %v", matcher, got, err)
		}
		for field, value := range ordinary {
			for _, injection := range injections {
				for _, text := range []string{injection, value + injection, injection + value, value + `"` + injection, value + "'" + injection} {
					values := slices.Clone(ordinary)
					values[field] = text
					got, err := e.Evaluate(t.Context(), request(s, values), &policy.Principal{Roles: []string{injection}})
					if err == nil && got.Verdict != policy.Denied {
						t.Errorf("%s with %q: %+v", matcher, values, got)
					}
				}
			}
		}
	}
}

// TestControlCharactersDeny in each field, wherever they stand.
func TestControlCharactersDeny(t *testing.T) {
	s := &system{name: "acl", model: systems()[0].model}
	e := build(t, s, "p, alice, /a, read\n", nil)
	for field := range 3 {
		for c := range 0x80 {
			if c >= ' ' && c != 0x7f {
				continue
			}
			for _, format := range []string{"%c%s", "%[2]s%[1]c", "x%cy%s"} {
				values := []string{"alice", "/a", "read"}
				values[field] = fmt.Sprintf(format, c, values[field])
				got, err := e.Evaluate(t.Context(), request(s, values), &policy.Principal{})
				var fault *policy.StageError
				if !errors.As(err, &fault) || fault.Reason != policy.PolicyError || got.Verdict != policy.Denied {
					t.Errorf("%q: %+v, %v", values, got, err)
				}
			}
		}
	}
}

// attributes is an enforcer whose subject is a map, or whatever the test makes of it.
func attributes(t testing.TB, matcher, rules string, subject *any) *enforcer.Enforcer {
	t.Helper()
	definition := "sub, obj, act"
	if strings.Contains(matcher, "sub_rule") {
		definition = "sub_rule, obj, act"
	}
	e, findings := enforcer.New(enforcer.Config{
		Name:   "attributes",
		Model:  enforcer.Text{File: "model.conf", Data: []byte("[request_definition]\nr = sub, obj, act\n[policy_definition]\np = " + definition + "\n" + allowSome + "[matchers]\nm = " + matcher + "\n")},
		Policy: enforcer.Text{File: "policy.csv", Data: []byte(rules)},
		Fields: map[string]enforcer.Field{"sub": func(*policy.Request, *policy.Principal) (any, error) { return *subject, nil }},
	})
	if e == nil {
		t.Fatal(findings)
	}
	return e
}

// TestAttributes: what Casbin makes of r.sub.Age where the subject is a map. Every attribute that is missing, or of
// another type, is an error, and an error denies.
func TestAttributes(t *testing.T) {
	var subject any
	byMatcher := attributes(t, "r.sub.Age > 17 && r.sub.Team.Name == p.sub && r.obj == p.obj && r.act == p.act", "p, blue, /a, GET\n", &subject)
	byRule := attributes(t, "eval(p.sub_rule) && r.obj == p.obj && r.act == p.act", `p, "r.sub.Age > 17 && r.sub.Team.Name == 'blue'", /a, GET`+"\n", &subject)
	team := map[string]any{"Name": "blue"}
	for name, c := range map[string]struct {
		subject any
		want    string
	}{
		"all of it":          {map[string]any{"Age": 18, "Team": team}, "allow 1"},
		"an int64":           {map[string]any{"Age": int64(18), "Team": team}, "allow 1"},
		"a uint":             {map[string]any{"Age": uint(18), "Team": team}, "allow 1"},
		"another age":        {map[string]any{"Age": 17, "Team": team}, "none"},
		"another team":       {map[string]any{"Age": 18, "Team": map[string]any{"Name": "red"}}, "none"},
		"no age":             {map[string]any{"Team": team}, "error"},
		"no team":            {map[string]any{"Age": 18}, "error"},
		"no name":            {map[string]any{"Age": 18, "Team": map[string]any{}}, "error"},
		"an age that is nil": {map[string]any{"Age": nil, "Team": team}, "error"},
		"an age in words":    {map[string]any{"Age": "old", "Team": team}, "error"},
		"a team in words":    {map[string]any{"Age": 18, "Team": "blue"}, "error"},
		"a name":             {"alice", "error"},
		"nothing":            {nil, "error"},
		"an empty name":      {"", "error"},
	} {
		subject = c.subject
		for _, e := range []*enforcer.Enforcer{byMatcher, byRule} {
			outcome, err := e.Evaluate(t.Context(), &policy.Request{Path: "/a", Method: "GET"}, &policy.Principal{})
			if got := describe(outcome, err); got != c.want {
				t.Errorf("%s: %s (%v), want %s", name, got, err, c.want)
			}
		}
	}
}

// TestErrorsKeepSecrets: an error names what went wrong in one bounded line, without the caller's attributes and
// without a stack.
func TestErrorsKeepSecrets(t *testing.T) {
	const secret = "correct-horse-battery"
	var subject any = map[string]any{"Age": secret, "Long": strings.Repeat(secret, 1000)}
	for _, matcher := range []string{
		"r.sub.Age > 17 && r.sub.Age == p.sub", "r.sub > 17 && r.obj == p.sub", "r.sub.Age && r.obj == p.sub", "r.sub.Long + 1 > 2 || r.obj == p.sub", "-r.sub.Age > 0 && r.obj == p.sub",
		"r.sub.Missing == p.sub", "keyMatch(r.sub, p.sub)", "ipMatch(r.sub.Age, p.sub)", "r.obj in r.sub.Age && r.obj == p.sub", "r.sub.Age.More == p.sub", "!r.sub.Age || r.obj == p.sub",
	} {
		e := attributes(t, matcher, "p, 192.0.2.1, /a, GET\n", &subject)
		got, err := e.Evaluate(t.Context(), &policy.Request{Path: "/a", Method: "GET"}, &policy.Principal{})
		if err == nil || got.Verdict != policy.Denied {
			t.Errorf("%s: %+v, %v", matcher, got, err)
			continue
		}
		if text := err.Error(); strings.Contains(text, "horse") || strings.Contains(text, "goroutine") || strings.Contains(text, "\n") || len(text) > 500 {
			t.Errorf("%s: %q", matcher, text)
		}
	}
}

// TestListsAreNotShared: a call whose first argument is a list appends to it, and must not write into what the next
// request holds too.
func TestListsAreNotShared(t *testing.T) {
	list := append(make([]any, 0, 4), "blue")
	var subject any = map[string]any{"Teams": list}
	e := attributes(t, "keyMatch(r.sub.Teams, p.sub) && r.obj == p.obj", "p, blue, /a, GET\np, red, /b, GET\n", &subject)
	got, err := e.Evaluate(t.Context(), &policy.Request{Path: "/a", Method: "GET"}, &policy.Principal{})
	if err != nil || got.Verdict != policy.Permitted {
		t.Errorf("%+v, %v", got, err)
	}
	if spare := list[:2][1]; spare != nil {
		t.Errorf("%v was written behind a list that others hold", spare)
	}
}

// TestConfiguration: what New refuses of its own configuration.
func TestConfiguration(t *testing.T) {
	field := func(*policy.Request, *policy.Principal) (any, error) { return "x", nil }
	for _, c := range []struct {
		name   string
		change func(*enforcer.Config)
		want   string
	}{
		{"a field that the model does not have", func(c *enforcer.Config) { c.Fields = map[string]enforcer.Field{"dom": field} }, `model.conf:2:1: error: enforcer "orders" says what the field "dom" is`},
		{"a field that nobody computes", func(c *enforcer.Config) {
			c.Model.Data = []byte(strings.Replace(rbac, "r = sub, obj, act", "r = sub, dom, obj, act", 1))
		}, `model.conf:2:10: error: enforcer "orders" does not say what the request's field dom is`},
		{"a huge model", func(c *enforcer.Config) { c.Model.Data = make([]byte, 2<<20) }, "model.conf:1:1: error: the model has 2097152 bytes"},
		{"no model", func(c *enforcer.Config) { c.Model.Data = nil }, "error: the model defines no r"},
	} {
		cfg := enforcer.Config{Name: "orders", Model: enforcer.Text{File: "model.conf", Data: []byte(rbac)}, Policy: enforcer.Text{File: "policy.csv", Data: []byte(rbacRules)}}
		c.change(&cfg)
		if e, findings := enforcer.New(cfg); e != nil || !strings.Contains(findings.Error(), c.want) {
			t.Errorf("%s: %v", c.name, findings)
		}
	}
	acl := systems()[0].model
	_, findings := enforcer.New(enforcer.Config{Model: enforcer.Text{Data: []byte(acl)}, Policy: enforcer.Text{Data: []byte("p, a, b, c")}, Roles: principalRoles})
	if findings.Err() != nil || !strings.Contains(findings.Error(), "the caller's roles have no effect") {
		t.Errorf("roles without a role definition: %v", findings)
	}
}

// TestAcceptedMatchersEvaluate: a matcher that New takes names nothing that Casbin does not know when it is asked, and
// gives Casbin's verdict, however it is written.
func TestAcceptedMatchersEvaluate(t *testing.T) {
	atoms := []string{
		"r.sub", "p.sub", "r.obj", "p.obj", "r_act", "p_act", "r.act", "p.act", "r2.sub", "p.x", "q", "true", "false", `"alice"`, `'/a'`, `"p.sub"`, `" r.sub"`, `"a[b]in"`, `"2020-01-01"`, `"\"`, "1", "in",
		"g(r.sub, p.sub)", "keyMatch(r.obj, p.obj)", "keyMatch2(r.obj, '/:x')", "regexMatch(r.act, p.act)", "regexMatch(r.act, '^[a-z]+$')", "h(r.sub)", "g(r.sub)", "keyGet(r.obj, '/*')", "('alice', 'bob')", "['alice', 'bob']",
	}
	signs := []string{" == ", "==", " && ", " || ", "||", " in ", " != ", " + ", " =~ ", "?", " : ", " ", ".", ",", "&&!", " > "}
	pool := [][]string{{"alice", "bob"}, {"/a", "/b"}, {"read"}}
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		matcher := rapid.SampledFrom([]string{"", "!", "("}).Draw(t, "begin")
		closing := strings.Repeat(")", len(strings.Trim(matcher, "!")))
		for i := range rapid.IntRange(1, 4).Draw(t, "length") {
			if i > 0 {
				matcher += rapid.SampledFrom(signs).Draw(t, "sign")
			}
			matcher += rapid.SampledFrom(atoms).Draw(t, "atom")
		}
		s := &system{name: "drawn", request: pool, model: subjectObjectAction + "[role_definition]\ng = _, _\n" + allowSome + "[matchers]\nm = " + matcher + closing + "\n"}
		const rules = "p, alice, /a, read\ng, bob, alice\n"
		cfg := enforcer.Config{Name: "drawn", Fields: map[string]enforcer.Field{}, Model: enforcer.Text{File: "m", Data: []byte(s.model)}, Policy: enforcer.Text{File: "p", Data: []byte(rules)}}
		if e, _ := enforcer.New(cfg); e == nil {
			return
		}
		taken++
		e, truth := build(t, s, rules, nil), oracle(t, s.model, rules)
		for range 3 {
			values := s.draw(t)
			compare(t, e, truth, s, values)
			_, err := e.Evaluate(t.Context(), request(s, values), &policy.Principal{})
			if err != nil && (strings.Contains(err.Error(), "No parameter") || strings.Contains(err.Error(), "Undefined function") || strings.Contains(err.Error(), "Invalid token")) {
				t.Fatalf("%s was taken: %v", matcher, err)
			}
		}
	})
	if taken == 0 {
		t.Error("no matcher was taken at all")
	}
}

// TestPanicsInFields: they are the pipeline's to count, and leave the enforcer as it was.
func TestPanicsInFields(t *testing.T) {
	panics := true
	e := ordinary(t, func(cfg *enforcer.Config) {
		cfg.Fields = map[string]enforcer.Field{"obj": func(req *policy.Request, _ *policy.Principal) (any, error) {
			if panics {
				panic("a fault of the field's")
			}
			return req.Path, nil
		}}
	})
	req, alice := &policy.Request{Path: "/orders/7", Method: "GET"}, &policy.Principal{ID: "alice"}
	for range 20 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic is lost, which the pipeline would have counted")
				}
			}()
			_, _ = e.Evaluate(t.Context(), req, alice)
		}()
	}
	panics = false
	if got, err := e.Evaluate(t.Context(), req, alice); err != nil || got.Verdict != policy.Permitted {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
}
