package keys_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/expression"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

func TestRequiredClaims(t *testing.T) {
	for name, c := range map[string]struct {
		required *configv1.RequiredClaim
		claims   map[string]any
		want     policy.Reason
	}{
		"there":           {&configv1.RequiredClaim{Path: "azp"}, map[string]any{"azp": "web"}, policy.NoReason},
		"absent":          {&configv1.RequiredClaim{Path: "azp"}, nil, policy.InvalidClaims},
		"null":            {&configv1.RequiredClaim{Path: "azp"}, map[string]any{"azp": nil}, policy.InvalidClaims},
		"one of two":      {&configv1.RequiredClaim{Path: "azp", Values: []string{"app", "web"}}, map[string]any{"azp": "web"}, policy.NoReason},
		"none of two":     {&configv1.RequiredClaim{Path: "azp", Values: []string{"app", "web"}}, map[string]any{"azp": "webs"}, policy.InvalidClaims},
		"nested":          {&configv1.RequiredClaim{Path: "org.plan", Values: []string{"gold"}}, map[string]any{"org": map[string]any{"plan": "gold"}}, policy.NoReason},
		"in an array":     {&configv1.RequiredClaim{Path: "groups", Values: []string{"b"}}, map[string]any{"groups": []any{"a", "b"}}, policy.NoReason},
		"not in an array": {&configv1.RequiredClaim{Path: "groups", Values: []string{"c"}}, map[string]any{"groups": []any{"a", []any{"c"}}}, policy.InvalidClaims},
		"an object":       {&configv1.RequiredClaim{Path: "groups", Values: []string{"a"}}, map[string]any{"groups": map[string]any{"a": true}}, policy.InvalidClaims},
		"more behind it":  {&configv1.RequiredClaim{Path: "email", Values: []string{"a@acme.example"}}, map[string]any{"email": "a@acme.example@evil.example"}, policy.InvalidClaims}, // oauth2-proxy CVE-2026-40574
		"more before it":  {&configv1.RequiredClaim{Path: "email", Values: []string{"a@acme.example"}}, map[string]any{"email": "evil@a@acme.example"}, policy.InvalidClaims},
		"another case":    {&configv1.RequiredClaim{Path: "email", Values: []string{"a@acme.example"}}, map[string]any{"email": "A@acme.example"}, policy.InvalidClaims},
		"true":            {&configv1.RequiredClaim{Path: "ok", Values: []string{"true"}}, map[string]any{"ok": true}, policy.NoReason},
		"false":           {&configv1.RequiredClaim{Path: "ok", Values: []string{"true"}}, map[string]any{"ok": false}, policy.InvalidClaims},
		"a number":        {&configv1.RequiredClaim{Path: "level", Values: []string{"3"}}, map[string]any{"level": 3}, policy.NoReason},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(cfg *configv1.Jwt) { cfg.Claims = []*configv1.RequiredClaim{c.required} })
			token := f.issuer.Token(keystest.Claims{Extra: c.claims})
			for _, when := range []string{"first", "again"} {
				if got := reason(t, f.auth, token); got != c.want {
					t.Errorf("%s: %v, want %v", when, got, c.want)
				}
			}
		})
	}
}

func TestConditions(t *testing.T) {
	files := keys.Files{Condition: expression.Condition}
	for condition, want := range map[string]policy.Reason{
		`principal.claims.email_verified && principal.id.endsWith("@acme.example")`: policy.NoReason,
		`principal.id == "bob"`: policy.InvalidClaims, `principal.claims.absent == "x"`: policy.InvalidClaims, `principal.claims.level`: policy.InvalidClaims,
	} {
		f := newFixture(t)
		cfg := config("corp", f.issuer.JWKS())
		cfg.GetJwt().Conditions = []string{"true", condition}
		provider, err := f.store.Provider(cfg, files)
		if err != nil {
			t.Fatal(err)
		}
		token := f.issuer.Token(keystest.Claims{Subject: "alice@acme.example", Extra: map[string]any{"email_verified": true, "level": 2}})
		if got := reason(t, keys.NewAuthenticator([]*keys.Provider{provider}), token); got != want {
			t.Errorf("%s: %v, want %v", condition, got, want)
		}
	}
	cfg := config("corp", newFixture(t).issuer.JWKS())
	cfg.GetJwt().Conditions = []string{`request.path == "/"`}
	var field *policy.FieldError
	if _, err := newFixture(t).store.Provider(cfg, files); !errors.As(err, &field) || field.Field != "jwt.conditions[0]" {
		t.Errorf("a condition on the request: %v", err)
	}
}

