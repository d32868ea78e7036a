package demo_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy/table/tabletest"
)

// revocationStoreConfig is a configuration whose revocations are there, with what happens when they are not.
func revocationStoreConfig(kind, failure string) string {
	return fmt.Sprintf(`server: {drain: 0s, public: 127.0.0.1:0, log: {decisions: none}}
revocations: {%s: {url: {file: url}}, poll: 50ms, %s}
providers:
- name: corp
  jwt: {issuer: http://issuer:9193, audiences: [api], algorithms: [RS256], jwks: {file: jwks.json}, logout: {audiences: [web]}}
routes:
- name: orders
  match: [{path: /orders/}]
  authenticate: [corp]
  any_principal: true
`, kind, failure)
}

// TestRevocationsInRedis and TestRevocationsInPostgres: what the command or the issuer withdraws, every replica refuses, its token remembered or
// not; and while the store is lost, each does what its configuration says, under traffic all the time.
func TestRevocationsInRedis(t *testing.T) {
	t.Parallel()
	testRevocationStore(t, "redis", envoytest.RunRedis(t).URL())
}

func TestRevocationsInPostgres(t *testing.T) {
	t.Parallel()
	testRevocationStore(t, "postgres", envoytest.RunPostgres(t).DSN())
}

func testRevocationStore(t *testing.T, kind, at string) {
	door := tabletest.NewGate(t, at)
	folder := t.TempDir()
	own := filepath.Join(folder, "kasbah.yaml")
	for path, text := range map[string]string{own: revocationStoreConfig(kind, "on_failure: refuse"), filepath.Join(folder, "url"): at} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	revoke := revokeCommand(t, own)
	files := map[string]string{"url": door.DSN(at)}
	// The first refuses what it cannot know, the second goes on. Both start before there is a store.
	r := newKeyStoreReplicas(t, files, revocationStoreConfig(kind, "max_age: 1s"), revocationStoreConfig(kind, "on_failure: go_on"))
	g := r.gates[0]
	if err := os.WriteFile(filepath.Join(r.gates[1].folder, "jwks.json"), g.issuer.JWKS(), 0o600); err != nil {
		t.Fatal(err)
	}
	token := func(sid string) string { return g.issuer.Token(keystest.Claims{Extra: map[string]any{"sid": sid}}) }
	one, other, late, two := token("one"), token("other"), token("late"), token("two")
	awaitStatus := func(what, token string, want ...int) {
		t.Helper()
		for i, e := range r.edges {
			if want[i] != 0 {
				await(t, fmt.Sprintf("replica %d to answer %d to %s", i, want[i], what), func() bool { return statusOf(e, token) == want[i] })
			}
		}
	}
	awaitStatus("a token, without a store", other, 503, 200)
	revoke("init")
	for name, one := range map[string]string{"one": one, "other": other, "late": late, "two": two} {
		awaitStatus(name, one, 200, 200) // and now it is remembered
	}
	revoke("--sid", "one")
	awaitStatus("the withdrawn session", one, 401, 401)
	if list := revoke("--list"); !strings.Contains(list, "one") {
		t.Errorf("the list is\n%s", list)
	}

	stop := traffic(t, r.edges, one, []int{401, 503}, []int{401})
	stopOther := traffic(t, r.edges, other, []int{200, 503}, []int{200})
	door.Shut()
	awaitStatus("a token, with the store lost", other, 503, 200)
	awaitStatus("the withdrawn session, with the store lost", one, 503, 401)
	await(t, "the second replica to notice", func() bool { return r.gates[1].logged("store of revocations cannot be read") })
	revoke("--sid", "late") // the command still reaches it
	awaitStatus("what is withdrawn meanwhile", late, 503, 200)
	door.Open(at)
	awaitStatus("what was withdrawn meanwhile", late, 401, 401)
	awaitStatus("a good token", other, 200, 200)
	awaitStatus("the withdrawn session", one, 401, 401)
	stop()
	stopOther()

	logout := func(changes map[string]any) int {
		claims := keystest.Claims{Audience: []string{"web"}, Lifetime: time.Minute, Extra: map[string]any{"sid": "two", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}}
		for name, value := range changes {
			claims.Extra[name] = value
		}
		return postLogout(t, g.public, g.issuer.TokenWithHeader(claims, map[string]any{"typ": "logout+jwt"}))
	}
	if got := logout(map[string]any{"aud": "api"}); got != http.StatusBadRequest {
		t.Errorf("a logout for somebody else: %d", got)
	}
	awaitStatus("a session that nobody ended", two, 200, 200)
	if got := logout(nil); got != http.StatusOK {
		t.Errorf("a logout: %d", got)
	}
	awaitStatus("a session that its issuer ended", two, 401, 401)
	revoke("--remove", "--sid", "one")
	awaitStatus("the session that is good again", one, 200, 200)
	awaitStatus("the session that its issuer ended", two, 401, 401)

	parsed, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := parsed.User.Password()
	for i, g := range r.gates {
		if g.logged(password) || g.logged(one) {
			t.Errorf("replica %d logs a secret", i)
		}
	}
	for _, e := range r.edges {
		e.noErrors(t)
	}
}

// revokeCommand returns what runs `kasbah revoke` with a configuration, and returns its output.
func revokeCommand(t *testing.T, config string) func(args ...string) string {
	t.Helper()
	program := buildKasbah(t)
	return func(args ...string) string {
		t.Helper()
		all := []string{"revoke"}
		if args[0] == "init" {
			all, args = append(all, "init"), args[1:]
		}
		var out, talk bytes.Buffer
		command := exec.CommandContext(context.WithoutCancel(t.Context()), program, append(append(all, "--config", config), args...)...)
		command.Stdout, command.Stderr = &out, &talk
		if err := command.Run(); err != nil {
			t.Fatalf("kasbah revoke %v: %v\n%s", args, err, &talk)
		}
		return out.String()
	}
}

// statusOf asks an Envoy with a token. 0 is no answer.
func statusOf(e *edge, token string) int {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+e.address+"/orders/7", nil)
	if err != nil {
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	answer, err := client.Do(req)
	if err != nil {
		return 0
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

// traffic asks every edge with a token until stop is called, which waits for it and fails the test if one answered with another status than
// those that it may.
func traffic(t *testing.T, edges []*edge, token string, may ...[]int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	counts := make([]map[int]int, len(edges))
	for i, e := range edges {
		counts[i] = map[int]int{}
		group.Go(func() {
			for ctx.Err() == nil {
				counts[i][statusOf(e, token)]++
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
		for i, seen := range counts {
			for status, count := range seen {
				if !slices.Contains(may[i], status) {
					t.Errorf("replica %d answered %d, %d times, and may answer %v", i, status, count, may[i])
				}
			}
			if len(seen) == 0 {
				t.Errorf("replica %d was not asked", i)
			}
		}
	})
	t.Cleanup(stop)
	return stop
}

func postLogout(t *testing.T, address, token string) int {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/backchannel-logout", strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.Header.Get("Cache-Control") != "no-store" {
		t.Error("the answer may be kept")
	}
	return answer.StatusCode
}
