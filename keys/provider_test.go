package keys_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

func TestProviderErrorsNameTheirField(t *testing.T) {
	f := newFixture(t)
	gone := errors.New("file is gone")
	set := string(f.issuer.JWKS())
	for name, test := range map[string]struct {
		change func(*configv1.Provider)
		field  string
	}{
		"no kind":           {func(c *configv1.Provider) { c.Kind = nil }, "jwt"},
		"no issuer":         {func(c *configv1.Provider) { c.GetJwt().Issuer = "" }, "jwt.issuer"},
		"no audience":       {func(c *configv1.Provider) { c.GetJwt().Audiences = nil }, "jwt.audiences"},
		"audience and any":  {func(c *configv1.Provider) { c.GetJwt().AnyAudience = true }, "jwt.audiences"},
		"no algorithm":      {func(c *configv1.Provider) { c.GetJwt().Algorithms = nil }, "jwt.algorithms"},
		"none":              {func(c *configv1.Provider) { c.GetJwt().Algorithms = []string{"RS256", "none"} }, "jwt.algorithms[1]"},
		"HS256":             {func(c *configv1.Provider) { c.GetJwt().Algorithms = []string{"HS256"} }, "jwt.algorithms[0]"},
		"no source":         {func(c *configv1.Provider) { c.GetJwt().Jwks = &configv1.Jwks{} }, "jwt.jwks"},
		"issuer is no URL":  {func(c *configv1.Provider) { c.GetJwt().Jwks, c.GetJwt().Issuer = nil, "corp" }, "jwt.issuer"},
		"url is none":       {func(c *configv1.Provider) { c.GetJwt().Jwks = remoteConfig("", "file:///etc/keys").GetJwt().Jwks }, "jwt.jwks.url"},
		"file is gone":      {func(c *configv1.Provider) { c.GetJwt().Jwks = file("gone.json") }, "jwt.jwks.file"},
		"file is half":      {func(c *configv1.Provider) { c.GetJwt().Jwks = file("half.json") }, "jwt.jwks.file"},
		"inline is nothing": {func(c *configv1.Provider) { c.GetJwt().Jwks = config("", []byte("{}")).GetJwt().Jwks }, "jwt.jwks.inline"},
		"oct only": {func(c *configv1.Provider) {
			c.GetJwt().Jwks = config("", []byte(`{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"a"}]}`)).GetJwt().Jwks
		}, "jwt.jwks.inline"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config("corp", []byte(set))
			test.change(cfg)
			provider, err := f.store.Provider(cfg, keys.Files{Read: func(path string) ([]byte, error) {
				if path == "half.json" {
					return []byte(set[:len(set)/2]), nil
				}
				return nil, gone
			}})
			var field *policy.FieldError
			if provider != nil || !errors.As(err, &field) || field.Field != test.field {
				t.Fatalf("%v, %v; want an error in %s", provider, err, test.field)
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "c2VjcmV0") {
				t.Errorf("the error is %q", err)
			}
			if name == "file is gone" && !errors.Is(err, gone) {
				t.Errorf("the error hides its cause: %v", err)
			}
		})
	}
}

func file(path string) *configv1.Jwks {
	return &configv1.Jwks{Source: &configv1.Jwks_File{File: path}}
}

