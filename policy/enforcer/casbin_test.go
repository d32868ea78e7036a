package enforcer_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	stringadapter "github.com/casbin/casbin/v2/persist/string-adapter"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// system is one kind of model, with pools that rules and requests are drawn from.
type system struct {
	name, model string
	rules       []string   // drawn into a policy, in this order
	request     [][]string // for each field of a request, what it may be
}

const (
	subjectObjectAction = "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n"
	allowSome           = "[policy_effect]\ne = some(where (p.eft == allow))\n"
	withEffect          = "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act, eft\n[role_definition]\ng = _, _\n"
)

var people = []string{"alice", "bob", "root", "nobody", "admin"}

func systems() []system {
	acl := [][]string{people, {"/a", "/b", "/a/1", "/a/1/x", "data1", "data2"}, {"read", "write", "GET"}}
	plain := []string{
		"p, alice, /a, read", "p, bob, /b, write", "p, alice, data1, write", "p, admin, /a, write", "p, admin, data2, read", "p, bob, data1, GET",
	}
	return []system{
		{"acl", subjectObjectAction + allowSome + "[matchers]\nm = r.sub == p.sub && r.obj == p.obj && r.act == p.act\n", plain, acl},
		{"superuser", subjectObjectAction + allowSome + "[matchers]\nm = r.sub == p.sub && r.obj == p.obj && r.act == p.act || r.sub == \"root\"\n", plain, acl},
		{"without users", "[request_definition]\nr = obj, act\n[policy_definition]\np = obj, act\n" + allowSome + "[matchers]\nm = r.obj == p.obj && r.act == p.act\n", []string{"p, /a, read", "p, /b, write", "p, data1, GET"}, acl[1:]},
		{"rbac", subjectObjectAction + "[role_definition]\ng = _, _\n" + allowSome + "[matchers]\nm = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act\n", append(plain, "g, alice, admin", "g, bob, alice", "g, root, bob", "g, nobody, nobody2"), acl},
		{"resource roles", subjectObjectAction + "[role_definition]\ng = _, _\ng2 = _, _\n" + allowSome + "[matchers]\nm = g(r.sub, p.sub) && g2(r.obj, p.obj) && r.act == p.act\n", append(plain, "g, alice, admin", "p, admin, files, read", "g2, /a, files", "g2, data1, files", "g2, /b, /a"), acl},
		{"domains", "[request_definition]\nr = sub, dom, obj, act\n[policy_definition]\np = sub, dom, obj, act\n[role_definition]\ng = _, _, _\n" + allowSome + "[matchers]\nm = g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act\n", []string{
			"p, admin, d1, /a, read", "p, admin, d2, /a, write", "p, alice, d1, /b, read", "g, alice, admin, d1", "g, bob, admin, d2", "g, root, alice, d1", "g, root, bob, d2",
		}, [][]string{people, {"d1", "d2", "d3"}, {"/a", "/b"}, {"read", "write"}}},
		{"deny override", withEffect + "[policy_effect]\ne = !some(where (p.eft == deny))\n[matchers]\nm = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act\n", []string{
			"p, bob, /a, read, deny", "p, admin, /b, write, deny", "p, alice, data1, read, allow", "g, alice, admin", "g, bob, alice",
		}, acl},
		{"allow and deny", withEffect + "[policy_effect]\ne = some(where (p.eft == allow)) && !some(where (p.eft == deny))\n[matchers]\nm = g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act\n", []string{
			"p, admin, /:x, read, allow", "p, admin, /a, read, deny", "p, alice, /a/:id, read, allow", "p, bob, /a/1, read, deny", "p, bob, /:y, write, allow", "g, alice, admin", "g, bob, alice", "g, root, admin",
		}, acl},
		{"priority", withEffect + "[policy_effect]\ne = priority(p.eft) || deny\n[matchers]\nm = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act\n", []string{
			"p, alice, /a, read, allow", "p, admin, /a, read, deny", "p, admin, /b, read, allow", "p, bob, /b, read, deny", "p, bob, /a, read, allow", "g, alice, admin", "g, bob, admin",
		}, acl},
		{"explicit priority", "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = priority, sub, obj, act, eft\n[role_definition]\ng = _, _\n[policy_effect]\ne = priority(p.eft) || deny\n[matchers]\nm = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act\n", []string{
			"p, 10, admin, /a, read, deny", "p, 1, alice, /a, read, allow", "p, 5, alice, /b, read, deny", "p, 2, bob, /b, read, allow", "p, 1, bob, /a, read, deny", "g, alice, admin", "g, bob, alice",
		}, acl},
		{"restful", subjectObjectAction + allowSome + "[matchers]\nm = r.sub == p.sub && keyMatch(r.obj, p.obj) && regexMatch(r.act, p.act)\n", []string{
			"p, alice, /a/*, ^(GET|read)$", "p, bob, /*, ^write$", "p, admin, /a, ^.*$", "p, root, *, ^read$",
		}, acl},
		{"ip and glob", subjectObjectAction + allowSome + "[matchers]\nm = ipMatch(r.sub, p.sub) && globMatch(r.obj, p.obj) && r.act == p.act\n", []string{
			"p, 10.0.0.0/8, /a/*, read", "p, 192.0.2.1, /*, write", "p, 2001:db8::/32, /a, read",
		}, [][]string{{"10.1.2.3", "192.0.2.1", "2001:db8::1", "203.0.113.9"}, {"/a", "/a/1", "/b", "/a/1/x"}, {"read", "write"}}},
	}
}

