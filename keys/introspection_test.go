package keys_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const introspectionURL = "https://as.test/introspect"

func environment(name string) *configv1.Secret {
	return &configv1.Secret{Source: &configv1.Secret_Env{Env: name}}
}

// inspected is a world whose only provider asks a server about tokens; answer may be replaced.
type inspected struct {
	*world
	asked  atomic.Int32
	answer func(w http.ResponseWriter, token string, r *http.Request)
	cfg    *configv1.Provider
	files  keys.Files
}

func introspected(t *testing.T, test func(t *testing.T, i *inspected), change ...func(*configv1.Introspection)) {
	t.Helper()
	bubble(t, func(t *testing.T, w *world) {
		i := &inspected{world: w, files: keys.Files{Read: noFile, Secret: func(s *configv1.Secret) (string, error) { return s.GetEnv(), nil }}}
		message := &configv1.Introspection{Url: introspectionURL, ClientId: "kasbah", ClientSecret: environment("s3cret/:&"), Audiences: []string{"api"}}
		for _, change := range change {
			change(message)
		}
		i.cfg = &configv1.Provider{Name: "opaque", Kind: &configv1.Provider_Introspection{Introspection: message}}
		i.answer = func(w http.ResponseWriter, token string, _ *http.Request) { writeAnswer(w, goodAnswer(token)) }
		issuer := w.network.handler
		w.network.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Host != "as.test" {
				issuer.ServeHTTP(w, r)
				return
			}
			i.asked.Add(1)
			if err := r.ParseForm(); err != nil || r.Method != http.MethodPost {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			i.answer(w, r.PostForm.Get("token"), r)
		})
		w.auth = keys.NewAuthenticator([]*keys.Provider{i.provider()})
		w.run()
		test(t, i)
	})
}

func (i *inspected) provider() *keys.Provider {
	i.t.Helper()
	provider, err := i.store.Provider(i.cfg, i.files)
	if err != nil {
		i.t.Fatal(err)
	}
	return provider
}

func goodAnswer(subject string) map[string]any {
	return map[string]any{
		"active": true, "sub": subject, "aud": "api", "scope": "read write", "client_id": "app", "roles": []any{"reader"},
		"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
	}
}

func writeAnswer(w io.Writer, answer any) {
	text, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(text)
}

// result is the reason of a denial, Unavailable for a fault, NoReason for a principal.
func (i *inspected) result(token string) policy.Reason {
	i.t.Helper()
	outcome, err := i.auth.Evaluate(i.t.Context(), withToken(token), &policy.Principal{})
	var fault *policy.StageError
	switch {
	case errors.As(err, &fault):
		if strings.Contains(err.Error(), token) || strings.Contains(err.Error(), "s3cret") {
			i.t.Errorf("an error that holds the token or the secret: %v", err)
		}
		return fault.Reason
	case err != nil:
		i.t.Fatalf("%v", err)
	case outcome.Verdict == policy.Passed:
		return policy.NoReason
	}
	return outcome.Reason
}