func TestKeySetFile(t *testing.T) {
	f := newFixture(t)
	cfg := config("corp", nil)
	cfg.GetJwt().Jwks = file("keys.json")
	token := f.issuer.Token(keystest.Claims{})
	load := func() *keys.Authenticator {
		provider, err := f.store.Provider(cfg, keys.Files{Read: func(path string) ([]byte, error) {
			if path != "keys.json" {
				t.Errorf("it reads %q", path)
			}
			return f.issuer.JWKS(), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if provider.Name() != "corp" {
			t.Errorf("its name is %q", provider.Name())
		}
		return keys.NewAuthenticator([]*keys.Provider{provider})
	}
	if got := reason(t, load(), token); got != policy.NoReason {
		t.Error(got)
	}
	if got := reason(t, load(), token); got != policy.NoReason {
		t.Error(got)
	}
	if stats := f.store.CacheStats(); stats.Hits != 1 || stats.Misses != 1 {
		t.Errorf("a reload without a change loses the cache: %+v", stats)
	}
	f.issuer.Rotate()
	f.issuer.Rotate() // the file has other keys now
	if got := reason(t, load(), token); got != policy.UnknownKey {
		t.Errorf("a cached token after a reload that dropped its key: %v", got)
	}
}

// Whatever of a provider's configuration changes, what was verified under the former does not count.
func TestReloadWithOtherRulesVerifiesAnew(t *testing.T) {
	f := newFixture(t)
	token := f.issuer.Token(keystest.Claims{})
	if got := reason(t, f.auth, token); got != policy.NoReason {
		t.Fatal(got)
	}
	for name, test := range map[string]struct {
		change func(*configv1.Jwt)
		want   policy.Reason
	}{
		"audience":  {func(c *configv1.Jwt) { c.Audiences = []string{"web"} }, policy.WrongAudience},
		"issuer":    {func(c *configv1.Jwt) { c.Issuer = "https://other.test" }, policy.WrongIssuer},
		"algorithm": {func(c *configv1.Jwt) { c.Algorithms = []string{"ES256"} }, policy.InvalidSignature},
		"types":     {func(c *configv1.Jwt) { c.Types = []string{"at+jwt"} }, policy.MalformedCredential},
		"id":        {func(c *configv1.Jwt) { c.Principal = &configv1.PrincipalClaims{Id: "email"} }, policy.InvalidClaims},
	} {
		cfg := config("corp", f.issuer.JWKS())
		test.change(cfg.GetJwt())
		auth := keys.NewAuthenticator([]*keys.Provider{compile(t, f.store, cfg)})
		if got := reason(t, auth, token); got != test.want {
			t.Errorf("another %s: %v, want %v", name, got, test.want)
		}
	}
}

func TestProvidersOfARoute(t *testing.T) {
	f := newFixture(t)
	foreign := newIssuer(t, "https://other.test", f.Now)
	other := config("other", foreign.JWKS())
	other.GetJwt().Issuer = "https://other.test"
	web := config("web", f.issuer.JWKS())
	web.GetJwt().Audiences = []string{"web"}
	// mixed has the issuer of one and the keys of the other.
	mixed := config("mixed", f.issuer.JWKS())
	mixed.GetJwt().Issuer = "https://other.test"
	compiled := map[string]*keys.Provider{}
	for _, cfg := range []*configv1.Provider{config("corp", f.issuer.JWKS()), other, web, mixed} {
		compiled[cfg.GetName()] = compile(t, f.store, cfg)
	}
	corpToken, otherToken := f.issuer.Token(keystest.Claims{}), foreign.Token(keystest.Claims{})
	for name, test := range map[string]struct {
		providers []string
		token     string
		want      string // the provider that accepts, or the reason
	}{
		"second issuer":             {[]string{"corp", "other"}, otherToken, "other"},
		"first issuer":              {[]string{"corp", "other"}, corpToken, "corp"},
		"no issuer":                 {[]string{"corp"}, otherToken, "wrong_issuer"},
		"second audience":           {[]string{"web", "corp"}, corpToken, "corp"},
		"no audience":               {[]string{"other", "web"}, corpToken, "wrong_audience"},
		"both would":                {[]string{"corp", "web"}, f.issuer.Token(keystest.Claims{Audience: []string{"web", "api"}}), "corp"},
		"keys are of their issuer":  {[]string{"corp", "mixed"}, otherToken, "unknown_key"},
		"the farthest reason":       {[]string{"mixed", "other"}, foreign.Forge(keystest.Expired, keystest.Claims{}), "expired"},
		"the farthest, other order": {[]string{"other", "mixed"}, foreign.Forge(keystest.Expired, keystest.Claims{}), "expired"},
		"issuer of the other":       {[]string{"corp", "other"}, f.issuer.Token(keystest.Claims{Extra: map[string]any{"iss": "https://other.test"}}), "unknown_key"},
		"no iss":                    {[]string{"corp"}, f.issuer.Token(keystest.Claims{Extra: map[string]any{"iss": nil}}), "wrong_issuer"},
		"iss is an array":           {[]string{"corp"}, f.issuer.Token(keystest.Claims{Extra: map[string]any{"iss": []any{issuerName}}}), "wrong_issuer"},
		"iss with a slash":          {[]string{"corp"}, f.issuer.Token(keystest.Claims{Extra: map[string]any{"iss": issuerName + "/"}}), "wrong_issuer"},
		"no provider":               {nil, corpToken, "wrong_issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			var providers []*keys.Provider
			for _, name := range test.providers {
				providers = append(providers, compiled[name])
			}
			auth := keys.NewAuthenticator(providers)
			if auth.Name() != "authenticate" {
				t.Errorf("its name is %q", auth.Name())
			}
			for _, when := range []string{"first", "again"} {
				outcome, err := evaluate(t, auth, withToken(test.token))
				got := outcome.Reason.String()
				if outcome.Principal != nil {
					got = outcome.Principal.Provider
				}
				if err != nil || got != test.want {
					t.Errorf("%s: %s, %v; want %s", when, got, err, test.want)
				}
			}
		})
	}
}

// The same kid in two issuers' sets is two keys.
func TestSameKidOfTwoIssuers(t *testing.T) {
	f := newFixture(t)
	foreign := newIssuer(t, "https://other.test", f.Now)
	rename := func(set []byte) []byte {
		var document map[string][]map[string]any
		if err := json.Unmarshal(set, &document); err != nil {
			t.Fatal(err)
		}
		for _, key := range document["keys"] {
			key["kid"] = "1-" + key["alg"].(string)
		}
		return jwks(t, document["keys"]...)
	}
	other := config("other", rename(foreign.JWKS()))
	other.GetJwt().Issuer = "https://other.test"
	auth := keys.NewAuthenticator([]*keys.Provider{compile(t, f.store, config("corp", rename(f.issuer.JWKS()))), compile(t, f.store, other)})
	header := map[string]any{"kid": "1-RS256"}
	for range 50 {
		if got := reason(t, auth, f.issuer.TokenWithHeader(keystest.Claims{}, header)); got != policy.NoReason {
			t.Fatal(got)
		}
		claims := keystest.Claims{Extra: map[string]any{"iss": "https://other.test"}}
		if got := reason(t, auth, f.issuer.TokenWithHeader(claims, header)); got != policy.InvalidSignature {
			t.Fatalf("signed by one, issued by the other: %v", got)
		}
	}
}

func TestReloadKeepsRemoteKeys(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.run()
		token := w.issuer.Token(keystest.Claims{})
		again := remoteConfig("renamed", keysURL)
		provider := compile(t, w.store, again)
		w.auth = keys.NewAuthenticator([]*keys.Provider{provider})
		if got := w.reason(token); got != policy.NoReason {
			t.Errorf("at once after a reload: %v", got)
		}
		w.store.Retain([]*keys.Provider{provider})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := w.fetches(); got != 11 {
			t.Errorf("%d fetches of one source in 10 minutes at max-age 60", got)
		}
		if got := w.reason(w.issuer.Token(keystest.Claims{})); got != policy.NoReason {
			t.Errorf("after the reload was accepted: %v", got)
		}
	})
}

