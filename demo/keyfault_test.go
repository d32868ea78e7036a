package demo_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

const keyFaultConfig = `server: {drain: 0s, log: {decisions: none}}
key_sets: {folder: state, max_age: MAXAGE, min_refresh: 1s, max_refresh: 1s}
providers:
- name: corp
  jwt: {issuer: "ISSUER", audiences: [api], algorithms: [RS256]}
  client: {private_addresses: true}
routes:
- name: public
  match: [{path: /public/}]
  public: true
- name: orders
  match: [{path: /orders/}]
  authenticate: [corp]
  any_principal: true
`

// faultyIssuer is an issuer that can be taken away, and comes back at the same address.
type faultyIssuer struct {
	*keystest.Issuer
	address string
	handler atomic.Pointer[http.Handler]
	served  atomic.Int64 // requests that were answered, in whatever way
	service *http.Server
	ended   chan struct{}
}

func newFaultyIssuer(t *testing.T) *faultyIssuer {
	t.Helper()
	f := &faultyIssuer{address: freePort(t)}
	f.Issuer = newDevelopmentIssuer(t, "http://"+f.address)
	f.answer(f.Issuer)
	f.up(t)
	t.Cleanup(f.down)
	return f
}

func newDevelopmentIssuer(t *testing.T, name string) *keystest.Issuer {
	t.Helper()
	issuer, err := keystest.New(name)
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

func (f *faultyIssuer) answer(handler http.Handler) { f.handler.Store(&handler) }

// up listens, where nobody does.
func (f *faultyIssuer) up(t *testing.T) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	f.service, f.ended = &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer f.served.Add(1)
		(*f.handler.Load()).ServeHTTP(w, r)
	})}, make(chan struct{})
	go func() {
		defer close(f.ended)
		_ = f.service.Serve(listener)
	}()
}

// down ends it, so that connections are refused.
func (f *faultyIssuer) down() {
	_ = f.service.Close()
	<-f.ended
}

func answering(status int, kind, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
}

// keySetState is what /readyz says of the only key set.
type keySetState struct {
	Keys    int
	Expired bool
	Kept    bool
	Error   string
}

func (r *replica) keySet(t *testing.T) keySetState {
	t.Helper()
	var state struct {
		KeySets []keySetState `json:"key_sets"`
	}
	_, body, err := get("http://" + r.admin + "/readyz")
	if err != nil || json.Unmarshal(body, &state) != nil || len(state.KeySets) != 1 {
		t.Fatalf("/readyz says %q, %v", body, err)
	}
	return state.KeySets[0]
}

// flow sends requests whose verdicts are known until it is stopped, and counts those that are others.
type flow struct {
	sent, wrong atomic.Int64
	stop        func()
}

func startFlow(t *testing.T, e *edge, cases map[string][]int) *flow {
	t.Helper()
	f, end := &flow{}, make(chan struct{})
	var senders sync.WaitGroup
	for range 2 {
		senders.Go(func() {
			for {
				for request, want := range cases {
					select {
					case <-end:
						return
					default:
					}
					o, err := send(e.address, []byte(request))
					f.sent.Add(1)
					if err != nil || !slices.Contains(want, o.status) || o.served != (o.status == 200) {
						f.wrong.Add(1)
						t.Errorf("%.60q: %+v, %v, want one of %d", request, o, err, want)
					}
				}
			}
		})
	}
	f.stop = sync.OnceFunc(func() { close(end); senders.Wait() })
	t.Cleanup(f.stop)
	return f
}

