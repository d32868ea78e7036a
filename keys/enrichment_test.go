package keys_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const userInfoURL = "https://info.test/userinfo"

// enriched is a world whose only provider has tokens of an issuer, and asks a server more about their callers; answer may be replaced.
type enriched struct {
	*world
	asked  atomic.Int32
	answer http.HandlerFunc
	cfg    *configv1.Provider
	files  keys.Files
}

func userInfo(url string) *configv1.Enrichment {
	return &configv1.Enrichment{Source: &configv1.Enrichment_Userinfo{Userinfo: &configv1.UserInfo{Url: url}}}
}

func askService(url string) *configv1.Enrichment {
	return &configv1.Enrichment{Source: &configv1.Enrichment_Http{Http: &configv1.EnrichmentService{Url: url, Secret: environment("s3cret")}}}
}

func goOn(e *configv1.Enrichment) *configv1.Enrichment {
	e.OnFailure = configv1.EnrichmentFailure_ENRICHMENT_FAILURE_GO_ON
	return e
}

func enrichedBy(t *testing.T, enrich *configv1.Enrichment, test func(t *testing.T, e *enriched), change ...func(*configv1.Jwt)) {
	t.Helper()
	bubble(t, func(t *testing.T, w *world) {
		e := &enriched{world: w, files: keys.Files{
			Read: noFile, Secret: func(s *configv1.Secret) (string, error) { return s.GetEnv(), nil },
			Condition: func(source string) (func(*policy.Principal) (bool, error), error) {
				return func(p *policy.Principal) (bool, error) { return p.Claims[source] == true, nil }, nil
			},
		}}
		e.cfg = config("corp", w.issuer.JWKS())
		e.cfg.Enrich = enrich
		for _, change := range change {
			change(e.cfg.GetJwt())
		}
		e.answer = func(w http.ResponseWriter, _ *http.Request) {
			writeAnswer(w, map[string]any{"sub": "alice", "email": "a@example.com", "roles": []string{"editor"}})
		}
		issuer := w.network.handler
		w.network.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Host != "info.test" {
				issuer.ServeHTTP(w, r)
				return
			}
			e.asked.Add(1)
			e.answer(w, r)
		})
		w.auth = keys.NewAuthenticator([]*keys.Provider{e.provider()})
		w.run()
		test(t, e)
	})
}

func (e *enriched) provider() *keys.Provider {
	e.t.Helper()
	provider, err := e.store.Provider(e.cfg, e.files)
	if err != nil {
		e.t.Fatal(err)
	}
	return provider
}

// try returns the principal, or the reason of a denial, Unavailable for a fault.
func (e *enriched) try(token string) (*policy.Principal, policy.Reason) {
	e.t.Helper()
	outcome, err := e.auth.Evaluate(e.t.Context(), withToken(token), &policy.Principal{})
	var fault *policy.StageError
	switch {
	case errors.As(err, &fault):
		if strings.Contains(err.Error(), token) || strings.Contains(err.Error(), "s3cret") {
			e.t.Errorf("an error that holds the token or the secret: %v", err)
		}
		return nil, fault.Reason
	case err != nil:
		e.t.Fatal(err)
	case outcome.Verdict == policy.Passed:
		return outcome.Principal, policy.NoReason
	}
	return nil, outcome.Reason
}

