package keys_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const issuerName = "https://issuer.test"

var instant = time.Unix(1_800_000_000, 0)

// clock is a clock that a test moves by hand.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newIssuer(t testing.TB, name string, now func() time.Time) *keystest.Issuer {
	t.Helper()
	issuer, err := keystest.New(name)
	if err != nil {
		t.Fatal(err)
	}
	issuer.Now = now
	return issuer
}

func newStore(t testing.TB, options keys.Options) *keys.Store {
	t.Helper()
	store, err := keys.NewStore(options)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// config is a provider with the usual settings and its key set in the text.
func config(name string, jwks []byte) *configv1.Provider {
	return &configv1.Provider{Name: name, Kind: &configv1.Provider_Jwt{Jwt: &configv1.Jwt{
		Issuer: issuerName, Audiences: []string{"api"}, Algorithms: []string{"RS256", "ES256", "EdDSA"},
		Jwks: &configv1.Jwks{Source: &configv1.Jwks_Inline{Inline: string(jwks)}},
	}}}
}

func noFile(string) ([]byte, error) { return nil, errors.New("no file here") }

func compile(t testing.TB, store *keys.Store, cfg *configv1.Provider) *keys.Provider {
	t.Helper()
	provider, err := store.Provider(cfg, keys.Files{Read: noFile})
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

// fixture is an issuer, a store on the same clock, and an authenticator of one provider.
type fixture struct {
	*clock
	issuer *keystest.Issuer
	store  *keys.Store
	auth   *keys.Authenticator
}

func newFixture(t testing.TB, change ...func(*configv1.Jwt)) *fixture {
	t.Helper()
	f := &fixture{clock: &clock{instant}}
	f.issuer = newIssuer(t, issuerName, f.Now)
	f.store = newStore(t, keys.Options{Now: f.Now})
	cfg := config("corp", f.issuer.JWKS())
	for _, change := range change {
		change(cfg.GetJwt())
	}
	f.auth = keys.NewAuthenticator([]*keys.Provider{compile(t, f.store, cfg)})
	return f
}

func withToken(token string) *policy.Request {
	return &policy.Request{Headers: policy.Headers{{Name: "authorization", Value: "Bearer " + token}}}
}

// evaluate asks the stage, and checks what must hold of every answer.
func evaluate(t testing.TB, auth *keys.Authenticator, req *policy.Request) (policy.Outcome, error) {
	t.Helper()
	return evaluateContext(t.Context(), t, auth, req)
}

func evaluateContext(ctx context.Context, t testing.TB, auth *keys.Authenticator, req *policy.Request) (policy.Outcome, error) {
	t.Helper()
	outcome, err := auth.Evaluate(ctx, req, &policy.Principal{})
	switch {
	case err != nil:
		if outcome.Principal != nil || outcome.Verdict != policy.Denied {
			t.Errorf("an outcome beside an error: %+v", outcome)
		}
	case outcome.Verdict == policy.Passed:
		if outcome.Principal.Anonymous() || outcome.Principal.ID == "" || outcome.Principal.Subject == "" {
			t.Errorf("passed on with the principal %+v", outcome.Principal)
		}
	case outcome.Verdict == policy.Denied:
		if outcome.Principal != nil || outcome.Reason == policy.Internal || outcome.Detail == "" || len(outcome.Challenges) != 1 {
			t.Errorf("a bad denial: %+v", outcome)
		}
	default:
		t.Errorf("the verdict is %v", outcome.Verdict)
	}
	return outcome, err
}

// reason returns why the token is denied, policy.NoReason for one that is accepted.
func reason(t testing.TB, auth *keys.Authenticator, token string) policy.Reason {
	t.Helper()
	outcome, err := evaluate(t, auth, withToken(token))
	if err != nil {
		t.Fatalf("the stage failed: %v", err)
	}
	if outcome.Verdict == policy.Passed {
		return policy.NoReason
	}
	return outcome.Reason
}