func TestRetainForgets(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.run()
		token := w.issuer.Token(keystest.Claims{})
		if got := w.reason(token); got != policy.NoReason {
			t.Fatal(got)
		}
		w.store.Retain(nil)
		before := w.fetches()
		time.Sleep(4 * time.Minute) // less than a cached principal lives
		if got := w.fetches(); got != before || len(w.store.Sets()) != 0 {
			t.Errorf("%d fetches after it was forgotten, sets %+v", got-before, w.store.Sets())
		}
		// The source comes back with other keys: what its former set verified must not count.
		w.issuer.Rotate()
		w.issuer.Rotate()
		w.auth = keys.NewAuthenticator([]*keys.Provider{compile(t, w.store, remoteConfig("corp", keysURL))})
		synctest.Wait()
		if got := w.reason(w.issuer.Forge(keystest.UnknownKid, keystest.Claims{})); got != policy.UnknownKey {
			t.Errorf("an unknown key: %v", got)
		}
		if got := w.reason(token); got != policy.UnknownKey {
			t.Errorf("a token of a removed key: %v", got)
		}
	})
}

func TestRunTwice(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.run()
		if err := w.store.Run(t.Context()); err == nil {
			t.Error("it runs twice")
		}
	})
}

func TestRunMayBeginAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if err := w.store.Run(ctx); err != nil {
				t.Error(err)
			}
			cancel()
		}
		if got := w.reason(w.issuer.Token(keystest.Claims{})); got != policy.NoReason {
			t.Errorf("after Run has ended the last good keys: %v", got)
		}
	})
}

func TestSourcesHideSecretsAndStayApart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, url := range []string{"https://user:password@issuer.test/jwks.json?key=secret", keysURL + "?appid=1"} {
			compile(t, w.store, remoteConfig("corp", url))
		}
		w.network.serve(http.RedirectHandler("https://elsewhere.test/?key=secret", http.StatusFound))
		w.run()
		var sources []string
		for _, status := range w.store.Sets() {
			sources = append(sources, status.Source)
			if status.Err == nil || strings.Contains(status.Err.Error(), "secret") {
				t.Errorf("the error is %v", status.Err)
			}
		}
		if diff := cmp.Diff([]string{keysURL, keysURL + "#2", keysURL + "#3"}, slices.Sorted(slices.Values(sources))); diff != "" {
			t.Errorf("sources (-want +got):\n%s", diff)
		}
		for _, secret := range []string{"secret", "password", "appid"} {
			if strings.Contains(w.log.String(), secret) {
				t.Errorf("the log has %q", secret)
			}
		}
	})
}