func TestUserInfo(t *testing.T) {
	enrichedBy(t, userInfo(userInfoURL), func(t *testing.T, e *enriched) {
		var token string
		e.answer = func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.Header.Get("Authorization") != "Bearer "+token {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			writeAnswer(w, map[string]any{"sub": "alice", "email": "a@example.com", "roles": []string{"editor"}, "scope": "admin", "org": "acme"})
		}
		token = e.issuer.Token(keystest.Claims{Scope: "read"})
		p, reason := e.try(token)
		if reason != policy.NoReason {
			t.Fatalf("%v\n%s", reason, e.log)
		}
		got := []any{p.ID, p.Subject, p.Roles, p.Scopes, p.Tenant, p.Claims["email"], p.Claims["scope"]}
		if diff := cmp.Diff([]any{"alice", "alice", []string{"editor"}, []string{"read"}, "acme", "a@example.com", "read"}, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if counts := e.store.Enrichments(); counts[keys.Answers{Provider: "corp", Outcome: "ok"}] != 1 {
			t.Errorf("%v", counts)
		}
	}, func(jwt *configv1.Jwt) { jwt.Principal = &configv1.PrincipalClaims{Tenant: "org"} })
}

// The endpoint is the one that the issuer's own discovery document names, and a token of an https issuer goes nowhere in the clear.
func TestUserInfoIsDiscovered(t *testing.T) {
	for name, c := range map[string]struct {
		issuer, endpoint string
		want             policy.Reason
	}{
		"good":           {issuerName, userInfoURL, policy.NoReason},
		"another issuer": {"https://evil.test", userInfoURL, policy.Unavailable},
		"in the clear":   {issuerName, "http://info.test/userinfo", policy.Unavailable},
		"no URL":         {issuerName, "userinfo", policy.Unavailable},
		"absent":         {issuerName, "", policy.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			enrichedBy(t, userInfo(""), func(t *testing.T, e *enriched) {
				next := e.network.handler
				discoveries := 0
				e.network.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/.well-known/openid-configuration" {
						next.ServeHTTP(w, r)
						return
					}
					discoveries++
					writeAnswer(w, map[string]any{"issuer": c.issuer, "userinfo_endpoint": c.endpoint})
				}))
				for range 2 {
					if _, got := e.try(e.issuer.Token(keystest.Claims{})); got != c.want {
						t.Errorf("%v, want %v", got, c.want)
					}
				}
				if c.want == policy.NoReason && discoveries != 1 {
					t.Errorf("%d discoveries", discoveries)
				}
			})
		})
	}
}

func TestEnrichmentService(t *testing.T) {
	enrichedBy(t, askService("https://info.test/who"), func(t *testing.T, e *enriched) {
		e.answer = func(w http.ResponseWriter, r *http.Request) {
			var question map[string]string
			if err := json.NewDecoder(r.Body).Decode(&question); err != nil || r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer s3cret" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			want := map[string]string{"id": "alice", "subject": "alice", "provider": "corp", "issuer": issuerName, "tenant": ""}
			if diff := cmp.Diff(want, question); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			writeAnswer(w, map[string]any{"roles": []string{"owner"}, "sub": "mallory", "plan": "gold"})
		}
		p, reason := e.try(e.issuer.Token(keystest.Claims{}))
		if reason != policy.NoReason || p.Subject != "alice" || p.Claims["sub"] != "alice" || p.Claims["plan"] != "gold" || !cmp.Equal(p.Roles, []string{"owner"}) {
			t.Errorf("%v, %+v", reason, p)
		}
	})
}

// A token that its issuer disowns is refused, on_failure or not, and for a while without a question.
func TestDisownedToken(t *testing.T) {
	enrichedBy(t, goOn(userInfo(userInfoURL)), func(t *testing.T, e *enriched) {
		good := e.answer
		token := e.issuer.Token(keystest.Claims{})
		e.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }
		for range 3 {
			if _, reason := e.try(token); reason != policy.Revoked {
				t.Errorf("%v, want it revoked", reason)
			}
		}
		e.answer = good
		if asked := e.asked.Load(); asked != 1 {
			t.Errorf("%d questions", asked)
		}
		time.Sleep(5 * time.Second)
		if _, reason := e.try(token); reason != policy.NoReason {
			t.Error(reason)
		}
	})
}

// The server is not asked about a token that is not good, nor by a request that may not wait; an answer is believed for max_age and no
// longer than the token is good.
func TestEnrichmentIsRemembered(t *testing.T) {
	enrichedBy(t, userInfo(userInfoURL), func(t *testing.T, e *enriched) {
		for _, bad := range []keystest.Claims{{Audience: []string{"other"}}, {Extra: map[string]any{"exp": 1}}, {Extra: map[string]any{"sub": nil}}} {
			if _, reason := e.try(e.issuer.Token(bad)); reason == policy.NoReason || reason == policy.Unavailable {
				t.Errorf("%+v: %v", bad, reason)
			}
		}
		waits := withToken(e.issuer.Token(keystest.Claims{}))
		waits.NoWait = true
		if _, err := e.auth.Evaluate(t.Context(), waits, &policy.Principal{}); !errors.Is(err, policy.ErrWouldWait) {
			t.Errorf("a request that may not wait: %v", err)
		}
		if asked := e.asked.Load(); asked != 0 {
			t.Fatalf("%d questions", asked)
		}
		token := e.issuer.Token(keystest.Claims{Lifetime: 90 * time.Second}) // and the leeway of 30 s
		for _, step := range []struct {
			after time.Duration
			asked int32
			want  policy.Reason
		}{{0, 1, policy.NoReason}, {59 * time.Second, 1, policy.NoReason}, {time.Second, 2, policy.NoReason}, {59 * time.Second, 2, policy.NoReason}, {2 * time.Second, 2, policy.Expired}} {
			time.Sleep(step.after)
			if _, reason := e.try(token); reason != step.want || e.asked.Load() != step.asked {
				t.Errorf("%v later: %v after %d questions, want %v after %d", step.after, reason, e.asked.Load(), step.want, step.asked)
			}
		}
	})
}

