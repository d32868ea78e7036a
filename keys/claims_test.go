package keys_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

func TestTimes(t *testing.T) {
	f := newFixture(t)
	now, skew := instant.Unix(), int64(30)
	day := int64(24 * 3600)
	for name, test := range map[string]struct {
		claims map[string]any
		want   policy.Reason
	}{
		"exp at the skew":        {map[string]any{"exp": now - skew}, policy.Expired},
		"exp before the skew":    {map[string]any{"exp": now - skew - 1}, policy.Expired},
		"exp within the skew":    {map[string]any{"exp": now - skew + 1}, policy.NoReason},
		"exp with a fraction":    {map[string]any{"exp": float64(now-skew+1) + 0.5}, policy.NoReason},
		"exp, fraction past it":  {map[string]any{"exp": float64(now-skew) + 0.9}, policy.Expired},
		"exp in a day":           {map[string]any{"exp": now + day + skew}, policy.NoReason},
		"exp in more than a day": {map[string]any{"exp": now + day + skew + 1}, policy.InvalidClaims},
		"exp in the year 5138":   {map[string]any{"exp": int64(100000000000)}, policy.InvalidClaims},
		"exp null":               {map[string]any{"exp": json.RawMessage("null")}, policy.InvalidClaims},
		"exp true":               {map[string]any{"exp": true}, policy.InvalidClaims},
		"exp {}":                 {map[string]any{"exp": map[string]any{}}, policy.InvalidClaims},
		"exp []":                 {map[string]any{"exp": []any{now + 60}}, policy.InvalidClaims},
		"exp 1e300":              {map[string]any{"exp": 1e300}, policy.InvalidClaims},
		"exp 1e400":              {map[string]any{"exp": json.RawMessage("1e400")}, policy.MalformedCredential},
		"exp NaN":                {map[string]any{"exp": "NaN"}, policy.InvalidClaims},
		"exp -1":                 {map[string]any{"exp": -1}, policy.InvalidClaims},
		"exp -0":                 {map[string]any{"exp": json.RawMessage("-0")}, policy.InvalidClaims},
		"exp 2^53":               {map[string]any{"exp": int64(1 << 53)}, policy.InvalidClaims},
		"exp 2^62":               {map[string]any{"exp": int64(1 << 62)}, policy.InvalidClaims},
		"exp 2^64":               {map[string]any{"exp": json.RawMessage("18446744073709551616")}, policy.InvalidClaims},
		"nbf at the skew":        {map[string]any{"nbf": now + skew}, policy.NoReason},
		"nbf past the skew":      {map[string]any{"nbf": now + skew + 1}, policy.NotYetValid},
		"nbf a fraction past it": {map[string]any{"nbf": float64(now+skew) + 0.5}, policy.NotYetValid},
		"nbf 2^63-1":             {map[string]any{"nbf": int64(math.MaxInt64)}, policy.InvalidClaims},
		"nbf 1e300":              {map[string]any{"nbf": 1e300}, policy.InvalidClaims},
		"nbf 0":                  {map[string]any{"nbf": 0}, policy.InvalidClaims},
		"nbf string":             {map[string]any{"nbf": "1"}, policy.InvalidClaims},
		"nbf null":               {map[string]any{"nbf": json.RawMessage("null")}, policy.InvalidClaims},
		"iat at the skew":        {map[string]any{"iat": now + skew}, policy.NoReason},
		"iat past the skew":      {map[string]any{"iat": now + skew + 1}, policy.NotYetValid},
		"iat long ago":           {map[string]any{"iat": 1}, policy.NoReason},
		"iat absent":             {map[string]any{"iat": nil}, policy.NoReason},
		"iat -5":                 {map[string]any{"iat": -5}, policy.InvalidClaims},
		"iat 1e300":              {map[string]any{"iat": 1e300}, policy.InvalidClaims},
	} {
		t.Run(name, func(t *testing.T) {
			token := f.issuer.Token(keystest.Claims{Extra: test.claims})
			for range 2 {
				if got := reason(t, f.auth, token); got != test.want {
					t.Errorf("%v, want %v", got, test.want)
				}
			}
		})
	}
}

