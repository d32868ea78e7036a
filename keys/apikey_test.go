package keys_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

func newAPIKey(t testing.TB) (key, id string) {
	t.Helper()
	key, id, err := keys.NewAPIKey("live", "")
	if err != nil {
		t.Fatal(err)
	}
	return key, id
}

// apiKeyProvider compiles a provider of those keys. Its error is that of a fault in the file, if there is one.
func apiKeyProvider(store *keys.Store, header string, entries ...*configv1.ApiKeyEntry) (*keys.Provider, error) {
	cfg := &configv1.Provider{Name: "partners", Kind: &configv1.Provider_ApiKey{ApiKey: &configv1.ApiKey{
		Header: header, Store: &configv1.ApiKeyStore{Source: &configv1.ApiKeyStore_File{File: "api-keys.yaml"}},
	}}}
	return store.Provider(cfg, keys.Files{APIKeys: func(path string) (*configv1.ApiKeyFile, func(error) error, error) {
		if path != "api-keys.yaml" {
			return nil, nil, fmt.Errorf("no file %s", path)
		}
		return &configv1.ApiKeyFile{Keys: entries}, func(err error) error { return err }, nil
	}})
}

func secretOf(key string) *configv1.ApiKeySecret {
	return &configv1.ApiKeySecret{Sha256: keys.HashAPIKey(key)}
}

func withHeader(name string, values ...string) *policy.Request {
	req := &policy.Request{Source: policy.Peer{Address: "10.1.2.3"}}
	for _, value := range values {
		req.Headers = append(req.Headers, policy.Header{Name: name, Value: value})
	}
	return req
}

