package demo_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
)

const internalTokenConfig = `server: {drain: 0s, public: "127.0.0.1:0", log: {decisions: none}}
internal_token:
  issuer: https://kasbah.internal
  audiences: [orders]
  keys: {file: signing-keys.json}
  claims: {mail: principal.claims.email}
providers:
- name: corp
  jwt: {issuer: http://issuer:9193, audiences: [api], algorithms: [RS256], jwks: {file: jwks.json}}
routes:
- name: orders
  match: [{path: /orders/}]
  authenticate: [corp]
  any_principal: true
  internal_token: true
- name: billing
  match: [{path: /billing/}]
  authenticate: [corp]
  any_principal: true
  internal_token: true
  internal_token_audiences: [billing]
- name: open
  match: [{path: /open/}]
  public: true
`

const innerConfig = `server: {drain: 0s, log: {decisions: none}}
providers:
- name: kasbah
  jwt:
    issuer: https://kasbah.internal
    audiences: [orders]
    algorithms: [ES256, EdDSA]
    jwks: {url: "http://PUBLIC/.well-known/jwks.json"}
    principal: {tenant: tenant}
  from: [{header: x-internal-token}]
  client: {private_addresses: true}
routes:
- name: orders
  match: [{path: /orders/}]
  authenticate: [kasbah]
  any_principal: true
  headers: {x-user: principal.id, x-roles: principal.roles, x-mail: principal.claims.mail}
`

// verifier is a service that knows one issuer and keeps the key set that it has once fetched.
type verifier struct {
	mu     sync.Mutex
	keys   map[string]any
	raw    []byte
	last   string // token
	signed map[string]int
}