func TestLeewayAndLifetimeAreConfigured(t *testing.T) {
	f := newFixture(t, func(cfg *configv1.Jwt) {
		cfg.Leeway = durationpb.New(0)
		cfg.MaxLifetime = durationpb.New(time.Minute)
	})
	for lifetime, want := range map[time.Duration]policy.Reason{
		time.Second: policy.NoReason, time.Minute: policy.NoReason, 61 * time.Second: policy.InvalidClaims, -time.Second: policy.Expired,
	} {
		if got := reason(t, f.auth, f.issuer.Token(keystest.Claims{Lifetime: lifetime})); got != want {
			t.Errorf("%v: %v, want %v", lifetime, got, want)
		}
	}
	token := f.issuer.Token(keystest.Claims{Extra: map[string]any{"exp": f.now.Unix()}})
	if got := reason(t, f.auth, token); got != policy.Expired {
		t.Errorf("exp is now: %v", got)
	}
}

func TestLongestLifetimeDoesNotOverflow(t *testing.T) {
	f := newFixture(t, func(cfg *configv1.Jwt) { cfg.MaxLifetime = durationpb.New(math.MaxInt64) })
	for at, want := range map[int64]policy.Reason{
		f.now.AddDate(90, 0, 0).Unix(): policy.NoReason, f.now.AddDate(300, 0, 0).Unix(): policy.InvalidClaims, 1<<53 - 1: policy.InvalidClaims,
	} {
		if got := reason(t, f.auth, f.issuer.Token(keystest.Claims{Extra: map[string]any{"exp": at}})); got != want {
			t.Errorf("exp %d: %v, want %v", at, got, want)
		}
	}
}

func TestAudience(t *testing.T) {
	some := newFixture(t, func(cfg *configv1.Jwt) { cfg.Audiences = []string{"api", "web"} })
	anyone := newFixture(t, func(cfg *configv1.Jwt) { cfg.Audiences, cfg.AnyAudience = nil, true })
	for name, test := range map[string]struct {
		audience   any
		want, open policy.Reason
	}{
		"one of ours":       {"web", policy.NoReason, policy.NoReason},
		"array with ours":   {[]any{"x", "api"}, policy.NoReason, policy.NoReason},
		"another":           {"apis", policy.WrongAudience, policy.NoReason},
		"another case":      {"API", policy.WrongAudience, policy.NoReason},
		"words":             {"api web", policy.WrongAudience, policy.NoReason},
		"array of others":   {[]any{"x"}, policy.WrongAudience, policy.NoReason},
		"empty array":       {[]any{}, policy.WrongAudience, policy.NoReason},
		"empty":             {"", policy.WrongAudience, policy.NoReason},
		"absent":            {nil, policy.WrongAudience, policy.NoReason},
		"null":              {json.RawMessage("null"), policy.InvalidClaims, policy.InvalidClaims},
		"number":            {7, policy.InvalidClaims, policy.InvalidClaims},
		"object":            {map[string]any{"api": "api"}, policy.InvalidClaims, policy.InvalidClaims},
		"array with number": {[]any{"api", 7}, policy.InvalidClaims, policy.InvalidClaims},
		"nested array":      {[]any{[]any{"api"}}, policy.InvalidClaims, policy.InvalidClaims},
	} {
		t.Run(name, func(t *testing.T) {
			claims := keystest.Claims{Extra: map[string]any{"aud": test.audience}}
			if got := reason(t, some.auth, some.issuer.Token(claims)); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
			if got := reason(t, anyone.auth, anyone.issuer.Token(claims)); got != test.open {
				t.Errorf("with any_audience: %v, want %v", got, test.open)
			}
		})
	}
}