// TestAPIKeys: each key as its entry says, and none other.
func TestAPIKeys(t *testing.T) {
	f := newFixture(t)
	key, id := newAPIKey(t)
	second, _, err := keys.NewAPIKey("live", id)
	if err != nil {
		t.Fatal(err)
	}
	foreign, stranger := "sk-from-another-service-0123456789", func() string { key, _ := newAPIKey(t); return key }()
	entry := func(change func(*configv1.ApiKeyEntry)) []*configv1.ApiKeyEntry {
		e := &configv1.ApiKeyEntry{Id: id, Owner: "acme", Roles: []string{"reader"}, Scopes: []string{"orders:read"}, Secrets: []*configv1.ApiKeySecret{secretOf(key)}}
		if change != nil {
			change(e)
		}
		return []*configv1.ApiKeyEntry{e}
	}
	past, future := instant.Add(-time.Second).Format(time.RFC3339), instant.Add(time.Hour).Format(time.RFC3339)
	for name, c := range map[string]struct {
		change func(*configv1.ApiKeyEntry)
		send   []string
		reason policy.Reason // NoReason: accepted
	}{
		"good":                         {nil, []string{key}, policy.NoReason},
		"none":                         {nil, nil, policy.MissingCredential},
		"empty":                        {nil, []string{""}, policy.MalformedCredential},
		"twice":                        {nil, []string{key, key}, policy.MalformedCredential},
		"two in a line":                {nil, []string{key + ", " + key}, policy.MalformedCredential},
		"another key":                  {nil, []string{stranger}, policy.UnknownKey},
		"the id with another secret":   {nil, []string{second}, policy.UnknownKey},
		"a character wrong":            {nil, []string{key[:30] + "!" + key[31:]}, policy.MalformedCredential},
		"cut off":                      {nil, []string{key[:len(key)-1]}, policy.MalformedCredential},
		"the id alone":                 {nil, []string{id}, policy.MalformedCredential},
		"the hash":                     {nil, []string{keys.HashAPIKey(key)}, policy.MalformedCredential},
		"in upper case":                {nil, []string{strings.ToUpper(key)}, policy.MalformedCredential},
		"a space before it":            {nil, []string{" " + key}, policy.MalformedCredential},
		"much too long":                {nil, []string{key + strings.Repeat("x", 1<<20)}, policy.MalformedCredential},
		"another form":                 {nil, []string{foreign}, policy.MalformedCredential},
		"not expired":                  {func(e *configv1.ApiKeyEntry) { e.Expires = future }, []string{key}, policy.NoReason},
		"expired":                      {func(e *configv1.ApiKeyEntry) { e.Expires = past }, []string{key}, policy.Expired},
		"expires now":                  {func(e *configv1.ApiKeyEntry) { e.Expires = instant.Format(time.RFC3339) }, []string{key}, policy.Expired},
		"revoked":                      {func(e *configv1.ApiKeyEntry) { e.Revoked = past }, []string{key}, policy.Revoked},
		"revoked, says a time to come": {func(e *configv1.ApiKeyEntry) { e.Revoked = future }, []string{key}, policy.Revoked},
		"revoked, and another secret":  {func(e *configv1.ApiKeyEntry) { e.Revoked = past }, []string{second}, policy.UnknownKey},
		"from its address":             {func(e *configv1.ApiKeyEntry) { e.Addresses = []string{"192.0.2.1", "10.0.0.0/8"} }, []string{key}, policy.NoReason},
		"from elsewhere":               {func(e *configv1.ApiKeyEntry) { e.Addresses = []string{"192.0.2.0/24", "2001:db8::/32"} }, []string{key}, policy.SourceBlocked},
		"the second of two":            {func(e *configv1.ApiKeyEntry) { e.Secrets = append(e.Secrets, secretOf(second)) }, []string{second}, policy.NoReason},
		"the first of two":             {func(e *configv1.ApiKeyEntry) { e.Secrets = append(e.Secrets, secretOf(second)) }, []string{key}, policy.NoReason},
		"the first of two, run out": {func(e *configv1.ApiKeyEntry) {
			e.Secrets = append(e.Secrets, secretOf(second))
			e.Secrets[0].Expires = past
		}, []string{key}, policy.Expired},
		"the second when one has ended": {func(e *configv1.ApiKeyEntry) {
			e.Secrets = append(e.Secrets, secretOf(second))
			e.Secrets[0].Expires = past
		}, []string{second}, policy.NoReason},
		"a secret longer than its key": {func(e *configv1.ApiKeyEntry) { e.Expires, e.Secrets[0].Expires = past, future }, []string{key}, policy.Expired},
		"imported": {func(e *configv1.ApiKeyEntry) {
			e.Imported, e.Secrets = true, []*configv1.ApiKeySecret{secretOf(foreign)}
		}, []string{foreign}, policy.NoReason},
		"another than the imported one": {func(e *configv1.ApiKeyEntry) {
			e.Imported, e.Secrets = true, []*configv1.ApiKeySecret{secretOf(foreign)}
		}, []string{foreign + "x"}, policy.UnknownKey},
		"imported, and looked up by id": {func(e *configv1.ApiKeyEntry) { e.Imported = true }, []string{second}, policy.UnknownKey},
	} {
		t.Run(name, func(t *testing.T) {
			provider, err := apiKeyProvider(f.store, "x-api-key", entry(c.change)...)
			if err != nil {
				t.Fatal(err)
			}
			outcome, err := keys.NewAuthenticator([]*keys.Provider{provider}).Evaluate(t.Context(), withHeader("x-api-key", c.send...), &policy.Principal{})
			if err != nil {
				t.Fatal(err)
			}
			if c.reason != policy.NoReason {
				if outcome.Verdict != policy.Denied || outcome.Reason != c.reason || !cmp.Equal(outcome.Challenges, []string{`ApiKey realm="kasbah"`}) || outcome.Principal != nil {
					t.Errorf("%+v, want %v", outcome, c.reason)
				}
				for _, sent := range c.send {
					if len(sent) > 20 && strings.Contains(outcome.Detail, sent[:20]) {
						t.Error("the key is in the detail")
					}
				}
				return
			}
			want := &policy.Principal{ID: "acme", Provider: "partners", Subject: "acme", Roles: []string{"reader"}, Scopes: []string{"orders:read"}, Claims: map[string]any{"key_id": id}}
			if p := outcome.Principal; p != nil {
				want.Expires = p.Expires
			}
			if diff := cmp.Diff(want, outcome.Principal); outcome.Verdict != policy.Passed || diff != "" || !cmp.Equal(outcome.Remove, []string{"x-api-key"}) {
				t.Errorf("%+v\n%s", outcome, diff)
			}
		})
	}
}