// Callers with one token share a question; who goes away leaves it to the others.
func TestEnrichmentIsShared(t *testing.T) {
	enrichedBy(t, userInfo(userInfoURL), func(t *testing.T, e *enriched) {
		e.answer = func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			writeAnswer(w, map[string]any{"sub": "alice"})
		}
		token := e.issuer.Token(keystest.Claims{})
		var group sync.WaitGroup
		for n := range 200 {
			group.Go(func() {
				ctx := t.Context()
				if n%10 == 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
					defer cancel()
				}
				_, err := e.auth.Evaluate(ctx, withToken(token), &policy.Principal{})
				if (err != nil) != (n%10 == 0) || err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("caller %d: %v", n, err)
				}
			})
		}
		group.Wait()
		if got := e.asked.Load(); got != 1 {
			t.Errorf("%d questions", got)
		}
	})
}

// A flood of tokens that need a question opens a bounded number of them.
func TestEnrichmentFlood(t *testing.T) {
	enrichedBy(t, userInfo(userInfoURL), func(t *testing.T, e *enriched) {
		release := make(chan struct{})
		e.answer = func(w http.ResponseWriter, _ *http.Request) {
			<-release
			writeAnswer(w, map[string]any{"sub": "alice"})
		}
		reasons := make(chan policy.Reason, 150)
		for n := range 150 {
			go func() {
				_, reason := e.try(e.issuer.Token(keystest.Claims{Extra: map[string]any{"n": n}}))
				reasons <- reason
			}()
		}
		synctest.Wait()
		if got := e.asked.Load(); got != 100 {
			t.Errorf("%d questions are open, want 100", got)
		}
		close(release)
		counts := map[policy.Reason]int{}
		for range 150 {
			counts[<-reasons]++
		}
		if counts[policy.NoReason] != 100 || counts[policy.Unavailable] != 50 {
			t.Errorf("%v", counts)
		}
	})
}

// Conditions see what the server said; what the token must say itself, the server cannot.
func TestEnrichmentAndRules(t *testing.T) {
	enrichedBy(t, userInfo(userInfoURL), func(t *testing.T, e *enriched) {
		for name, c := range map[string]struct {
			claims keystest.Claims
			more   map[string]any
			want   policy.Reason
		}{
			"all":          {keystest.Claims{Extra: map[string]any{"kind": "user"}}, map[string]any{"verified": true}, policy.NoReason},
			"no condition": {keystest.Claims{Extra: map[string]any{"kind": "user"}}, map[string]any{"verified": false}, policy.InvalidClaims},
			"no claim":     {keystest.Claims{}, map[string]any{"verified": true, "kind": "user"}, policy.InvalidClaims},
			"overridden":   {keystest.Claims{Extra: map[string]any{"kind": "user", "verified": false}}, map[string]any{"verified": true}, policy.InvalidClaims},
		} {
			e.answer = func(w http.ResponseWriter, _ *http.Request) {
				c.more["sub"] = "alice"
				writeAnswer(w, c.more)
			}
			if _, got := e.try(e.issuer.Token(c.claims)); got != c.want {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
		}
	}, func(jwt *configv1.Jwt) {
		jwt.Conditions, jwt.Claims = []string{"verified"}, []*configv1.RequiredClaim{{Path: "kind", Values: []string{"user"}}}
	})
}

// Opaque tokens: the server of UserInfo is asked after the introspection server, and about the subject that one named.
func TestIntrospectionAndUserInfo(t *testing.T) {
	introspected(t, func(t *testing.T, i *inspected) {
		i.cfg.Enrich = userInfo(userInfoURL)
		i.auth = keys.NewAuthenticator([]*keys.Provider{i.provider()})
		next := i.network.handler
		asked := 0
		i.network.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Host != "info.test" {
				next.ServeHTTP(w, r)
				return
			}
			asked++
			writeAnswer(w, map[string]any{"sub": "alice", "email": r.Header.Get("Authorization")})
		}))
		for range 3 {
			outcome, err := i.auth.Evaluate(t.Context(), withToken("alice"), &policy.Principal{})
			if err != nil || outcome.Principal == nil || outcome.Principal.Claims["email"] != "Bearer alice" {
				t.Fatalf("%+v, %v", outcome, err)
			}
		}
		if asked != 1 || i.asked.Load() != 1 {
			t.Errorf("%d and %d questions", i.asked.Load(), asked)
		}
		if got := i.result("bob"); got != policy.Unavailable {
			t.Errorf("an answer about another subject: %v", got)
		}
	})
}

