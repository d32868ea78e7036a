package keys_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
)

func TestAuthorizationHeader(t *testing.T) {
	f := newFixture(t)
	token := f.issuer.Token(keystest.Claims{})
	one := func(value string) policy.Headers { return policy.Headers{{Name: "authorization", Value: value}} }
	for name, test := range map[string]struct {
		headers policy.Headers
		want    policy.Reason
	}{
		"no header":              {nil, policy.MissingCredential},
		"other headers":          {policy.Headers{{Name: "x-authorization", Value: "Bearer " + token}}, policy.MissingCredential},
		"empty":                  {one(""), policy.MissingCredential},
		"basic":                  {one("Basic YWxpY2U6c2VjcmV0"), policy.MissingCredential},
		"token without a scheme": {one(token), policy.MissingCredential},
		"longer scheme":          {one("BearerX " + token), policy.MissingCredential},
		"scheme with a hyphen":   {one("Bearer-" + token), policy.MissingCredential},
		"space before":           {one(" Bearer " + token), policy.MissingCredential},
		"bearer":                 {one("Bearer " + token), policy.NoReason},
		"lower case":             {one("bearer " + token), policy.NoReason},
		"upper case":             {one("BEARER " + token), policy.NoReason},
		"more spaces":            {one("Bearer   " + token), policy.NoReason},
		"scheme alone":           {one("Bearer"), policy.MalformedCredential},
		"scheme and space":       {one("Bearer "), policy.MalformedCredential},
		"tab":                    {one("Bearer\t" + token), policy.MalformedCredential},
		"space and tab":          {one("Bearer \t" + token), policy.MalformedCredential},
		"comma":                  {one("Bearer," + token), policy.MalformedCredential},
		"space behind":           {one("Bearer " + token + " "), policy.MalformedCredential},
		"two joined":             {one("Bearer " + token + ", Bearer " + token), policy.MalformedCredential},
		"comma behind":           {one("Bearer " + token + ","), policy.MalformedCredential},
		"quoted":                 {one(`Bearer "` + token + `"`), policy.MalformedCredential},
		"parameter":              {one("Bearer token=" + token), policy.MalformedCredential},
		"NUL":                    {one("Bearer " + token + "\x00"), policy.MalformedCredential},
		"Bearer twice":           {one("Bearer Bearer " + token), policy.MalformedCredential},
		"two lines":              {append(one("Bearer "+token), one("Bearer "+token)...), policy.MalformedCredential},
		"two lines, one basic":   {append(one("Basic YTpi"), one("Bearer "+token)...), policy.MalformedCredential},
		"opaque":                 {one("Bearer c29tZXRoaW5n"), policy.MalformedCredential},
		"8 KiB and one":          {one("Bearer " + strings.Repeat("a", 8<<10+1)), policy.MalformedCredential},
		"60,000 dots":            {one("Bearer " + strings.Repeat(".", 60000)), policy.MalformedCredential},
		"8,000 dots":             {one("Bearer " + strings.Repeat(".", 8000)), policy.MalformedCredential},
		"two dots":               {one("Bearer .."), policy.MalformedCredential},
		"five parts":             {one("Bearer " + token + ".e30.e30"), policy.MalformedCredential},
	} {
		t.Run(name, func(t *testing.T) {
			outcome, err := evaluate(t, f.auth, &policy.Request{Headers: test.headers})
			if err != nil {
				t.Fatal(err)
			}
			if test.want == policy.NoReason {
				want := policy.Outcome{Verdict: policy.Passed, Principal: outcome.Principal, Remove: []string{"authorization"}}
				if diff := cmp.Diff(want, outcome); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				return
			}
			if outcome.Verdict != policy.Denied || outcome.Reason != test.want {
				t.Errorf("verdict %v, reason %v, want %v", outcome.Verdict, outcome.Reason, test.want)
			}
			missing := test.want == policy.MissingCredential
			if got := strings.Contains(outcome.Challenges[0], "error="); got == missing {
				t.Errorf("challenge %q", outcome.Challenges[0])
			}
		})
	}
}

func TestForwardKeepsTheCredential(t *testing.T) {
	f := newFixture(t)
	cfg := config("corp", f.issuer.JWKS())
	cfg.Forward = true
	auth := keys.NewAuthenticator([]*keys.Provider{compile(t, f.store, cfg)})
	for range 2 { // verified, and from the cache
		outcome, err := evaluate(t, auth, withToken(f.issuer.Token(keystest.Claims{})))
		if err != nil || outcome.Verdict != policy.Passed || len(outcome.Remove) != 0 {
			t.Errorf("%+v, %v", outcome, err)
		}
	}
}

// A hostile token costs no more than its size allows.
func TestHostileTokensAreCheap(t *testing.T) {
	f := newFixture(t)
	for name, token := range map[string]string{
		"60,000 dots": strings.Repeat(".", 60000),
		"dots":        strings.Repeat(".", 8<<10),
		"letters":     strings.Repeat("A", 8<<10),
		"brackets":    "W1tb." + strings.Repeat("W1tb", 2000) + ".",
	} {
		req := withToken(token)
		const runs = 20
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			if outcome, err := f.auth.Evaluate(t.Context(), req, &policy.Principal{}); err != nil || outcome.Verdict != policy.Denied {
				t.Fatalf("%+v, %v", outcome, err)
			}
		}
		runtime.ReadMemStats(&after)
		allocated := (after.TotalAlloc - before.TotalAlloc) / runs
		if allocated > 64<<10 {
			t.Errorf("%s: %d bytes are allocated", name, allocated)
		}
	}
}

// A token is read up to 8 KiB, however good it is, in the header and elsewhere.
func TestOversizedTokens(t *testing.T) {
	f := newFixture(t)
	cfg := config("corp", f.issuer.JWKS())
	cfg.From = everywhere()
	auth := keys.NewAuthenticator([]*keys.Provider{compile(t, f.store, cfg)})
	const limit = 8 << 10
	large := func(text int) string {
		return f.issuer.Token(keystest.Claims{Algorithm: "EdDSA", Extra: map[string]any{"text": strings.Repeat("x", text)}})
	}
	fits, tooLong := large(5000), large(5000)
	for text := 5000; len(tooLong) <= limit; text++ {
		fits, tooLong = tooLong, large(text)
	}
	for token, want := range map[string]policy.Reason{fits: policy.NoReason, tooLong: policy.MalformedCredential} {
		for place, req := range map[string]*policy.Request{
			"authorization": withToken(token), "header": withHeader("x-token", token), "cookie": withHeader("cookie", "session="+token),
			"query": {Query: "access_token=" + token}, "subprotocol": withHeader("sec-websocket-protocol", "bearer."+token),
		} {
			outcome, err := evaluate(t, auth, req)
			if err != nil || (outcome.Verdict == policy.Passed) != (want == policy.NoReason) || want != policy.NoReason && outcome.Reason != want {
				t.Errorf("%d bytes in the %s: %v, %v, %v", len(token), place, outcome.Verdict, outcome.Reason, err)
			}
		}
	}
}
