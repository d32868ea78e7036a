package demo_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

// namedRoutes gives Envoy overlapping routes that each say which of Kasbah's is meant, and writes the name of the one
// that Envoy chose into the access log, beside the one that Kasbah used.
func namedRoutes(b *bootstrap) {
	hosts := b.mapping(b.manager(), "route_config", "virtual_hosts", 0)
	existing := b.mapping(hosts, "routes", 0, "route")
	route := func(name string, match map[string]any) any {
		return map[string]any{
			"name": name, "match": match, "route": existing,
			"typed_per_filter_config": map[string]any{"envoy.filters.http.ext_authz": map[string]any{
				"@type":          "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
				"check_settings": map[string]any{"context_extensions": map[string]any{"kasbah.route": name}},
			}},
		}
	}
	regex := func(text string) map[string]any { return map[string]any{"safe_regex": map[string]any{"regex": text}} }
	b.replace(hosts, "routes", []any{
		route("gamma", regex(`/[^?]*admin.*`)),
		route("beta", map[string]any{"prefix": "/b/"}),
		route("beta", regex(`/a/[0-9]+/b`)),
		route("missing", map[string]any{"prefix": "/missing"}), // which Kasbah does not have
		route("alpha", map[string]any{"prefix": "/"}),
	})
	b.mapping(b.manager(), "access_log", 0, "typed_config", "log_format", "json_format")["envoy_route"] = "%ROUTE_NAME%"
}

// Pomerium CVE-2023-33189: the route that decides is the route that Envoy takes, whatever the path, because Envoy says
// which it is and nobody matches the path a second time.
func TestRouteIsEnvoys(t *testing.T) {
	g := newGate(t)
	upstream := rawUpstream(t)
	alice := g.issuer.Token(keystest.Claims{Subject: "alice"})
	pieces := []string{"/", "/a", "/b", "/b/", "admin", "/admin", "/7", "/a/7/b", "/..", "//", "%2f", "%61dmin", ";x", "x", "?", "/missing", "A", "%20", "/.", `\`}
	for name, changes := range map[string][]func(*bootstrap){"hardened": {namedRoutes}, "lax": {lax, namedRoutes}} {
		t.Run(name, func(t *testing.T) {
			e := g.edge(t, name, upstream, changes...)
			random := rand.New(rand.NewPCG(1, 2)) // the same paths in every run
			var attacks []attack
			for range 1000 {
				target := ""
				for range 1 + random.IntN(5) {
					target += pieces[random.IntN(len(pieces))]
				}
				if target[0] != '/' {
					target = "/" + target
				}
				a := attack{target: target}
				if random.IntN(2) == 0 {
					a = a.with(bearer(alice))
				}
				attacks = append(attacks, a)
			}
			statuses := map[string]int{}
			served := 0
			for _, o := range e.tryAll(t, attacks) {
				if o.served {
					served++
				}
			}
			await(t, "every request to be in the access log", func() bool { return len(e.log.all()) >= len(attacks) })
			for _, line := range e.log.all() {
				statuses[checkRoute(t, line)]++
			}
			for _, want := range []string{"alpha 200", "beta 200", "beta 401", "gamma 401", "gamma 403", "missing 403"} {
				if statuses[want] == 0 {
					t.Errorf("no request ended as %s: %v", want, statuses)
				}
			}
			if served == 0 || served != statuses["alpha 200"]+statuses["beta 200"] {
				t.Errorf("%d requests were served: %v", served, statuses)
			}
			t.Logf("%s: %v", name, statuses)
			e.noErrors(t)
		})
	}
}

// checkRoute compares the two routes of a line of the access log, and returns Envoy's with the status.
func checkRoute(t *testing.T, line string) string {
	t.Helper()
	var entry struct {
		Status     int
		Route      *string // Kasbah's
		EnvoyRoute *string `json:"envoy_route"`
		Reason     *string
		Path       *string
		Details    string
	}
	if err := json.Unmarshal([]byte(line), &entry); err != nil {
		t.Fatalf("the access log has %q: %v", line, err)
	}
	if entry.Reason == nil { // Envoy refused it by itself
		if entry.Status != 400 {
			t.Errorf("Kasbah was not asked, and the status is %d: %s", entry.Status, line)
		}
		return "not asked"
	}
	if entry.EnvoyRoute == nil || entry.Route == nil {
		t.Errorf("no route: %s", line)
		return "none"
	}
	used := *entry.Route
	if (*entry.Reason == "invalid_request" || *entry.EnvoyRoute == "missing") && used == "" {
		used = *entry.EnvoyRoute // refused before there was a route
		if entry.Status != 400 && entry.Status != 403 {
			t.Errorf("without a route the status is %d: %s", entry.Status, line)
		}
	}
	if used != *entry.EnvoyRoute {
		t.Errorf("Envoy took the route %s, Kasbah %s: %s", *entry.EnvoyRoute, used, line)
	}
	return fmt.Sprintf("%s %d", *entry.EnvoyRoute, entry.Status)
}