// TestAPIKeyFiles: what is wrong in a file of keys is refused, by its field.
func TestAPIKeyFiles(t *testing.T) {
	f := newFixture(t)
	key, id := newAPIKey(t)
	for field, change := range map[string]func(*configv1.ApiKeyEntry){
		"keys[1].id":                 func(e *configv1.ApiKeyEntry) { e.Id = "first" },
		"keys[1].expires":            func(e *configv1.ApiKeyEntry) { e.Expires = "2027-01-01" },
		"keys[1].revoked":            func(e *configv1.ApiKeyEntry) { e.Revoked = "yes" },
		"keys[1].addresses[0]":       func(e *configv1.ApiKeyEntry) { e.Addresses = []string{"10.0.0.1/8"} },
		"keys[1].addresses[1]":       func(e *configv1.ApiKeyEntry) { e.Addresses = []string{"::1", "localhost"} },
		"keys[1].secrets[0].expires": func(e *configv1.ApiKeyEntry) { e.Secrets[0].Expires = "0001-01-01T00:00:00Z" },
		"keys[1].secrets[0].sha256":  func(e *configv1.ApiKeyEntry) { e.Secrets[0].Sha256 = "abcd" },
	} {
		e := &configv1.ApiKeyEntry{Id: id, Owner: "acme", Secrets: []*configv1.ApiKeySecret{secretOf(key)}}
		change(e)
		_, err := apiKeyProvider(f.store, "x-api-key", &configv1.ApiKeyEntry{Id: "first", Owner: "x", Secrets: []*configv1.ApiKeySecret{secretOf("y")}}, e)
		var path []string
		for fault := (*policy.FieldError)(nil); errors.As(err, &fault); err = fault.Err {
			path = append(path, fault.Field)
		}
		if got := strings.Join(path, "."); got != field {
			t.Errorf("%s: found in %q: %v", field, got, err)
		}
	}
	if _, err := f.store.Provider(&configv1.Provider{Kind: &configv1.Provider_ApiKey{ApiKey: &configv1.ApiKey{}}}, keys.Files{}); err == nil {
		t.Error("a provider without a store")
	}
}

// TestTokensAndAPIKeys: of several credentials the first provider's counts; what is no good is not carried on.
func TestTokensAndAPIKeys(t *testing.T) {
	f := newFixture(t)
	key, id := newAPIKey(t)
	partners, err := apiKeyProvider(f.store, "x-api-key", &configv1.ApiKeyEntry{Id: id, Owner: "acme", Secrets: []*configv1.ApiKeySecret{secretOf(key)}})
	if err != nil {
		t.Fatal(err)
	}
	corp := compile(t, f.store, config("corp", f.issuer.JWKS()))
	token, bad := "Bearer "+f.issuer.Token(keystest.Claims{Subject: "alice"}), "Bearer "+f.issuer.Token(keystest.Claims{Subject: "alice"})+"x"
	both := []string{"Bearer realm=\"kasbah\"", "ApiKey realm=\"kasbah\""}
	for name, c := range map[string]struct {
		order      []*keys.Provider
		token, key string
		want       string // the principal, or the reason
		challenges []string
	}{
		"a token":                {[]*keys.Provider{corp, partners}, token, "", "alice", nil},
		"a key":                  {[]*keys.Provider{corp, partners}, "", key, "acme", nil},
		"both":                   {[]*keys.Provider{corp, partners}, token, key, "alice", nil},
		"both, keys first":       {[]*keys.Provider{partners, corp}, token, key, "acme", nil},
		"a bad token, a key":     {[]*keys.Provider{corp, partners}, bad, key, "acme", nil},
		"a token, a bad key":     {[]*keys.Provider{partners, corp}, token, key + "x", "alice", nil},
		"neither":                {[]*keys.Provider{corp, partners}, "", "", "missing_credential", both},
		"a bad token":            {[]*keys.Provider{corp, partners}, bad, "", "malformed_credential", []string{`Bearer realm="kasbah", error="invalid_token"`}},
		"a bad key":              {[]*keys.Provider{corp, partners}, "", key + "x", "malformed_credential", both[1:]},
		"a bad token, a bad key": {[]*keys.Provider{corp, partners}, bad, key + "x", "malformed_credential", []string{`Bearer realm="kasbah", error="invalid_token"`}},
		"a key for a token":      {[]*keys.Provider{corp}, "Bearer " + key, "", "malformed_credential", []string{`Bearer realm="kasbah", error="invalid_token"`}},
	} {
		for range 2 { // verified, and from the cache
			req := &policy.Request{}
			for header, value := range map[string]string{"authorization": c.token, "x-api-key": c.key} {
				if value != "" {
					req.Headers = append(req.Headers, policy.Header{Name: header, Value: value})
				}
			}
			outcome, err := keys.NewAuthenticator(c.order).Evaluate(t.Context(), req, &policy.Principal{})
			if err != nil {
				t.Fatal(err)
			}
			got := outcome.Reason.String()
			if outcome.Verdict == policy.Passed {
				got = outcome.Principal.ID
				if len(outcome.Remove) != 2 {
					t.Errorf("%s: removes %q", name, outcome.Remove)
				}
			}
			if got != c.want || outcome.Verdict == policy.Denied && !cmp.Equal(outcome.Challenges, c.challenges) {
				t.Errorf("%s: %s %q, want %s %q", name, got, outcome.Challenges, c.want, c.challenges)
			}
		}
	}
}

