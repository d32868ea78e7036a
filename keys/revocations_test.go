package keys_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// A token that was withdrawn is refused, remembered or not, and nobody else's is.
func TestRevocations(t *testing.T) {
	f := newFixture(t)
	provider := compile(t, f.store, config("corp", f.issuer.JWKS()))
	token := f.issuer.Token(keystest.Claims{Extra: map[string]any{"jti": "j1", "sid": "s1"}})
	undated := f.issuer.Token(keystest.Claims{Extra: map[string]any{"jti": "j1", "iat": nil}})
	at := func(d time.Duration) string { return instant.Add(d).UTC().Format(time.RFC3339) }
	if got := reason(t, keys.NewAuthenticator([]*keys.Provider{provider}), token); got != policy.NoReason {
		t.Fatal(got) // and now it is remembered
	}
	for name, c := range map[string]struct {
		entry   *configv1.RevokedCredentials
		revoked bool
		undated bool // the token that does not say when it was issued
	}{
		"jti": {&configv1.RevokedCredentials{Jti: "j1"}, true, true}, "another jti": {&configv1.RevokedCredentials{Jti: "J1"}, false, false}, "jti of its issuer": {&configv1.RevokedCredentials{Jti: "j1", Issuer: issuerName}, true, true},
		"jti of another issuer": {&configv1.RevokedCredentials{Jti: "j1", Issuer: issuerName + "/"}, false, false}, "sid": {&configv1.RevokedCredentials{Sid: "s1"}, true, false},
		"sid that is its jti": {&configv1.RevokedCredentials{Sid: "j1"}, false, false}, "sub": {&configv1.RevokedCredentials{Sub: "alice"}, true, true},
		"sub, issued before": {&configv1.RevokedCredentials{Sub: "alice", Before: at(time.Minute)}, true, true}, "sub, issued then": {&configv1.RevokedCredentials{Sub: "alice", Before: at(0)}, true, true},
		"sub, issued later": {&configv1.RevokedCredentials{Sub: "alice", Before: at(-time.Second)}, false, true}, "issuer": {&configv1.RevokedCredentials{Issuer: issuerName}, true, true},
		"issuer, issued later": {&configv1.RevokedCredentials{Issuer: issuerName, Before: at(-time.Second)}, false, true}, "another issuer": {&configv1.RevokedCredentials{Issuer: "x"}, false, false},
		"until later": {&configv1.RevokedCredentials{Jti: "j1", Until: at(time.Second)}, true, true}, "until now": {&configv1.RevokedCredentials{Jti: "j1", Until: at(0)}, false, false},
	} {
		revocations, err := f.store.Revocations(&configv1.RevocationFile{Revoked: []*configv1.RevokedCredentials{{Sub: "bob"}, c.entry}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		auth := keys.NewAuthenticator([]*keys.Provider{provider}, keys.Demand{Revoked: revocations})
		for which, want := range map[string]bool{token: c.revoked, undated: c.undated} {
			if got := reason(t, auth, which); (got == policy.Revoked) != want || got != policy.Revoked && got != policy.NoReason {
				t.Errorf("%s: %v, want it revoked: %t", name, got, want)
			}
		}
	}
	for name, entry := range map[string]*configv1.RevokedCredentials{
		"revoked[0]": {}, "revoked[0] ": {Jti: "a", Sub: "b"}, "revoked[0].before": {Sub: "a", Before: "yesterday"}, "revoked[0].until": {Sub: "a", Until: "2027"},
	} {
		var fault *policy.FieldError
		if _, err := f.store.Revocations(&configv1.RevocationFile{Revoked: []*configv1.RevokedCredentials{entry}}); !errors.As(err, &fault) || fault.Field != name[:len(fault.Field)] {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A key of ours, and one among those that must accept too, can be withdrawn like a token.
func TestRevocationOfOthers(t *testing.T) {
	f := newFixture(t)
	device := newIssuer(t, "https://devices.test", f.Now)
	cfg := config("device", device.JWKS())
	cfg.GetJwt().Issuer, cfg.From = "https://devices.test", []*configv1.Location{header("x-device", "")}
	revocations, err := f.store.Revocations(&configv1.RevocationFile{Revoked: []*configv1.RevokedCredentials{{Sub: "phone"}}})
	if err != nil {
		t.Fatal(err)
	}
	auth := keys.NewAuthenticator([]*keys.Provider{compile(t, f.store, config("corp", f.issuer.JWKS()))}, keys.Demand{Also: []*keys.Provider{compile(t, f.store, cfg)}, Revoked: revocations, Anonymous: "guest"})
	for subject, want := range map[string]bool{"phone": true, "tablet": false} {
		req := withToken(f.issuer.Token(keystest.Claims{}))
		req.Headers = append(req.Headers, policy.Header{Name: "x-device", Value: device.Token(keystest.Claims{Subject: subject})})
		outcome, err := evaluate(t, auth, req)
		if err != nil || (outcome.Reason == policy.Revoked) != want || !want && outcome.Verdict != policy.Passed {
			t.Errorf("%s: %+v, %v; want it revoked: %t", subject, outcome, err, want)
		}
	}
}

// Whatever entries there are, a token is refused just if a plain reading of one of them says so.
func TestRevocationsAgainstAModel(t *testing.T) {
	f := newFixture(t)
	provider := compile(t, f.store, config("corp", f.issuer.JWKS()))
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]string{"a", "b", "c"})
		jti, sid, sub := word.Draw(t, "jti"), word.Draw(t, "sid"), word.Draw(t, "sub")
		issued := instant.Add(-time.Duration(rapid.IntRange(0, 3).Draw(t, "issued")) * time.Second)
		file, want := &configv1.RevocationFile{}, false
		for range rapid.IntRange(0, 4).Draw(t, "entries") {
			e := &configv1.RevokedCredentials{Issuer: rapid.SampledFrom([]string{"", issuerName, "x"}).Draw(t, "issuer")}
			hit := e.GetIssuer() == "" || e.GetIssuer() == issuerName
			switch value := word.Draw(t, "value"); rapid.SampledFrom([]string{"jti", "sid", "sub", "iss"}).Draw(t, "kind") {
			case "jti":
				e.Jti, hit = value, hit && value == jti
			case "sid":
				e.Sid, hit = value, hit && value == sid
			case "sub":
				e.Sub, hit = value, hit && value == sub
			default:
				if e.GetIssuer() == "" {
					e.Issuer, hit = "x", false
				}
			}
			if e.GetJti() == "" && e.GetSid() == "" && rapid.Bool().Draw(t, "dated") {
				before := instant.Add(-time.Duration(rapid.IntRange(0, 3).Draw(t, "before")) * time.Second)
				e.Before, hit = before.UTC().Format(time.RFC3339), hit && !issued.After(before)
			}
			file.Revoked, want = append(file.Revoked, e), want || hit
		}
		revocations, err := f.store.Revocations(file)
		if err != nil {
			t.Fatal(err)
		}
		auth := keys.NewAuthenticator([]*keys.Provider{provider}, keys.Demand{Revoked: revocations})
		token := f.issuer.Token(keystest.Claims{Subject: sub, Algorithm: "EdDSA", Extra: map[string]any{"jti": jti, "sid": sid, "iat": issued.Unix()}})
		outcome, err := auth.Evaluate(t.Context(), withToken(token), &policy.Principal{})
		if err != nil || (outcome.Reason == policy.Revoked) != want || !want && outcome.Verdict != policy.Passed {
			t.Fatalf("%v: %+v, %v; want it revoked: %t", file, outcome, err, want)
		}
	})
}