// Each tenant of a pattern has its own issuer and its own keys; nobody who is not on the list gets in, whatever he signs, and
// a change of one tenant's keys is seen for tokens that were verified before.
func TestTenants(t *testing.T) {
	const pattern = "https://login.test/{tenant}"
	bubble(t, func(t *testing.T, w *world) {
		site := http.NewServeMux()
		issuers := map[string]*keystest.Issuer{}
		for _, name := range []string{"red", "blue", "green"} {
			issuers[name] = newIssuer(t, "https://login.test/"+name, time.Now)
			site.Handle("/"+name+"/", http.StripPrefix("/"+name, issuers[name]))
		}
		w.network.handler = site
		cfg := config("corp", nil)
		cfg.GetJwt().Issuer, cfg.GetJwt().Tenants, cfg.GetJwt().Jwks = pattern, []string{"red", "blue"}, nil
		provider := compile(t, w.store, cfg)
		w.auth = keys.NewAuthenticator([]*keys.Provider{provider})
		w.store.Retain([]*keys.Provider{provider})
		w.run()
		as := func(signer, issuer string) string {
			return issuers[signer].Token(keystest.Claims{Extra: map[string]any{"iss": "https://login.test/" + issuer}})
		}
		red, blue := as("red", "red"), as("blue", "blue")
		for range 2 {
			for tenant, token := range map[string]string{"red": red, "blue": blue} {
				outcome, err := evaluate(t, w.auth, withToken(token))
				if err != nil || outcome.Principal == nil || outcome.Principal.Tenant != tenant {
					t.Fatalf("%s: %+v, %v", tenant, outcome, err)
				}
			}
		}
		for _, c := range []struct {
			signer, issuer string
			want           policy.Reason
		}{
			{"red", "blue", policy.UnknownKey},
			{"green", "green", policy.WrongIssuer},
			{"green", "red", policy.UnknownKey},
			{"red", "{tenant}", policy.WrongIssuer},
			{"red", "", policy.WrongIssuer},
			{"red", "RED", policy.WrongIssuer},
			{"red", "red/", policy.WrongIssuer},
		} {
			if got := w.reason(as(c.signer, c.issuer)); got != c.want {
				t.Errorf("%s as %s: %v, want %v", c.signer, c.issuer, got, c.want)
			}
		}
		issuers["red"].Rotate() // the old key goes, with the next fetch
		issuers["red"].Rotate()
		time.Sleep(2 * time.Hour)
		for tenant, want := range map[string]policy.Reason{"red": policy.UnknownKey, "blue": policy.Expired} {
			if got := w.reason(map[string]string{"red": red, "blue": blue}[tenant]); got != want {
				t.Errorf("%s after a rotation of red: %v, want %v", tenant, got, want)
			}
		}
		if got := w.reason(as("red", "red")); got != policy.NoReason {
			t.Errorf("red's new key: %v", got)
		}
	})
}

// Where the tenants have one key set, that set is fetched once.
func TestTenantsOfOneKeySet(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		cfg := remoteConfig("corp", keysURL)
		cfg.GetJwt().Issuer, cfg.GetJwt().Tenants = "https://login.test/{tenant}/v2.0", []string{"a", "b", "c"}
		w.auth = keys.NewAuthenticator([]*keys.Provider{compile(t, w.store, cfg)})
		w.run()
		for _, tenant := range []string{"a", "b", "c"} {
			token := w.issuer.Token(keystest.Claims{Extra: map[string]any{"iss": "https://login.test/" + tenant + "/v2.0", "org": "x"}})
			outcome, err := evaluate(t, w.auth, withToken(token))
			if err != nil || outcome.Principal == nil || outcome.Principal.Tenant != tenant {
				t.Errorf("%s: %+v, %v", tenant, outcome, err)
			}
		}
		if got := w.fetches(); got != 1 {
			t.Errorf("%d fetches", got)
		}
	})
}