// What cannot be asked is refused at load.
func TestEnrichmentProvider(t *testing.T) {
	store := newStore(t, keys.Options{Now: time.Now})
	issuer := newIssuer(t, issuerName, time.Now)
	good := config("corp", issuer.JWKS())
	for field, change := range map[string]func(*configv1.Provider){
		"enrich": func(p *configv1.Provider) { p.Enrich = &configv1.Enrichment{} },
		"enrich.userinfo": func(p *configv1.Provider) {
			p.Enrich, p.GetJwt().Proof = userInfo("https://x"), &configv1.Proof{Certificate: &configv1.CertificateBinding{}}
		},
		"enrich.http.url":     func(p *configv1.Provider) { p.Enrich = askService("ftp://x") },
		"enrich.userinfo.url": func(p *configv1.Provider) { p.GetJwt().Issuer, p.Enrich = "corp", userInfo("") },
		"enrich.http.secret": func(p *configv1.Provider) {
			p.Enrich = askService("https://x")
			p.Enrich.GetHttp().Secret = environment("a b")
		},
	} {
		cfg := proto.CloneOf(good)
		change(cfg)
		_, err := store.Provider(cfg, keys.Files{Read: noFile, Secret: func(s *configv1.Secret) (string, error) { return s.GetEnv(), nil }})
		var fault *policy.FieldError
		if !errors.As(err, &fault) || fault.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// A token that is bound to its caller goes to no UserInfo endpoint: behind Bearer it would be refused there, and to somebody who has it without
// its key Kasbah would lend a hand.
func TestBoundTokensGoToNoUserInfo(t *testing.T) {
	enrichedBy(t, userInfo(userInfoURL), func(t *testing.T, e *enriched) {
		bound := e.issuer.Token(keystest.Claims{Extra: map[string]any{"cnf": map[string]any{"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}})
		if _, got := e.try(bound); got != policy.Unavailable || e.asked.Load() != 0 {
			t.Errorf("%v after %d questions", got, e.asked.Load())
		}
	})
}

// A provider whose server gives no answer leaves the token to the next one that has its issuer, and one that was asked about the token on
// another route does not go before it.
func TestEnrichmentBesideAnother(t *testing.T) {
	enrichedBy(t, userInfo(userInfoURL), func(t *testing.T, e *enriched) {
		plain, err := e.store.Provider(config("plain", e.issuer.JWKS()), e.files)
		if err != nil {
			t.Fatal(err)
		}
		both, token := keys.NewAuthenticator([]*keys.Provider{e.provider(), plain}), e.issuer.Token(keystest.Claims{})
		by := func(auth *keys.Authenticator) string {
			t.Helper()
			outcome, err := auth.Evaluate(t.Context(), withToken(token), &policy.Principal{})
			if err != nil || outcome.Principal == nil {
				t.Fatalf("%+v, %v", outcome, err)
			}
			return outcome.Principal.Provider
		}
		good := e.answer
		e.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
		if got := by(both); got != "plain" {
			t.Errorf("without an answer: %s", got)
		}
		e.answer = good
		time.Sleep(time.Second)
		if got := by(keys.NewAuthenticator([]*keys.Provider{plain})); got != "plain" {
			t.Errorf("another route: %s", got)
		}
		if got := by(both); got != "corp" {
			t.Errorf("with an answer again: %s", got)
		}
	})
}