// The issuer goes away in every way while traffic flows, and no verdict changes: its last keys serve, also after a restart, and no
// longer than max_age. A set of other keys is no outage but a rotation: the old ones end.
func TestIssuerIsTakenAway(t *testing.T) {
	t.Parallel()
	issuer, folder := newFaultyIssuer(t), t.TempDir()
	config := filepath.Join(folder, "kasbah.yaml")
	configure := func(maxAge string) {
		t.Helper()
		text := strings.NewReplacer("ISSUER", "http://"+issuer.address, "MAXAGE", maxAge).Replace(keyFaultConfig)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure("1h")
	r := newReplica(t, buildKasbah(t), config)
	e := (&gate{address: r.listen}).edge(t, "hardened", rawUpstream(t))
	orders := attack{target: "/orders/7"}
	stranger := newDevelopmentIssuer(t, "http://"+issuer.address)
	good, other := orders.with(bearer(issuer.Token(keystest.Claims{Subject: "alice"}))), orders.with(bearer(stranger.Token(keystest.Claims{})))
	try := func(a attack) int { t.Helper(); return e.try(t, a).status }
	// Of a key id that is not known nothing can be said while a fetch hangs.
	passed, denied, unsure := []int{200}, []int{401}, []int{401, 503}
	cases := map[string][]int{
		string(good.bytes()): passed,
		string(orders.with(bearer(issuer.Token(keystest.Claims{Subject: "bob", Roles: []string{"reader"}}))).bytes()): passed,
		string(attack{target: "/public/x"}.bytes()): passed,
		string(orders.bytes()):                      denied,
		string(other.bytes()):                       unsure,
		string(orders.with(bearer(issuer.Forge(keystest.UnknownKid, keystest.Claims{}))).bytes()):            unsure,
		string(orders.with(bearer(issuer.Token(keystest.Claims{Audience: []string{"other"}}))).bytes()):      denied,
		string(orders.with(bearer(issuer.Token(keystest.Claims{Lifetime: -time.Hour}))).bytes()):             denied,
		string(orders.with(bearer(strings.TrimSuffix(issuer.Token(keystest.Claims{}), "A") + "AA")).bytes()): denied,
	}

	var elsewhereAsked atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhereAsked.Add(1)
		stranger.ServeHTTP(w, r)
	}))
	defer elsewhere.Close()
	release := make(chan struct{})
	defer close(release)
	huge := strings.Repeat(" ", 100<<20)
	flowing := startFlow(t, e, cases)
	for _, fault := range []struct {
		name    string
		handler http.Handler // nil: the connection is refused
	}{
		{"refused", nil},
		{"hanging", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-release:
			}
		})},
		{"500", answering(500, "application/json", `{"error":"server_error"}`)},
		{"HTML", answering(200, "text/html", "<!DOCTYPE html><title>We are sorry</title>")},
		{"100 MB", answering(200, "application/json", huge)},
		{"an empty object", answering(200, "application/json", "{}")},
		{"elsewhere", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusFound)
		})},
		{"no key in the set", onPath("/jwks.json", issuer, answering(200, "application/json", `{"keys":[]}`))},
	} {
		t.Run(fault.name, func(t *testing.T) {
			if fault.handler == nil {
				issuer.down()
			} else {
				issuer.answer(fault.handler)
			}
			await(t, "a fetch to fail", func() bool { return r.keySet(t).Error != "" })
			from := flowing.sent.Load()
			await(t, "some traffic", func() bool { return flowing.sent.Load() > from+20 })
			if state := r.keySet(t); state.Keys != 3 || state.Expired {
				t.Errorf("the set is %+v", state)
			}
			issuer.answer(issuer.Issuer)
			if fault.handler == nil {
				issuer.up(t)
			}
			await(t, "the issuer to be back", func() bool { return r.keySet(t).Error == "" })
		})
	}
	flowing.stop()
	t.Logf("%d requests, %d wrong verdicts", flowing.sent.Load(), flowing.wrong.Load())
	if n := elsewhereAsked.Load(); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}

	// Other keys are the issuer's word: those that it had before end, remembered or not.
	issuer.answer(onPath("/jwks.json", issuer, answering(200, "application/json", string(stranger.JWKS()))))
	await(t, "the keys before to end", func() bool { return try(good) == 401 })
	mustBe(t, e, other, e.try(t, other), 200)
	issuer.answer(issuer.Issuer)
	await(t, "the keys to be back", func() bool { return try(good) == 200 })
	if status := try(other); !slices.Contains(unsure, status) {
		t.Errorf("a token of the other keys: %d", status)
	}

	restart := func() {
		t.Helper()
		r.end(t, syscall.SIGTERM)
		r.start(t)
		e.awaitHealthy(t, 1)
	}
	await(t, "the set to be kept", func() bool { return keptKeys(t, folder) == string(issuer.JWKS()) })
	issuer.down()
	restart()
	if state := r.keySet(t); state.Keys != 3 || !state.Kept {
		t.Errorf("after a restart the set is %+v", state)
	}
	for request, want := range cases {
		o, err := send(e.address, []byte(request))
		if err != nil || !slices.Contains(want, o.status) {
			t.Errorf("after a restart, %.60q: %+v, %v, want one of %d", request, o, err, want)
		}
	}
	if age := r.metric(t, "kasbah_key_set_age_seconds"); age <= 0 {
		t.Errorf("the age is %v", age)
	}

	configure("2s")
	await(t, "what is kept to be too old", func() bool { restart(); return try(good) == 503 })
	mustBe(t, e, attack{target: "/public/x"}, e.try(t, attack{target: "/public/x"}), 200)
	issuer.up(t)
	await(t, "the issuer to be back", func() bool { return try(good) == 200 })
	issuer.down()
	await(t, "what is in memory to be too old", func() bool { return try(good) == 503 })
	if state := r.keySet(t); state.Keys != 0 || !state.Expired {
		t.Errorf("the set is %+v", state)
	}
	issuer.up(t)
	await(t, "the issuer to be back", func() bool { return try(good) == 200 })
}

// onPath answers on one path in another way.
func onPath(path string, otherwise, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == path {
			handler.ServeHTTP(w, r)
			return
		}
		otherwise.ServeHTTP(w, r)
	})
}

// keptKeys returns the key set of the only record in the folder of the state.
func keptKeys(t *testing.T, folder string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "state", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("kept are %q, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	var record struct {
		KeySet string `json:"key_set"`
	}
	if err = errors.Join(err, json.Unmarshal(text, &record)); err != nil {
		t.Fatal(fmt.Errorf("reading %q: %w", text, err))
	}
	return record.KeySet
}