func (v *verifier) fetch(t *testing.T, address string) int {
	t.Helper()
	response, err := http.Get("http://" + address + "/.well-known/jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	var set struct{ Keys []json.RawMessage }
	if err := errors.Join(err, json.Unmarshal(raw, &set)); err != nil {
		t.Fatal(err)
	}
	if got := response.Header.Get("Cache-Control"); got != "public, max-age=300" {
		t.Errorf("Cache-Control: %s", got)
	}
	all := map[string]any{}
	for _, text := range set.Keys {
		key, err := jwkset.NewJWKFromRawJSON(text, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		all[key.Marshal().KID] = key.Key()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys, v.raw = all, raw
	return len(all)
}

// verify is what a service does, with golang-jwt alone and without any leeway.
func (v *verifier) verify(token, audience string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	parsed, err := jwt.Parse(token, func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		if key := v.keys[id]; key != nil {
			return key, nil
		}
		return nil, errors.New("an unknown key")
	}, jwt.WithIssuer("https://kasbah.internal"), jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithValidMethods([]string{"ES256", "EdDSA"}))
	if err != nil {
		return err
	}
	if subject, _ := parsed.Claims.GetSubject(); subject != "alice" {
		return errors.New("another subject: " + subject)
	}
	id, _ := parsed.Header["kid"].(string)
	v.signed[id]++
	v.last = token
	return nil
}

func (v *verifier) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tokens := r.Header.Values("x-internal-token")
	audience := strings.Split(r.URL.Path, "/")[1]
	if audience == "open" {
		if len(tokens) != 0 {
			w.WriteHeader(http.StatusTeapot)
		}
		return
	}
	if len(tokens) != 1 || v.verify(tokens[0], audience) != nil {
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func (v *verifier) signedBy(id string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.signed[id]
}

// writeKeys replaces the file of keys, in which the last key may have got another time.
func writeKeys(t *testing.T, folder string, all *keys.SigningKeys, last time.Time) {
	t.Helper()
	text, err := all.Format()
	if err != nil {
		t.Fatal(err)
	}
	var file map[string][]map[string]any
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	file["keys"][len(file["keys"])-1]["nbf"] = last.Unix()
	if text, err = json.Marshal(file); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "signing-keys.json")
	if err := errors.Join(os.WriteFile(path+".next", text, 0o600), os.Rename(path+".next", path)); err != nil {
		t.Fatal(err)
	}
}

// A service behind Envoy knows Kasbah's keys and no other, and no request of it fails over a rotation, although it never fetches
// keys that it has not been told of.
func TestInternalToken(t *testing.T) {
	begun := time.Now().Add(-time.Minute)
	first, err := (&keys.SigningKeys{}).Rotate("ES256", begun, begun, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	text, err := first.Format()
	if err != nil {
		t.Fatal(err)
	}
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": internalTokenConfig, "signing-keys.json": string(text)})
	v := &verifier{signed: map[string]int{}}
	upstream := httptest.NewServer(v)
	defer upstream.Close()
	e := g.edge(t, "hardened", upstream.Listener.Addr().String())
	if got := v.fetch(t, g.public); got != 1 {
		t.Fatalf("%d keys are published", got)
	}
	alice := g.issuer.Token(keystest.Claims{Roles: []string{"reader"}, Extra: map[string]any{"email": "alice@example.com"}})
	status := func(target string, lines ...string) int {
		return e.try(t, attack{target: target}.with(append(lines, bearer(alice))...)).status
	}
	if got := [...]int{status("/orders/7"), status("/billing/7"), status("/orders/7", "x-internal-token: eyJ.forged.x"), status("/orders/7", "X.Internal.Token: forged")}; got != [...]int{200, 200, 200, 200} {
		t.Fatalf("before the rotation: %v", got)
	}
	if got := e.try(t, attack{target: "/open/x"}.with("x-internal-token: forged")).status; got != 200 {
		t.Errorf("a forged token on a route without one: %d", got)
	}

	var failed, served atomic.Int64
	stop, traffic := make(chan struct{}), sync.WaitGroup{}
	traffic.Go(func() {
		client := &http.Client{}
		defer client.CloseIdleConnections()
		for {
			select {
			case <-stop:
				return
			default:
			}
			request, _ := http.NewRequest(http.MethodGet, "http://"+e.address+"/orders/7", http.NoBody)
			request.Header.Set("Authorization", "Bearer "+alice)
			response, err := client.Do(request)
			if err != nil || response.StatusCode != http.StatusOK {
				failed.Add(1)
			}
			if err == nil {
				_ = response.Body.Close()
			}
			served.Add(1)
		}
	})
	end := sync.OnceFunc(func() { close(stop); traffic.Wait() })
	defer end()
	both, err := first.Rotate("EdDSA", time.Now(), time.Now().Add(time.Hour), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	old, next := both.All()[0].ID, both.All()[1].ID
	writeKeys(t, g.folder, both, time.Now().Add(time.Hour))
	await(t, "the next key to be published", func() bool { return v.fetch(t, g.public) == 2 })
	if got := v.signedBy(next); got != 0 {
		t.Errorf("a key that waits has signed %d tokens", got)
	}
	writeKeys(t, g.folder, both, time.Now().Add(-time.Second))
	await(t, "the next key to sign", func() bool { return v.signedBy(next) > 10 })
	before := v.signedBy(old)
	await(t, "requests with the next key", func() bool { return v.signedBy(next) > 50 })
	end()
	if v.signedBy(old) != before {
		t.Errorf("the old key went on signing")
	}
	if got := failed.Load(); got != 0 || served.Load() < 50 {
		t.Errorf("%d of %d requests failed over the rotation", got, served.Load())
	}
	if got := v.fetch(t, g.public); got != 2 {
		t.Errorf("%d keys are published right after the rotation, and tokens of both are good", got)
	}
	e.noErrors(t)
	tryInner(t, g, v.last)
}

// tryInner: Kasbah itself verifies the token like that of any issuer.
func tryInner(t *testing.T, g *gate, token string) {
	t.Helper()
	inner := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": strings.ReplaceAll(innerConfig, "PUBLIC", g.public)})
	e := inner.edge(t, "inner", rawUpstream(t))
	o := e.try(t, attack{target: "/orders/7"}.with("x-internal-token: "+token))
	mustBe(t, e, attack{target: "a token of ours"}, o, 200)
	if got := strings.Join(append(append(o.values("x-user"), o.values("x-roles")...), o.values("x-mail")...), " "); got != "alice reader alice@example.com" {
		t.Errorf("the inner upstream sees %q", got)
	}
	mustBe(t, e, attack{target: "none"}, e.try(t, attack{target: "/orders/7"}), 401)
	e.noErrors(t)
}
