package keys_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

func header(name, scheme string) *configv1.Location {
	return &configv1.Location{Place: &configv1.Location_Header{Header: name}, Scheme: scheme}
}

func everywhere() []*configv1.Location {
	return []*configv1.Location{
		header("Authorization", ""), header("X-Token", ""), header("X-Session", "Token"),
		{Place: &configv1.Location_Cookie{Cookie: "session"}},
		{Place: &configv1.Location_Query{Query: "access_token"}},
		{Place: &configv1.Location_WebsocketProtocol{WebsocketProtocol: "bearer."}},
	}
}

// A credential is read where the configuration says, and nowhere else; and what the upstream gets does not hold it.
func TestLocations(t *testing.T) {
	f := newFixture(t)
	token := f.issuer.Token(keystest.Claims{})
	cfg := config("corp", f.issuer.JWKS())
	cfg.From = everywhere()
	auth := keys.NewAuthenticator([]*keys.Provider{compile(t, f.store, cfg)})
	headers := []string{"authorization", "x-token", "x-session"}
	for name, c := range map[string]struct {
		headers policy.Headers
		query   string
		want    policy.Reason
		set     []policy.Mutation
		remove  []string
		params  []string
	}{
		"authorization":         {headers: policy.Headers{{Name: "authorization", Value: "Bearer " + token}}},
		"a header":              {headers: policy.Headers{{Name: "x-token", Value: token}}},
		"a header and a scheme": {headers: policy.Headers{{Name: "x-session", Value: "token " + token}}},
		"another scheme":        {headers: policy.Headers{{Name: "x-session", Value: "Bearer " + token}}, want: policy.MissingCredential},
		"an empty header":       {headers: policy.Headers{{Name: "x-token"}}, want: policy.MalformedCredential},
		"two headers":           {headers: policy.Headers{{Name: "x-token", Value: token}, {Name: "x-token", Value: token}}, want: policy.MalformedCredential},
		"a cookie":              {headers: policy.Headers{{Name: "cookie", Value: "session=" + token}}, remove: []string{"cookie"}},
		"a cookie among others": {
			headers: policy.Headers{{Name: "cookie", Value: "a=1; session=" + token + "; b"}, {Name: "cookie", Value: "c=3"}},
			set:     []policy.Mutation{{Name: "cookie", Value: "a=1; b; c=3"}},
		},
		"two cookies":         {headers: policy.Headers{{Name: "cookie", Value: "session=" + token + "; session="}}, want: policy.MalformedCredential},
		"two lines of one":    {headers: policy.Headers{{Name: "cookie", Value: "session=x"}, {Name: "cookie", Value: "session=" + token}}, want: policy.MalformedCredential},
		"a space in its name": {headers: policy.Headers{{Name: "cookie", Value: "session =" + token + "; a=1"}}, set: []policy.Mutation{{Name: "cookie", Value: "a=1"}}},
		"a second, disguised": {headers: policy.Headers{{Name: "cookie", Value: "session=" + token + "; session\t =" + token}}, want: policy.MalformedCredential},
		"an empty cookie":     {headers: policy.Headers{{Name: "cookie", Value: "session="}}, want: policy.MissingCredential},
		"an empty one, more":  {headers: policy.Headers{{Name: "cookie", Value: "session=; a=1"}, {Name: "x-token", Value: token}}, set: []policy.Mutation{{Name: "cookie", Value: "a=1"}}},
		"two empty cookies":   {headers: policy.Headers{{Name: "cookie", Value: "session=; session="}}, want: policy.MalformedCredential},
		"a cookie of a space": {headers: policy.Headers{{Name: "cookie", Value: "session= ; a=1"}}, want: policy.MissingCredential},
		"a longer name":       {headers: policy.Headers{{Name: "cookie", Value: "session2=" + token + "; Session=" + token}}, want: policy.MissingCredential},
		"an odd other cookie": {headers: policy.Headers{{Name: "cookie", Value: "a=\xff; session=" + token}}, want: policy.MalformedCredential},
		"a parameter":         {query: "a=1&access_token=" + token, params: []string{"access_token"}},
		"an encoded one":      {query: "access%5Ftoken=" + token, params: []string{"access%5Ftoken"}},
		"two parameters":      {query: "access_token=" + token + "&access%5ftoken=", want: policy.MalformedCredential},
		"no value":            {query: "access_token", want: policy.MalformedCredential},
		"not decodable":       {query: "access_token=%zz", want: policy.MalformedCredential},
		"behind a semicolon":  {query: "a=1;access_token=" + token, want: policy.MissingCredential},
		"a subprotocol":       {headers: policy.Headers{{Name: "sec-websocket-protocol", Value: "chat, bearer." + token}}, set: []policy.Mutation{{Name: "sec-websocket-protocol", Value: "chat"}}},
		"a subprotocol alone": {headers: policy.Headers{{Name: "sec-websocket-protocol", Value: "bearer." + token}}, remove: []string{"sec-websocket-protocol"}},
		"two subprotocols":    {headers: policy.Headers{{Name: "sec-websocket-protocol", Value: "bearer.x, bearer." + token}}, want: policy.MalformedCredential},
		"in two places":       {headers: policy.Headers{{Name: "x-token", Value: token}}, query: "access_token=" + token, want: policy.MalformedCredential},
		"a bad one beside":    {headers: policy.Headers{{Name: "x-token", Value: token}, {Name: "authorization", Value: "Bearer"}}, want: policy.MalformedCredential},
		"elsewhere":           {headers: policy.Headers{{Name: "x-other", Value: token}}, query: "token=" + token, want: policy.MissingCredential},
		"long":                {query: "access_token=" + strings.Repeat("a", 60_000), want: policy.MalformedCredential},
	} {
		t.Run(name, func(t *testing.T) {
			outcome, err := evaluate(t, auth, &policy.Request{Headers: c.headers, Query: c.query})
			if err != nil {
				t.Fatal(err)
			}
			if c.want != policy.NoReason && c.want != 0 {
				if outcome.Verdict != policy.Denied || outcome.Reason != c.want {
					t.Errorf("verdict %v, reason %v; want %v", outcome.Verdict, outcome.Reason, c.want)
				}
				return
			}
			want := policy.Outcome{
				Verdict: policy.Passed, Principal: outcome.Principal, Remove: append(headers[:3:3], c.remove...),
				Set: c.set, RemoveQuery: c.params,
			}
			if diff := cmp.Diff(want, outcome); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What is forwarded stays where it was, and nothing else does.
func TestLocationsForwarded(t *testing.T) {
	f := newFixture(t)
	token := f.issuer.Token(keystest.Claims{})
	forwards := config("corp", f.issuer.JWKS())
	forwards.From, forwards.Forward = []*configv1.Location{{Place: &configv1.Location_Cookie{Cookie: "session"}}}, true
	other := config("other", f.issuer.JWKS())
	other.From = []*configv1.Location{{Place: &configv1.Location_Cookie{Cookie: "other"}}, header("x-token", "")}
	auth := keys.NewAuthenticator([]*keys.Provider{compile(t, f.store, other), compile(t, f.store, forwards)})
	outcome, err := evaluate(t, auth, &policy.Request{Headers: policy.Headers{{Name: "cookie", Value: "session=" + token + "; a=1; b=2"}}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(policy.Outcome{Verdict: policy.Passed, Principal: outcome.Principal, Remove: []string{"x-token"}}, outcome); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBadLocations(t *testing.T) {
	f := newFixture(t)
	for name, from := range map[string][]*configv1.Location{
		"nowhere": {{}}, "twice": {header("X-Token", ""), header("x-token", "")}, "an empty name": {header("", "")},
		"bearer twice": {header("authorization", "Bearer"), header("Authorization", "")},
	} {
		cfg := config("corp", f.issuer.JWKS())
		cfg.From = from
		if _, err := f.store.Provider(cfg, keys.Files{Read: noFile}); err == nil || !strings.Contains(err.Error(), "from[") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAnonymous: nobody is somebody only where the route says so, and a bad credential is never nobody (THREATS a.4, CVE-2021-21378).
func TestAnonymous(t *testing.T) {
	f := newFixture(t)
	provider := compile(t, f.store, config("corp", f.issuer.JWKS()))
	elsewhere := newIssuer(t, "https://elsewhere.test", f.Now)
	auth := keys.NewAuthenticator([]*keys.Provider{provider}, keys.Demand{Anonymous: "guest"})
	sessions := config("corp", f.issuer.JWKS())
	sessions.From = []*configv1.Location{{Place: &configv1.Location_Cookie{Cookie: "session"}}}
	browsers := keys.NewAuthenticator([]*keys.Provider{compile(t, f.store, sessions)}, keys.Demand{Anonymous: "guest"})
	for cookies, want := range map[string]policy.Verdict{
		"session=": policy.Passed, "a=1": policy.Passed, "session=x": policy.Denied, `session=""`: policy.Denied, "session=; session=": policy.Denied,
	} {
		outcome, err := browsers.Evaluate(t.Context(), withHeader("cookie", cookies), &policy.Principal{})
		if err != nil || outcome.Verdict != want || want == policy.Passed && !outcome.Principal.Anonymous() {
			t.Errorf("the cookies %s: %+v, %v", cookies, outcome, err)
		}
	}
	for name, c := range map[string]struct {
		token string
		want  string // the principal's id; empty: denied
	}{
		"a good token": {f.issuer.Token(keystest.Claims{Subject: "alice"}), "alice"}, "no token": {"", "guest"},
		"an unknown issuer": {elsewhere.Token(keystest.Claims{}), ""}, "an expired token": {f.issuer.Token(keystest.Claims{Lifetime: -time.Hour}), ""}, "no token at all": {"x", ""},
	} {
		req := withToken(c.token)
		if c.token == "" {
			req = &policy.Request{}
		}
		outcome, err := auth.Evaluate(t.Context(), req, &policy.Principal{})
		got := ""
		if outcome.Verdict == policy.Passed {
			got = outcome.Principal.ID
		}
		if err != nil || got != c.want || c.want == "guest" && !outcome.Principal.Anonymous() {
			t.Errorf("%s: %+v, %v; want %q", name, outcome, err, c.want)
		}
	}
}

// Each of those that must accept too has to.
func TestAlso(t *testing.T) {
	f := newFixture(t)
	device := newIssuer(t, "https://devices.test", f.Now)
	second := config("device", device.JWKS())
	second.GetJwt().Issuer = "https://devices.test"
	second.From = []*configv1.Location{header("x-device", "")}
	first, also := compile(t, f.store, config("corp", f.issuer.JWKS())), compile(t, f.store, second)
	alice, phone := f.issuer.Token(keystest.Claims{Subject: "alice"}), device.Token(keystest.Claims{Subject: "phone"})
	for name, c := range map[string]struct {
		token, device, want string
	}{
		"both": {alice, phone, "alice"}, "one": {alice, "", ""}, "the other": {"", phone, ""}, "a bad second": {alice, alice, ""},
		"a bad first": {phone, phone, ""}, "neither": {"", "", ""},
	} {
		for _, anonymous := range []string{"", "guest"} {
			auth := keys.NewAuthenticator([]*keys.Provider{first}, keys.Demand{Also: []*keys.Provider{also}, Anonymous: anonymous})
			req := &policy.Request{}
			if c.token != "" {
				req = withToken(c.token)
			}
			if c.device != "" {
				req.Headers = append(req.Headers, policy.Header{Name: "x-device", Value: c.device})
			}
			outcome, err := auth.Evaluate(t.Context(), req, &policy.Principal{})
			got, want := "", c.want
			if outcome.Verdict == policy.Passed {
				got = outcome.Principal.ID
			}
			if c.token == "" && c.device == phone {
				want = anonymous
			}
			if err != nil || got != want {
				t.Errorf("%s, anonymous %q: %+v, %v; want %q", name, anonymous, outcome, err, want)
			}
			if got != "" && cmp.Diff([]string{"authorization", "x-device"}, outcome.Remove) != "" {
				t.Errorf("%s: removed %q", name, outcome.Remove)
			}
		}
	}
}

// FuzzLocations: whatever a client sends, a credential that is accepted is in nothing that goes on.
func FuzzLocations(f *testing.F) {
	fix := newFixture(f)
	token := fix.issuer.Token(keystest.Claims{})
	cfg := config("corp", fix.issuer.JWKS())
	cfg.From = everywhere()
	auth := keys.NewAuthenticator([]*keys.Provider{compile(f, fix.store, cfg)})
	for _, seed := range [][3]string{
		{"session=T", "", ""},
		{"a=1; session=T;b", "", ""},
		{"", "access_token=T", ""},
		{"", "access%5ftoken=T&a", ""},
		{"", "", "chat, bearer.T"},
		{"session=T", "access_token=T", "bearer.T"},
		{"session=x; session =T", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, cookies, query, protocols string) {
		put := func(text string) string { return strings.ReplaceAll(text, "T", token) }
		req := &policy.Request{Query: put(query), Headers: policy.Headers{{Name: "cookie", Value: put(cookies)}, {Name: "sec-websocket-protocol", Value: put(protocols)}}}
		outcome, err := auth.Evaluate(t.Context(), req, &policy.Principal{})
		if err != nil {
			t.Fatal(err)
		}
		if outcome.Verdict != policy.Passed {
			return
		}
		for _, m := range outcome.Set {
			if strings.Contains(m.Value, "session="+token) || strings.Contains(m.Value, "bearer."+token) {
				t.Errorf("%s goes on as %q", m.Name, m.Value)
			}
		}
		if len(outcome.Set) == 0 && len(outcome.RemoveQuery) == 0 && len(outcome.Remove) == 3 {
			t.Errorf("nothing was taken out of %q, %q, %q", cookies, query, protocols)
		}
	})
}