func TestTypes(t *testing.T) {
	byDefault := newFixture(t)
	configured := newFixture(t, func(cfg *configv1.Jwt) { cfg.Types = []string{"application/Logout+JWT"} })
	for typ, want := range map[string][2]policy.Reason{
		"JWT":                {policy.NoReason, policy.MalformedCredential},
		"jwt":                {policy.NoReason, policy.MalformedCredential},
		"at+jwt":             {policy.NoReason, policy.MalformedCredential},
		"application/AT+JWT": {policy.NoReason, policy.MalformedCredential},
		"logout+jwt":         {policy.MalformedCredential, policy.NoReason},
		"id+jwt":             {policy.MalformedCredential, policy.MalformedCredential},
		"":                   {policy.MalformedCredential, policy.MalformedCredential},
	} {
		for i, f := range []*fixture{byDefault, configured} {
			if got := reason(t, f.auth, rehead(t, f.issuer, map[string]any{"typ": typ})); got != want[i] {
				t.Errorf("typ %q: %v, want %v", typ, got, want[i])
			}
		}
	}
	if got := reason(t, byDefault.auth, rehead(t, byDefault.issuer, map[string]any{"typ": nil})); got != policy.NoReason {
		t.Errorf("no typ: %v", got)
	}
	if got := reason(t, configured.auth, rehead(t, configured.issuer, map[string]any{"typ": nil})); got != policy.MalformedCredential {
		t.Errorf("no typ, and one is configured: %v", got)
	}
}

func TestPrincipal(t *testing.T) {
	f := newFixture(t, func(cfg *configv1.Jwt) {
		cfg.Principal = &configv1.PrincipalClaims{Id: "email", Roles: "realm_access.roles", Scopes: "https://acme.example/scopes"}
	})
	token := f.issuer.Token(keystest.Claims{Scope: "ignored", Roles: []string{"ignored"}, Extra: map[string]any{
		"email": "alice@example.com", "jti": nil, "big": json.RawMessage("9007199254740993"), "small": json.RawMessage("9007199254740991"),
		"realm_access":                map[string]any{"roles": []any{"admin", "editor"}},
		"https://acme.example/scopes": "read  write",
	}})
	exp := instant.Add(time.Hour)
	want := &policy.Principal{
		ID: "alice@example.com", Provider: "corp", Issuer: issuerName, Subject: "alice",
		Roles: []string{"admin", "editor"}, Scopes: []string{"read", "write"}, Expires: exp,
		Claims: map[string]any{
			"iss": issuerName, "sub": "alice", "aud": "api", "iat": float64(instant.Unix()), "exp": float64(exp.Unix()),
			"email": "alice@example.com", "scope": "ignored", "roles": []any{"ignored"},
			"realm_access": map[string]any{"roles": []any{"admin", "editor"}}, "https://acme.example/scopes": "read  write",
			"big": json.Number("9007199254740993"), "small": float64(9007199254740991),
		},
	}
	for _, when := range []string{"verified", "cached"} {
		outcome, err := evaluate(t, f.auth, withToken(token))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, outcome.Principal); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
}

