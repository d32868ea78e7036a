package enforcer_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

func principalRoles(_ *policy.Request, principal *policy.Principal) ([]string, error) {
	return principal.Roles, nil
}

// TestChainsEndWhereCasbinsDo, with and without a role that the caller brings: it is a link like any other, so a
// chain from it may be one link shorter.
func TestChainsEndWhereCasbinsDo(t *testing.T) {
	s := systems()[3] // rbac
	if s.name != "rbac" {
		t.Fatal(s.name)
	}
	var rules strings.Builder
	for i := range 14 {
		fmt.Fprintf(&rules, "g, r%d, r%d\np, r%d, o%d, read\n", i, i+1, i, i)
	}
	e := build(t, &s, rules.String(), principalRoles)
	reached := 0
	for i := range 14 {
		for _, caller := range []policy.Principal{{ID: "r0"}, {ID: "alice", Roles: []string{"r0"}}, {ID: "alice", Roles: []string{"r3"}}} {
			truth := oracle(t, s.model, rules.String())
			if len(caller.Roles) > 0 {
				if _, err := truth.AddGroupingPolicy(caller.ID, caller.Roles[0]); err != nil {
					t.Fatal(err)
				}
			}
			values := []string{caller.ID, fmt.Sprint("o", i), "read"}
			want, err := truth.Enforce(asAny(values)...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := e.Evaluate(t.Context(), request(&s, values), &caller)
			if err != nil || (got.Verdict == policy.Permitted) != want {
				t.Errorf("%+v %v: %+v, %v; Casbin says %t", caller, values, got, err, want)
			}
			if want {
				reached++
			}
		}
	}
	if reached != 11+10+10 {
		t.Errorf("Casbin reached %d", reached)
	}
}

// graphs are models whose role links are drawn freely, circles among them.
var graphs = []system{
	{name: "roles", model: systems()[3].model, request: [][]string{{"a", "b", "c", "d", "e"}, {"o"}, {"read"}}},
	{name: "domains", model: systems()[5].model, request: [][]string{{"a", "b", "c", "d", "e"}, {"d/1", "d/2", "x"}, {"o"}, {"read"}}},
	{name: "domain patterns", model: strings.Replace(systems()[5].model, "r.dom == p.dom", "keyMatch(r.dom, p.dom)", 1), request: [][]string{{"a", "b", "c", "d", "e"}, {"d/1", "d/2", "x"}, {"o"}, {"read"}}},
	{name: "conditional", model: strings.Replace(systems()[3].model, "g = _, _", "g = _, _, (_, _)", 1), request: [][]string{{"a", "b", "c", "d", "e"}, {"o"}, {"read"}}},
	{name: "conditional domains", model: strings.Replace(systems()[5].model, "g = _, _, _", "g = _, _, _, (_, _)", 1), request: [][]string{{"a", "b", "c", "d", "e"}, {"d/1", "d/2", "x"}, {"o"}, {"read"}}},
}

func drawGraph(t *rapid.T, s *system) string {
	names, domains := s.request[0], []string{"d/1", "d/2", "d/*", "x"}
	inDomain := len(s.request) == 4
	name, domain := rapid.SampledFrom(names), rapid.SampledFrom(domains)
	var rules strings.Builder
	rules.WriteString("# drawn\n") // the oracle's adapter takes no empty text
	for range rapid.IntRange(0, 3).Draw(t, "rules") {
		rules.WriteString("p, " + name.Draw(t, "subject"))
		if inDomain {
			rules.WriteString(", " + domain.Draw(t, "domain"))
		}
		rules.WriteString(", o, read\n")
	}
	for range rapid.IntRange(0, 7).Draw(t, "links") {
		rules.WriteString("g, " + name.Draw(t, "user") + ", " + name.Draw(t, "role"))
		if inDomain {
			rules.WriteString(", " + domain.Draw(t, "domain"))
		}
		if strings.Contains(s.model, "(_, _)") {
			rules.WriteString(", _, _")
		}
		rules.WriteString("\n")
	}
	return rules.String()
}

// TestRolesInAnyGraph: the verdict is that of a fresh Casbin enforcer into which the caller's roles were really added as links.
func TestRolesInAnyGraph(t *testing.T) {
	for _, s := range graphs {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				rules := drawGraph(t, &s)
				e := build(t, &s, rules, principalRoles)
				for range 5 {
					values := s.draw(t)
					brought := rapid.SliceOfNDistinct(rapid.SampledFrom(s.request[0]), 0, 3, rapid.ID).Draw(t, "roles")
					truth := oracle(t, s.model, rules)
					for _, role := range brought {
						link := []string{values[0], role}
						if len(values) == 4 {
							link = append(link, values[1])
						}
						if err := truth.GetNamedRoleManager("g").AddLink(link[0], link[1], link[2:]...); err != nil {
							t.Fatal(err)
						}
					}
					want, err := truth.Enforce(asAny(values)...)
					if err != nil {
						t.Fatal(err)
					}
					got, err := e.Evaluate(t.Context(), request(&s, values), &policy.Principal{Roles: brought})
					if err != nil || (got.Verdict == policy.Permitted) != want {
						t.Fatalf("%v with %v under\n%s: %+v, %v; Casbin says %t", values, brought, rules, got, err, want)
					}
				}
			})
		})
	}
}

