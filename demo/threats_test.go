package demo_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

// credentials are what the attacks are made with.
type credentials struct {
	alice string // may do all but what is below /admin
	carol string // is an admin
}

// TestThreats tries what services of this kind fell for, each under the number of its advisory, through four Envoys:
// one with the envoy.yaml that operators copy, one that lets everything through which Envoy itself could stop and
// opens the gate if Kasbah does not answer, and each of them with both forms of headers.
func TestThreats(t *testing.T) {
	g := newGate(t)
	upstream := rawUpstream(t)
	who := credentials{
		alice: g.issuer.Token(keystest.Claims{Subject: "alice"}),
		carol: g.issuer.Token(keystest.Claims{Subject: "carol", Roles: []string{"admin"}}),
	}
	edges := []*edge{
		g.edge(t, "hardened", upstream),
		g.edge(t, "hardened, joined headers", upstream, joinedHeaders),
		g.edge(t, "lax", upstream, lax),
		g.edge(t, "lax, joined headers", upstream, lax, joinedHeaders),
	}
	subjects := hostileSubjects(t, g.issuer)
	for _, e := range edges {
		t.Run(e.name, func(t *testing.T) {
			testControls(t, e, who)
			for _, threat := range pathThreats {
				t.Run(threat.id, func(t *testing.T) { threat.try(t, e, who) })
			}
			for _, threat := range hostThreats {
				t.Run(threat.id, func(t *testing.T) { threat.try(t, e) })
			}
			for id, try := range headerThreats {
				t.Run(id, func(t *testing.T) { try(t, e, who) })
			}
			t.Run("a subject that is more than a value", func(t *testing.T) { trySubjects(t, e, subjects) })
			t.Run("traversals", func(t *testing.T) { tryTraversals(t, e, who) })
			e.noErrors(t)
		})
	}
	t.Run("generated requests", func(t *testing.T) { tryGenerated(t, edges, who) })
	for _, e := range edges {
		e.noErrors(t)
	}
	// heimdall #3441, #3422: no verdict depends on the form of the headers.
	for _, pair := range [][2]*edge{{edges[0], edges[1]}, {edges[2], edges[3]}} {
		if diff := cmp.Diff(pair[0].verdicts, pair[1].verdicts); diff != "" {
			t.Errorf("verdicts of %s differ from those with joined headers (-raw +joined):\n%s", pair[0].name, diff)
		}
		if len(pair[0].verdicts) < 200 {
			t.Errorf("only %d verdicts were compared", len(pair[0].verdicts))
		}
	}
}

// testControls shows that the gate is no wall: what may pass does, and reaches the upstream as it was sent.
func testControls(t *testing.T, e *edge, who credentials) {
	t.Helper()
	for target, allowed := range map[string]attack{
		"/public?x=/admin": {headers: []string{bearer(who.alice)}},
		"/":                {host: "public.example.com"},
		"/a/b%20c":         {host: "public.example.com"},
		"/admin/x":         {host: "public.example.com", headers: []string{bearer(who.carol)}},
		"/administrator":   {headers: []string{bearer(who.alice)}},
		"/public/":         {host: "lists.example.com"},
		"/users/1":         {host: "users.example.com", headers: []string{bearer(who.alice)}},
		"/t":               {host: "tenants.example.com", headers: []string{bearer(who.alice), "x-tenant: good"}},
	} {
		allowed.target = target
		o := e.try(t, allowed)
		if !o.served || o.target != target {
			t.Errorf("%s of %q: status %d, the upstream got %q", target, allowed.host, o.status, o.target)
		}
	}
}

// mustDeny demands that the request was refused as one that may not be, neither served nor lost in an error.
func mustDeny(t *testing.T, e *edge, a attack, o *outcome) {
	t.Helper()
	if refused(o) {
		return
	}
	t.Errorf("%s: %s %q of host %q: status %d, served %v, the upstream got %q", e.name, a.method, a.target, a.host, o.status, o.served, o.target)
}

// refused says whether Envoy or Kasbah refused the request for what it is: 400, 401 or 403, and for what is no
// request at all, Envoy's 404, 431 and the end of the connection.
func refused(o *outcome) bool {
	switch o.status {
	case 400, 401, 403, 0, 404, 431:
		return !o.served
	}
	return false
}

// mustBe demands one status.
func mustBe(t *testing.T, e *edge, a attack, o *outcome, status int) {
	t.Helper()
	if o.status != status || o.served != (status == 200) {
		t.Errorf("%s: %s: status %d, want %d", e.name, describe(a), o.status, status)
	}
}

func describe(a attack) string {
	shown := fmt.Sprintf("%s %s %.60q", a.method, a.host, a.target)
	for _, line := range a.headers {
		shown += fmt.Sprintf(" %.60q", line)
	}
	return shown
}