// A tenant may be said by a claim; then it has to be a string.
func TestTenantClaim(t *testing.T) {
	f := newFixture(t, func(cfg *configv1.Jwt) { cfg.Principal = &configv1.PrincipalClaims{Tenant: "org.id"} })
	outcome, err := evaluate(t, f.auth, withToken(f.issuer.Token(keystest.Claims{Extra: map[string]any{"org": map[string]any{"id": "acme"}}})))
	if err != nil || outcome.Principal == nil || outcome.Principal.Tenant != "acme" {
		t.Errorf("%+v, %v", outcome, err)
	}
	for _, bad := range []any{7, "", []any{"acme"}} {
		if got := reason(t, f.auth, f.issuer.Token(keystest.Claims{Extra: map[string]any{"org": map[string]any{"id": bad}}})); got != policy.InvalidClaims {
			t.Errorf("%v: %v", bad, got)
		}
	}
}

func secrets(list ...string) ([]*configv1.SharedSecret, keys.Files) {
	var messages []*configv1.SharedSecret
	for i := 0; i < len(list); i += 2 {
		messages = append(messages, &configv1.SharedSecret{Id: list[i], Algorithm: "HS256", Secret: &configv1.Secret{Source: &configv1.Secret_Env{Env: list[i+1]}}})
	}
	return messages, keys.Files{Secret: func(s *configv1.Secret) (string, error) { return s.GetEnv(), nil }}
}

// A symmetric algorithm is there only where the configuration names a secret for it, and a public key is never one.
func TestSharedSecrets(t *testing.T) {
	first, second := strings.Repeat("first secret ", 4), strings.Repeat("second secret", 4)
	f := newFixture(t)
	sign := func(secret, kid string, method jwt.SigningMethod) string {
		token := jwt.NewWithClaims(method, jwt.MapClaims{"iss": issuerName, "aud": "api", "sub": "alice", "exp": instant.Unix() + 60})
		if kid != "" {
			token.Header["kid"] = kid
		}
		text, err := token.SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	cfg := config("corp", nil)
	cfg.GetJwt().Jwks, cfg.GetJwt().Algorithms = nil, []string{"HS256"}
	var files keys.Files
	cfg.GetJwt().Secrets, files = secrets("a", first, "b", second)
	provider, err := f.store.Provider(cfg, files)
	if err != nil {
		t.Fatal(err)
	}
	auth := keys.NewAuthenticator([]*keys.Provider{provider})
	for name, c := range map[string]struct {
		token string
		want  policy.Reason
	}{
		"the first": {sign(first, "a", jwt.SigningMethodHS256), policy.NoReason}, "the second": {sign(second, "b", jwt.SigningMethodHS256), policy.NoReason},
		"the other's": {sign(first, "b", jwt.SigningMethodHS256), policy.InvalidSignature}, "no kid": {sign(first, "", jwt.SigningMethodHS256), policy.UnknownKey},
		"another kid": {sign(first, "c", jwt.SigningMethodHS256), policy.UnknownKey}, "HS512": {sign(first, "a", jwt.SigningMethodHS512), policy.InvalidSignature},
		"an empty secret": {sign("", "a", jwt.SigningMethodHS256), policy.InvalidSignature}, "RS256": {f.issuer.Token(keystest.Claims{}), policy.InvalidSignature},
	} {
		if got := reason(t, auth, c.token); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	for name, c := range map[string]struct {
		list  []string
		field string
	}{
		"short": {[]string{"a", "0123456789012345678901234567890"}, "jwt.secrets[0].secret"}, "two of one id": {[]string{"a", first, "a", second}, "jwt.secrets[1].id"},
		"two, one without an id": {[]string{"a", first, "", second}, "jwt.secrets[1].id"},
	} {
		cfg.GetJwt().Secrets, files = secrets(c.list...)
		var field *policy.FieldError
		if _, err := f.store.Provider(cfg, files); !errors.As(err, &field) || field.Field != c.field || strings.Contains(err.Error(), "0123456789") {
			t.Errorf("%s: %v, want an error in %s", name, err, c.field)
		}
	}
}