// TestRolesUnderDomainPatterns: a role that the caller brings leads on by links in domains that are patterns.
func TestRolesUnderDomainPatterns(t *testing.T) {
	s, _ := ordinarySystem(t, "domain_patterns")
	e := build(t, s, "p, captain, fleet/*, ship, sail\ng, mate, captain, fleet/*\ng, cook, captain, fleet/one\n", principalRoles)
	for _, c := range []struct {
		role, domain string
		want         policy.Verdict
	}{
		{"captain", "fleet/one", policy.Permitted},
		{"mate", "fleet/one", policy.Permitted},
		{"mate", "fleet/two", policy.Permitted},
		{"cook", "fleet/one", policy.Permitted},
		{"cook", "fleet/two", policy.Denied},
		{"mate", "harbour", policy.Denied},
		{"", "fleet/one", policy.Denied},
	} {
		got, err := e.Evaluate(t.Context(), request(s, []string{"hanna", c.domain, "ship", "sail"}), &policy.Principal{Roles: []string{c.role}})
		if err != nil || got.Verdict != c.want {
			t.Errorf("%s in %s: %+v, %v", c.role, c.domain, got, err)
		}
	}
}

// TestFloodOfOneName: many callers of the same two names, in two domains, each with roles of their own, all at
// once; every verdict is the one that a fresh Casbin enforcer with just those links gives.
func TestFloodOfOneName(t *testing.T) {
	s := graphs[1]
	rules := "p, c, d/1, o, read\np, d, d/2, o, read\ng, b, c, d/1\ng, b, d, d/2\ng, e, b, d/1\n"
	e := build(t, &s, rules, principalRoles)
	type asked struct {
		values []string
		caller policy.Principal
		want   bool
	}
	var all []asked
	allowed := 0
	for _, subject := range []string{"a", "b"} {
		for _, domain := range s.request[1] {
			for _, roles := range [][]string{nil, {"b"}, {"c"}, {"d"}, {"e"}, {"b", "d"}, {""}, {"a"}} {
				q := asked{[]string{subject, domain, "o", "read"}, policy.Principal{Roles: roles}, false}
				truth := oracle(t, s.model, rules)
				for _, role := range roles {
					if err := truth.GetRoleManager().AddLink(subject, role, domain); err != nil {
						t.Fatal(err)
					}
				}
				var err error
				if q.want, err = truth.Enforce(asAny(q.values)...); err != nil {
					t.Fatal(err)
				}
				if q.want {
					allowed++
				}
				all = append(all, q)
			}
		}
	}
	if allowed < 5 || allowed > len(all)-5 {
		t.Fatalf("%d of %d are allowed, which shows little", allowed, len(all))
	}
	var wrong, done atomic.Int64
	var callers sync.WaitGroup
	for i := range 16 {
		callers.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for range 1500 {
				q := &all[random.IntN(len(all))]
				got, err := e.Evaluate(t.Context(), request(&s, q.values), &q.caller)
				if err != nil || (got.Verdict == policy.Permitted) != q.want {
					wrong.Add(1)
				}
				done.Add(1)
			}
		})
	}
	callers.Wait()
	if wrong.Load() != 0 || done.Load() != 16*1500 {
		t.Errorf("%d wrong verdicts of %d", wrong.Load(), done.Load())
	}
}

// TestRolesAreOfTheSubjectOnly: they are lent neither to another name that the matcher asks about, nor to a
// second role definition, nor to a subject that is no name.
func TestRolesAreOfTheSubjectOnly(t *testing.T) {
	text := "[request_definition]\nr = other, sub\n[policy_definition]\np = role, kind\n[role_definition]\ng = _, _\ng2 = _, _\n" + allowSome + "[matchers]\nm = "
	for _, c := range []struct {
		matcher, other, sub string
		want                policy.Verdict
	}{
		{"g(r.sub, p.role)", "bob", "alice", policy.Permitted},
		{"g(r.other, p.role)", "bob", "alice", policy.Denied},
		{"g(r.other, p.role)", "alice", "alice", policy.Permitted}, // the same name is the same caller
		{"g2(r.sub, p.role)", "bob", "alice", policy.Denied},
		{"g(p.role, r.sub)", "bob", "alice", policy.Denied},
	} {
		s := &system{name: c.matcher, model: text + c.matcher + "\n"}
		e := build(t, s, "p, admin, k\n", principalRoles)
		got, err := e.Evaluate(t.Context(), request(s, []string{c.other, c.sub}), &policy.Principal{Roles: []string{"admin"}})
		if err != nil || got.Verdict != c.want {
			t.Errorf("%s of %s and %s: %+v, %v", c.matcher, c.other, c.sub, got, err)
		}
	}
}

// TestTooManyRoles: what a token may bring is bounded.
func TestTooManyRoles(t *testing.T) {
	e := ordinary(t, func(cfg *enforcer.Config) { cfg.Roles = principalRoles })
	req := &policy.Request{Path: "/orders/7", Method: "GET"}
	caller := &policy.Principal{ID: "bob", Roles: make([]string, 1000)}
	caller.Roles[999] = "reader"
	if got, err := e.Evaluate(t.Context(), req, caller); err != nil || got.Verdict != policy.Permitted {
		t.Errorf("1000 roles: %+v, %v", got, err)
	}
	caller.Roles = append(caller.Roles, "one more")
	if got, err := e.Evaluate(t.Context(), req, caller); err == nil || got.Verdict != policy.Denied {
		t.Errorf("1001 roles: %+v, %v", got, err)
	}
}