func TestClaimPaths(t *testing.T) {
	for name, test := range map[string]struct {
		path   string
		claims map[string]any
		roles  []string
		want   policy.Reason
	}{
		"absent":              {"roles", nil, nil, policy.NoReason},
		"words":               {"roles", map[string]any{"roles": " a  b "}, []string{"a", "b"}, policy.NoReason},
		"no words":            {"roles", map[string]any{"roles": ""}, []string{}, policy.NoReason},
		"dotted name first":   {"a.b", map[string]any{"a.b": "x", "a": map[string]any{"b": "y"}}, []string{"x"}, policy.NoReason},
		"nested":              {"a.b", map[string]any{"a": map[string]any{"b": "y"}}, []string{"y"}, policy.NoReason},
		"dots within":         {"a.my.app.r", map[string]any{"a": map[string]any{"my.app": map[string]any{"r": "z"}}}, []string{"z"}, policy.NoReason},
		"not an object":       {"a.b", map[string]any{"a": "text"}, nil, policy.NoReason},
		"null":                {"roles", map[string]any{"roles": json.RawMessage("null")}, nil, policy.InvalidClaims},
		"number":              {"roles", map[string]any{"roles": 7}, nil, policy.InvalidClaims},
		"object":              {"roles", map[string]any{"roles": map[string]any{"b": map[string]any{}, "a": true, "no": false, "none": json.RawMessage("null")}}, []string{"a", "b"}, policy.NoReason},
		"object, empty name":  {"roles", map[string]any{"roles": map[string]any{"": true}}, nil, policy.InvalidClaims},
		"two paths":           {"a.r b.r", map[string]any{"a": map[string]any{"r": []any{"x", "y"}}, "b": map[string]any{"r": "y z"}}, []string{"x", "y", "z"}, policy.NoReason},
		"two paths, one bad":  {"a b", map[string]any{"a": "x", "b": 7}, nil, policy.InvalidClaims},
		"array with a number": {"roles", map[string]any{"roles": []any{"a", 7}}, nil, policy.InvalidClaims},
		"array with an empty": {"roles", map[string]any{"roles": []any{""}}, nil, policy.InvalidClaims},
		"array in array":      {"roles", map[string]any{"roles": []any{[]any{"a"}}}, nil, policy.InvalidClaims},
		"a role with a space": {"roles", map[string]any{"roles": []any{"a b"}}, []string{"a b"}, policy.NoReason},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(cfg *configv1.Jwt) { cfg.Principal = &configv1.PrincipalClaims{Roles: test.path} })
			outcome, err := evaluate(t, f.auth, withToken(f.issuer.Token(keystest.Claims{Extra: test.claims})))
			if err != nil {
				t.Fatal(err)
			}
			if test.want != policy.NoReason {
				if outcome.Reason != test.want || outcome.Verdict != policy.Denied {
					t.Errorf("%v, want %v", outcome.Reason, test.want)
				}
				return
			}
			if diff := cmp.Diff(test.roles, outcome.Principal.Roles); diff != "" {
				t.Errorf("roles (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrincipalNeedsItsID(t *testing.T) {
	f := newFixture(t, func(cfg *configv1.Jwt) { cfg.Principal = &configv1.PrincipalClaims{Id: "email"} })
	for name, email := range map[string]any{"absent": nil, "empty": "", "number": 7, "array": []any{"a"}, "null": json.RawMessage("null")} {
		if got := reason(t, f.auth, f.issuer.Token(keystest.Claims{Extra: map[string]any{"email": email}})); got != policy.InvalidClaims {
			t.Errorf("%s: %v", name, got)
		}
	}
	for name, subject := range map[string]any{"number": 7, "object": map[string]any{}, "array": []any{"alice"}} {
		claims := keystest.Claims{Extra: map[string]any{"email": "a@example.com", "sub": subject}}
		if got := reason(t, f.auth, f.issuer.Token(claims)); got != policy.InvalidClaims {
			t.Errorf("sub is of type %s: %v", name, got)
		}
	}
}

func TestFoldedNamesAreOtherNames(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"Sub", "\u017fub", "SUB"} {
		token := f.issuer.Token(keystest.Claims{Extra: map[string]any{"sub": nil, name: "root"}})
		if got := reason(t, f.auth, token); got != policy.InvalidClaims {
			t.Errorf("%q alone: %v", name, got)
		}
		outcome, err := evaluate(t, f.auth, withToken(f.issuer.Token(keystest.Claims{Extra: map[string]any{name: "root"}})))
		if err != nil || outcome.Principal == nil || strings.Contains(outcome.Principal.ID, "root") {
			t.Errorf("%q beside sub: %+v, %v", name, outcome, err)
		}
	}
}