// TestIntrospectionAnswers: of every answer there is one reading, and what is none lets nobody in and is not remembered
// (THREATS a.6, Authorino 651).
func TestIntrospectionAnswers(t *testing.T) {
	change := func(name string, value any) string {
		answer := goodAnswer("alice")
		if value == nil {
			delete(answer, name)
		} else {
			answer[name] = value
		}
		var text bytes.Buffer
		writeAnswer(&text, answer)
		return text.String()
	}
	introspected(t, func(t *testing.T, i *inspected) {
		n := 0
		for name, c := range map[string]struct {
			status int
			body   string
			want   policy.Reason
		}{
			"good": {200, change("x", 1), policy.NoReason}, "no exp": {200, change("exp", nil), policy.NoReason}, "no iat": {200, change("iat", nil), policy.NoReason},
			"inactive": {200, `{"active":false}`, policy.Revoked}, "inactive with more": {200, change("active", false), policy.Revoked},
			"no active": {200, change("active", nil), policy.Unavailable}, "active is a text": {200, change("active", "true"), policy.Unavailable},
			"active is a number": {200, change("active", 1), policy.Unavailable}, "active is null": {200, change("active", json.RawMessage("null")), policy.Unavailable},
			"active twice": {200, `{"active":false,"active":true,"sub":"a","aud":"api"}`, policy.Unavailable}, "Active": {200, `{"Active":true,"sub":"a","aud":"api"}`, policy.Unavailable},
			"empty": {200, "", policy.Unavailable}, "null": {200, "null", policy.Unavailable}, "a list": {200, "[]", policy.Unavailable}, "nothing": {200, "{}", policy.Unavailable},
			"HTML": {200, "<html>", policy.Unavailable}, "cut": {200, `{"active":true,"sub"`, policy.Unavailable}, "more behind": {200, `{"active":false}{}`, policy.Unavailable},
			"too long": {200, `{"active":true,"x":"` + strings.Repeat("x", 64<<10) + `"}`, policy.Unavailable}, "401": {401, `{"active":true}`, policy.Unavailable},
			"500": {500, "", policy.Unavailable}, "204": {204, "", policy.Unavailable}, "302": {302, "", policy.Unavailable},
			"expired": {200, change("exp", 1), policy.Expired}, "exp is a text": {200, change("exp", "1"), policy.InvalidClaims}, "not yet": {200, change("nbf", time.Now().Add(time.Hour).Unix()), policy.NotYetValid},
			"another audience": {200, change("aud", "other"), policy.WrongAudience}, "no audience": {200, change("aud", nil), policy.WrongAudience},
			"a refresh token of Hydra": {200, change("token_use", "refresh_token"), policy.InvalidClaims}, "an access token of Hydra": {200, change("token_use", "access_token"), policy.NoReason},
			"a refresh token of Keycloak": {200, change("typ", "Refresh"), policy.InvalidClaims}, "an offline token": {200, change("typ", "Offline"), policy.InvalidClaims},
			"an ID token": {200, change("typ", "ID"), policy.InvalidClaims}, "an access token of Keycloak": {200, change("typ", "Bearer"), policy.NoReason},
			"a refresh token by its type": {200, change("token_type", "refresh_token"), policy.InvalidClaims}, "an access token by its type": {200, change("token_type", "Bearer"), policy.NoReason},
			"no subject": {200, change("sub", nil), policy.InvalidClaims}, "sub is a number": {200, change("sub", 7), policy.InvalidClaims},
		} {
			n++
			i.answer = func(w http.ResponseWriter, _ string, _ *http.Request) {
				if c.status == 302 {
					w.Header().Set("Location", "https://elsewhere.test/")
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}
			token := fmt.Sprintf("token-%d", n)
			if got := i.result(token); got != c.want {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
			if c.want != policy.Unavailable {
				continue
			}
			i.answer = func(w http.ResponseWriter, token string, _ *http.Request) { writeAnswer(w, goodAnswer(token)) }
			if got := i.result(token); got != policy.NoReason {
				t.Errorf("%s, and then a good answer: %v", name, got)
			}
		}
		if _, others := i.network.count(introspectionURL); len(others) > 1 { // the world's own key set
			t.Errorf("asked as well: %q", others)
		}
		if counts := i.store.Introspections(); counts[keys.Answers{Provider: "opaque", Outcome: "failed"}] == 0 || counts[keys.Answers{Provider: "opaque", Outcome: "inactive"}] != 2 {
			t.Errorf("counted: %v", counts)
		}
	})
}

// An active answer is believed for a minute or until the token ends, an inactive one for 5 s, and no longer.
func TestIntrospectionIsRemembered(t *testing.T) {
	introspected(t, func(t *testing.T, i *inspected) {
		expect := func(when, token string, want policy.Reason, asked int32) {
			t.Helper()
			if got := i.result(token); got != want || i.asked.Load() != asked {
				t.Errorf("%s: %v after %d questions, want %v after %d", when, got, i.asked.Load(), want, asked)
			}
		}
		expect("first", "alice", policy.NoReason, 1)
		time.Sleep(59 * time.Second)
		i.answer = func(w http.ResponseWriter, _ string, _ *http.Request) { _, _ = io.WriteString(w, `{"active":false}`) }
		expect("a minute less one second", "alice", policy.NoReason, 1)
		time.Sleep(time.Second)
		expect("a minute", "alice", policy.Revoked, 2)
		time.Sleep(4 * time.Second)
		i.answer = func(w http.ResponseWriter, token string, _ *http.Request) { writeAnswer(w, goodAnswer(token)) }
		expect("4 s after no", "alice", policy.Revoked, 2)
		time.Sleep(time.Second)
		expect("5 s after no", "alice", policy.NoReason, 3)

		i.answer = func(w http.ResponseWriter, token string, _ *http.Request) {
			answer := goodAnswer(token)
			answer["exp"] = time.Now().Add(10 * time.Second).Unix()
			writeAnswer(w, answer)
		}
		expect("a short one", "bob", policy.NoReason, 4)
		time.Sleep(39 * time.Second) // with the leeway
		expect("before its end", "bob", policy.NoReason, 4)
		i.answer = func(w http.ResponseWriter, _ string, _ *http.Request) { _, _ = io.WriteString(w, `{"active":false}`) }
		time.Sleep(2 * time.Second)
		expect("behind its end", "bob", policy.Revoked, 5)
	})
}

// An inactive answer is remembered though nobody waited for it: a caller who hangs up each time does not make each request
// a question.
func TestIntrospectionIsRememberedWithoutWaiters(t *testing.T) {
	introspected(t, func(t *testing.T, i *inspected) {
		i.answer = func(w http.ResponseWriter, _ string, _ *http.Request) {
			time.Sleep(time.Second)
			_, _ = io.WriteString(w, `{"active":false}`)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := i.auth.Evaluate(ctx, withToken("alice"), &policy.Principal{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who goes away: %v", err)
		}
		time.Sleep(2 * time.Second)
		if got := i.result("alice"); got != policy.Revoked || i.asked.Load() != 1 {
			t.Errorf("%v after %d questions, want %v after 1", got, i.asked.Load(), policy.Revoked)
		}
	})
}

// Callers with one token share a question, which does not end with the first of them; those with another token, or on another
// provider, do not (THREATS a.6, Traefik CVE-2026-71326).
func TestIntrospectionIsShared(t *testing.T) {
	introspected(t, func(t *testing.T, i *inspected) {
		other := proto.CloneOf(i.cfg)
		other.Name, other.GetIntrospection().Url = "other", "https://as.test/other"
		second, err := i.store.Provider(other, i.files)
		if err != nil {
			t.Fatal(err)
		}
		i.answer = func(w http.ResponseWriter, token string, r *http.Request) {
			time.Sleep(time.Second)
			writeAnswer(w, goodAnswer(r.URL.Path+token))
		}
		auths := map[string]*keys.Authenticator{"/introspect": i.auth, "/other": keys.NewAuthenticator([]*keys.Provider{second})}
		var group sync.WaitGroup
		for path, auth := range auths {
			for _, token := range []string{"a", "b"} {
				for n := range 250 {
					group.Go(func() {
						ctx := t.Context()
						if n%10 == 0 { // who goes away early
							var cancel context.CancelFunc
							ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
							defer cancel()
						}
						outcome, err := auth.Evaluate(ctx, withToken(token), &policy.Principal{})
						if n%10 == 0 {
							if !errors.Is(err, context.DeadlineExceeded) {
								t.Errorf("who goes away: %+v, %v", outcome, err)
							}
							return
						}
						if err != nil || outcome.Principal == nil || outcome.Principal.ID != path+token {
							t.Errorf("%s %s: %+v, %v", path, token, outcome, err)
						}
					})
				}
			}
		}
		group.Wait()
		if got := i.asked.Load(); got != 4 {
			t.Errorf("%d questions, want 4", got)
		}
	})
}

// A flood of tokens that nobody knows costs no more than a bounded number of questions at a time, and no good token its place.
func TestIntrospectionFlood(t *testing.T) {
	introspected(t, func(t *testing.T, i *inspected) {
		if got := i.result("alice"); got != policy.NoReason {
			t.Fatal(got)
		}
		release := make(chan struct{})
		i.answer = func(w http.ResponseWriter, _ string, _ *http.Request) {
			<-release
			_, _ = io.WriteString(w, `{"active":false}`)
		}
		reasons := make(chan policy.Reason, 300)
		for n := range 300 {
			go func() { reasons <- i.result(fmt.Sprintf("unknown-%d", n)) }()
		}
		synctest.Wait()
		if got := i.asked.Load(); got != 101 {
			t.Errorf("%d questions are open, want 100", got-1)
		}
		if got := i.result("alice"); got != policy.NoReason || i.asked.Load() != 101 {
			t.Errorf("a good one among them: %v", got)
		}
		close(release)
		counts := map[policy.Reason]int{}
		for range 300 {
			counts[<-reasons]++
		}
		if counts[policy.Unavailable] != 200 || counts[policy.Revoked] != 100 {
			t.Errorf("%v", counts)
		}
	})
}

// A server that does not answer is waited for no longer than its time, and a caller that must not wait is not kept.
func TestIntrospectionOutage(t *testing.T) {
	introspected(t, func(t *testing.T, i *inspected) {
		req := withToken("alice")
		req.NoWait = true
		if _, err := i.auth.Evaluate(t.Context(), req, &policy.Principal{}); !errors.Is(err, policy.ErrWouldWait) || i.asked.Load() != 0 {
			t.Errorf("without waiting: %v", err)
		}
		good := i.answer
		i.answer = func(_ http.ResponseWriter, _ string, r *http.Request) { <-r.Context().Done() }
		start := time.Now()
		if got := i.result("alice"); got != policy.Unavailable || time.Since(start) != 2*time.Second {
			t.Errorf("a server that hangs: %v after %v", got, time.Since(start))
		}
		for range 50 {
			i.result("alice")
		}
		if got := strings.Count(i.log.String(), "gives no answer"); got < 2 || got > 11 {
			t.Errorf("%d complaints in 100 s", got)
		}
		i.answer = good
		if got := i.result("alice"); got != policy.NoReason {
			t.Errorf("when it is back: %v", got)
		}
		if _, err := i.auth.Evaluate(t.Context(), req, &policy.Principal{}); err != nil {
			t.Errorf("remembered, without waiting: %v", err)
		}
	})
}

// The server is told who asks, in each of the three ways.
func TestIntrospectionClient(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := pemOf(t, private)
	for name, c := range map[string]struct {
		change func(*configv1.Introspection)
		holds  func(r *http.Request) bool
	}{
		"basic": {func(*configv1.Introspection) {}, func(r *http.Request) bool {
			user, password, _ := r.BasicAuth()
			return user == "kasbah" && password == "s3cret%2F%3A%26" && r.PostForm.Get("client_secret") == ""
		}},
		"post": {func(m *configv1.Introspection) {
			m.Authentication = configv1.ClientAuthentication_CLIENT_AUTHENTICATION_POST
		}, func(r *http.Request) bool {
			return r.PostForm.Get("client_id") == "kasbah" && r.PostForm.Get("client_secret") == "s3cret/:&" && r.Header.Get("Authorization") == ""
		}},
		"private_key_jwt": {func(m *configv1.Introspection) {
			m.Authentication, m.ClientSecret, m.PrivateKey, m.KeyId = configv1.ClientAuthentication_CLIENT_AUTHENTICATION_PRIVATE_KEY_JWT, nil, environment(text), "ours"
		}, func(r *http.Request) bool {
			token, err := jwt.Parse(r.PostForm.Get("client_assertion"), func(t *jwt.Token) (any, error) { return &private.PublicKey, nil },
				jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience(introspectionURL), jwt.WithIssuer("kasbah"), jwt.WithSubject("kasbah"), jwt.WithExpirationRequired())
			return err == nil && token.Header["kid"] == "ours" && r.PostForm.Get("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
		}},
	} {
		introspected(t, func(t *testing.T, i *inspected) {
			good := i.answer
			i.answer = func(w http.ResponseWriter, token string, r *http.Request) {
				if !c.holds(r) {
					t.Errorf("%s: %v, %v", name, r.Header, r.PostForm)
				}
				good(w, token, r)
			}
			if got := i.result("alice"); got != policy.NoReason {
				t.Errorf("%s: %v", name, got)
			}
		}, c.change)
	}
}

// A signed answer is for us and by its server, or it is none (RFC 9701).
func TestSignedIntrospection(t *testing.T) {
	introspected(t, func(t *testing.T, i *inspected) {
		elsewhere := newIssuer(t, issuerName, time.Now)
		wrap := func(by *keystest.Issuer, typ string, changes map[string]any) string {
			claims := map[string]any{"aud": "kasbah", "sub": nil, "exp": nil, "token_introspection": goodAnswer("alice")}
			for name, value := range changes {
				claims[name] = value
			}
			return by.TokenWithHeader(keystest.Claims{Extra: claims}, map[string]any{"typ": typ})
		}
		for name, c := range map[string]struct {
			body string
			want policy.Reason
		}{
			"good":             {wrap(i.issuer, "token-introspection+jwt", nil), policy.NoReason},
			"inactive":         {wrap(i.issuer, "token-introspection+jwt", map[string]any{"token_introspection": map[string]any{"active": false}}), policy.Revoked},
			"plain":            {`{"active":true,"sub":"alice","aud":"api"}`, policy.Unavailable},
			"another type":     {wrap(i.issuer, "JWT", nil), policy.Unavailable},
			"another key":      {wrap(elsewhere, "token-introspection+jwt", nil), policy.Unavailable},
			"another issuer":   {wrap(i.issuer, "token-introspection+jwt", map[string]any{"iss": "https://other.test"}), policy.Unavailable},
			"another audience": {wrap(i.issuer, "token-introspection+jwt", map[string]any{"aud": "them"}), policy.Unavailable},
			"an old answer":    {wrap(i.issuer, "token-introspection+jwt", map[string]any{"iat": time.Now().Add(-2 * time.Minute).Unix()}), policy.Unavailable},
			"no time":          {wrap(i.issuer, "token-introspection+jwt", map[string]any{"iat": nil}), policy.Unavailable},
			"no answer inside": {wrap(i.issuer, "token-introspection+jwt", map[string]any{"token_introspection": nil}), policy.Unavailable},
		} {
			i.answer = func(w http.ResponseWriter, _ string, r *http.Request) {
				if r.Header.Get("Accept") != "application/token-introspection+jwt" {
					t.Errorf("asked for %s", r.Header.Get("Accept"))
				}
				_, _ = io.WriteString(w, c.body)
			}
			if got := i.result("t" + strings.ReplaceAll(name, " ", "")); got != c.want {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
		}
	}, func(m *configv1.Introspection) {
		m.Signed = &configv1.SignedAnswers{Issuer: issuerName, Algorithms: []string{"RS256"}, Jwks: &configv1.Jwks{Source: &configv1.Jwks_Url{Url: keysURL}}}
	})
}

// A signed answer is remembered as long as its key is the server's: one whose key was taken out is asked for anew.
func TestSignedAnswersEndWithTheirKey(t *testing.T) {
	wrap := func(by *keystest.Issuer) func(http.ResponseWriter, string, *http.Request) {
		return func(w http.ResponseWriter, token string, _ *http.Request) {
			_, _ = io.WriteString(w, by.TokenWithHeader(keystest.Claims{Extra: map[string]any{
				"aud": "kasbah", "sub": nil, "exp": nil, "token_introspection": goodAnswer(token),
			}}, map[string]any{"typ": "token-introspection+jwt"}))
		}
	}
	asked := func(t *testing.T, i *inspected, when string, want int32) {
		t.Helper()
		if got := i.result("alice"); got != policy.NoReason || i.asked.Load() != want {
			t.Errorf("%s: %v after %d questions, want %d", when, got, i.asked.Load(), want)
		}
	}
	introspected(t, func(t *testing.T, i *inspected) { // keys that are fetched
		i.answer = wrap(i.issuer)
		asked(t, i, "first", 1)
		asked(t, i, "remembered", 1)
		i.issuer.Rotate()
		i.issuer.Rotate()
		time.Sleep(time.Minute)
		if got := i.result("bob"); got != policy.NoReason { // whose answer makes the new keys be fetched
			t.Errorf("another token: %v", got)
		}
		asked(t, i, "with other keys", 3)
		asked(t, i, "remembered again", 3)
	}, func(m *configv1.Introspection) {
		m.MaxAge = durationpb.New(time.Hour)
		m.Signed = &configv1.SignedAnswers{Issuer: issuerName, Algorithms: []string{"RS256"}, Jwks: &configv1.Jwks{Source: &configv1.Jwks_Url{Url: keysURL}}}
	})
	introspected(t, func(t *testing.T, i *inspected) { // keys of a file
		document := i.issuer.JWKS()
		i.files.Read = func(string) ([]byte, error) { return document, nil }
		i.cfg.GetIntrospection().Signed = &configv1.SignedAnswers{Issuer: issuerName, Algorithms: []string{"RS256"}, Jwks: &configv1.Jwks{Source: &configv1.Jwks_File{File: "keys.json"}}}
		i.auth, i.answer = keys.NewAuthenticator([]*keys.Provider{i.provider()}), wrap(i.issuer)
		asked(t, i, "first", 1)
		i.auth = keys.NewAuthenticator([]*keys.Provider{i.provider()})
		asked(t, i, "loaded anew", 1)
		elsewhere := newIssuer(t, issuerName, time.Now)
		document, i.answer = elsewhere.JWKS(), wrap(elsewhere)
		i.auth = keys.NewAuthenticator([]*keys.Provider{i.provider()})
		asked(t, i, "with another file", 2)
	})
}

// A JWT is for its provider, whatever else the route accepts; what that one does not accept is asked about.
func TestIntrospectionBesideJWT(t *testing.T) {
	introspected(t, func(t *testing.T, i *inspected) {
		i.auth = keys.NewAuthenticator([]*keys.Provider{compile(t, i.store, remoteConfig("corp", keysURL)), i.provider()})
		if got := i.result(i.issuer.Token(keystest.Claims{})); got != policy.NoReason || i.asked.Load() != 0 {
			t.Errorf("a token of the issuer: %v, %d questions", got, i.asked.Load())
		}
		if got := i.result("opaque"); got != policy.NoReason || i.asked.Load() != 1 {
			t.Errorf("an opaque one: %v, %d questions", got, i.asked.Load())
		}
		for _, token := range []string{"", "a b", "a\x00", "=", "é", strings.Repeat("a", 9000)} {
			if got := i.result(token); got != policy.MalformedCredential || i.asked.Load() != 1 {
				t.Errorf("%.10q: %v, %d questions", token, got, i.asked.Load())
			}
		}
	})
}

func TestBadIntrospection(t *testing.T) {
	store := newStore(t, keys.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	for field, change := range map[string]func(*configv1.Introspection){
		"introspection.url":            func(m *configv1.Introspection) { m.Url = "file:///x" },
		"introspection.audiences":      func(m *configv1.Introspection) { m.Audiences = nil },
		"introspection.authentication": func(m *configv1.Introspection) { m.PrivateKey = environment("x") },
		"introspection.private_key": func(m *configv1.Introspection) {
			m.Authentication, m.ClientSecret, m.PrivateKey = configv1.ClientAuthentication_CLIENT_AUTHENTICATION_PRIVATE_KEY_JWT, nil, environment("no key")
		},
	} {
		message := &configv1.Introspection{Url: introspectionURL, ClientId: "kasbah", ClientSecret: environment("s"), Audiences: []string{"api"}}
		change(message)
		var fault *policy.FieldError
		_, err := store.Provider(&configv1.Provider{Name: "x", Kind: &configv1.Provider_Introspection{Introspection: message}}, keys.Files{Secret: func(s *configv1.Secret) (string, error) { return s.GetEnv(), nil }})
		if !errors.As(err, &fault) || fault.Field != field {
			t.Errorf("%v, want an error in %s", err, field)
		}
	}
}

// A token that its server calls active and our rules refuse is asked about no more often than one that is not active: a client
// that sends it over and over asks the server nothing.
func TestRefusedAnswersAreRemembered(t *testing.T) {
	introspected(t, func(t *testing.T, i *inspected) {
		for name, c := range map[string]struct {
			change map[string]any
			want   policy.Reason
		}{
			"audience": {map[string]any{"aud": "other"}, policy.WrongAudience}, "expired": {map[string]any{"exp": 1}, policy.Expired},
			"early": {map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}, policy.NotYetValid}, "nobody": {map[string]any{"sub": nil}, policy.InvalidClaims},
		} {
			i.answer = func(w http.ResponseWriter, token string, _ *http.Request) {
				answer := goodAnswer(token)
				for member, value := range c.change {
					answer[member] = value
				}
				writeAnswer(w, answer)
			}
			before := i.asked.Load()
			for range 100 {
				if got := i.result(name); got != c.want {
					t.Fatalf("%s: %v, want %v", name, got, c.want)
				}
			}
			if got := i.asked.Load() - before; got != 1 {
				t.Errorf("%s: %d questions, want 1", name, got)
			}
			i.answer = func(w http.ResponseWriter, token string, _ *http.Request) { writeAnswer(w, goodAnswer(token)) }
			time.Sleep(5 * time.Second)
			if got := i.result(name); got != policy.NoReason {
				t.Errorf("%s, 5 s later: %v", name, got)
			}
		}
	})
}