// text draws a policy from the pool.
func (s *system) text(t *rapid.T) string {
	var lines []string
	for _, rule := range s.rules {
		if rapid.Bool().Draw(t, rule) {
			lines = append(lines, rule)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

func (s *system) draw(t *rapid.T) []string {
	values := make([]string, len(s.request))
	for i, pool := range s.request {
		values[i] = rapid.SampledFrom(pool).Draw(t, fmt.Sprint("field ", i))
	}
	return values
}

// names are the fields of the system's request definition.
func (s *system) names() []string {
	_, line, _ := strings.Cut(s.model, "r = ")
	line, _, _ = strings.Cut(line, "\n")
	return strings.Split(line, ", ")
}

// oracle is Casbin itself.
func oracle(t interface{ Fatal(...any) }, text, rules string) *casbin.Enforcer {
	m, err := model.NewModelFromString(text)
	if err != nil {
		t.Fatal(err)
	}
	e, err := casbin.NewEnforcer(m, stringadapter.NewAdapter(rules))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// build returns our enforcer, whose request fields are the attributes of the request by name.
func build(t interface{ Fatal(...any) }, s *system, rules string, roles enforcer.Roles) *enforcer.Enforcer {
	cfg := enforcer.Config{
		Name: s.name, Roles: roles, AllowIfEmpty: true, Fields: map[string]enforcer.Field{},
		Model: enforcer.Text{File: "model.conf", Data: []byte(s.model)}, Policy: enforcer.Text{File: "policy.csv", Data: []byte(rules)},
	}
	for _, name := range s.names() {
		cfg.Fields[name] = func(req *policy.Request, _ *policy.Principal) (any, error) { return req.Attributes[name], nil }
	}
	e, findings := enforcer.New(cfg)
	if e == nil {
		t.Fatal(s.name, "\n", rules, "\n", findings)
	}
	return e
}

func request(s *system, values []string) *policy.Request {
	attributes := map[string]string{}
	for i, name := range s.names() {
		attributes[name] = values[i]
	}
	return &policy.Request{Attributes: attributes}
}

func asAny(values []string) []any {
	all := make([]any, len(values))
	for i, v := range values {
		all[i] = v
	}
	return all
}

// compare holds one verdict against Casbin's.
func compare(t *rapid.T, e *enforcer.Enforcer, truth *casbin.Enforcer, s *system, values []string) {
	want, err := truth.Enforce(asAny(values)...)
	got, gotErr := e.Evaluate(t.Context(), request(s, values), &policy.Principal{})
	if (err == nil) != (gotErr == nil) {
		t.Fatalf("%s %v: error %v, Casbin's %v", s.name, values, gotErr, err)
	}
	if (got.Verdict == policy.Permitted) != want {
		t.Fatalf("%s %v: %+v, Casbin says %t", s.name, values, got, want)
	}
}

// TestSameVerdictsAsCasbin draws policies and requests for every kind of model.
func TestSameVerdictsAsCasbin(t *testing.T) {
	for _, s := range systems() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				rules := s.text(t)
				e, truth := build(t, &s, rules, nil), oracle(t, s.model, rules)
				for range 10 {
					compare(t, e, truth, &s, s.draw(t))
				}
			})
		})
	}
}

// TestTokenRolesAreLinks: a caller who brings roles gets the verdict that Casbin gives with those links added, and
// the next caller of that name, without them, gets Casbin's without.
func TestTokenRolesAreLinks(t *testing.T) {
	for _, s := range systems() {
		if !strings.Contains(s.model, "g = _, _") {
			continue
		}
		inDomain := strings.Contains(s.model, "g = _, _, _")
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				rules := s.text(t)
				var brought []string
				e := build(t, &s, rules, func(*policy.Request, *policy.Principal) ([]string, error) { return brought, nil })
				for range 6 {
					values := s.draw(t)
					brought = rapid.SliceOfDistinct(rapid.SampledFrom(people), rapid.ID).Draw(t, "roles")
					truth := oracle(t, s.model, rules)
					for _, role := range brought {
						link := []any{values[0], role}
						if inDomain {
							link = append(link, values[1])
						}
						if _, err := truth.AddGroupingPolicy(link...); err != nil {
							t.Fatal(err)
						}
					}
					compare(t, e, truth, &s, values)
					brought = nil
					compare(t, e, oracle(t, s.model, rules), &s, values)
				}
			})
		})
	}
}