// TestForwardedCredentials: the upstream sees what the provider that accepted the caller forwards, and nothing else.
func TestForwardedCredentials(t *testing.T) {
	f := newFixture(t)
	key, id := newAPIKey(t)
	cfg := config("corp", f.issuer.JWKS())
	cfg.Forward = true
	corp := compile(t, f.store, cfg)
	partners, err := apiKeyProvider(f.store, "x-api-key", &configv1.ApiKeyEntry{Id: id, Owner: "acme", Secrets: []*configv1.ApiKeySecret{secretOf(key)}})
	if err != nil {
		t.Fatal(err)
	}
	auth := keys.NewAuthenticator([]*keys.Provider{corp, partners})
	for want, req := range map[string]*policy.Request{
		"x-api-key":               withToken(f.issuer.Token(keystest.Claims{})),
		"authorization,x-api-key": withHeader("x-api-key", key),
	} {
		outcome, err := auth.Evaluate(t.Context(), req, &policy.Principal{})
		if err != nil || strings.Join(outcome.Remove, ",") != want {
			t.Errorf("removes %q, %v, want %s", outcome.Remove, err, want)
		}
	}
}

// TestBearerAPIKeys: a key may come as a bearer token, beside tokens.
func TestBearerAPIKeys(t *testing.T) {
	f := newFixture(t)
	key, id := newAPIKey(t)
	partners, err := apiKeyProvider(f.store, "Authorization", &configv1.ApiKeyEntry{Id: id, Owner: "acme", Secrets: []*configv1.ApiKeySecret{secretOf(key)}})
	if err != nil {
		t.Fatal(err)
	}
	auth := keys.NewAuthenticator([]*keys.Provider{compile(t, f.store, config("corp", f.issuer.JWKS())), partners})
	for text, want := range map[string]string{key: "acme", f.issuer.Token(keystest.Claims{Subject: "alice"}): "alice", "nothing": ""} {
		outcome, err := auth.Evaluate(t.Context(), withToken(text), &policy.Principal{})
		if err != nil || (outcome.Verdict == policy.Passed) != (want != "") || want != "" && outcome.Principal.ID != want {
			t.Errorf("%s: %+v, %v", want, outcome, err)
		}
	}
}

func TestNewAPIKeys(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		key, id := newAPIKey(t)
		if seen[key] || seen[id] || !strings.HasPrefix(key, "kb_live_"+id+"_") || len(key) != len("kb_live_")+12+1+32+6 {
			t.Fatalf("a key of %d bytes", len(key))
		}
		seen[key], seen[id] = true, true
	}
	for _, environment := range []string{"", "Live", "a_b", "live ", strings.Repeat("x", 21)} {
		if _, _, err := keys.NewAPIKey(environment, ""); err == nil {
			t.Errorf("an environment %q", environment)
		}
	}
}

// TestMistypedAPIKeys: whatever one character of a key becomes, it is not that key, nor another one.
func TestMistypedAPIKeys(t *testing.T) {
	f := newFixture(t)
	key, id := newAPIKey(t)
	provider, err := apiKeyProvider(f.store, "x-api-key", &configv1.ApiKeyEntry{Id: id, Owner: "acme", Secrets: []*configv1.ApiKeySecret{secretOf(key)}})
	if err != nil {
		t.Fatal(err)
	}
	auth := keys.NewAuthenticator([]*keys.Provider{provider})
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.IntRange(0, len(key)-1).Draw(t, "at")
		with := rapid.SampledFrom(strings.Split("0 A z _ - é \x00", " ")).Draw(t, "with")
		wrong := key[:at] + with + key[at+1:]
		outcome, err := auth.Evaluate(context.Background(), withHeader("x-api-key", wrong), &policy.Principal{})
		if err != nil || (outcome.Verdict == policy.Passed) != (wrong == key) {
			t.Fatalf("%v, %v", outcome.Verdict, err)
		}
		if wrong != key && outcome.Reason != policy.MalformedCredential {
			t.Fatalf("a mistyped key is %v", outcome.Reason)
		}
	})
}

func FuzzAPIKey(f *testing.F) {
	fixture := newFixture(f)
	key, id := newAPIKey(f)
	provider, err := apiKeyProvider(fixture.store, "x-api-key", &configv1.ApiKeyEntry{Id: id, Owner: "acme", Secrets: []*configv1.ApiKeySecret{secretOf(key)}})
	if err != nil {
		f.Fatal(err)
	}
	auth := keys.NewAuthenticator([]*keys.Provider{provider})
	for _, seed := range []string{"kb_live_0123456789ab_", "kb____", "kb_live_", "_", "", strings.Repeat("_", 600)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		outcome, err := auth.Evaluate(t.Context(), withHeader("x-api-key", text), &policy.Principal{})
		if err != nil || outcome.Verdict != policy.Denied {
			t.Fatalf("%v, %v", outcome.Verdict, err)
		}
	})
}
