package keys_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// network is an http.RoundTripper that hands requests to a handler without a connection, so that it works in
// a synctest bubble, and remembers whom it was asked to reach.
type network struct {
	mu      sync.Mutex
	handler http.Handler
	asked   []string
	// body, when set, replaces the body of every answer.
	body func(ctx context.Context) io.ReadCloser
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	handler, body := n.handler, n.body
	n.asked = append(n.asked, r.URL.Scheme+"://"+r.URL.Host+r.URL.Path)
	n.mu.Unlock()
	if handler == nil {
		return nil, errors.New("connection refused")
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, r)
	response := recorder.Result()
	if body != nil {
		response.Body = body(r.Context())
	}
	return response, r.Context().Err()
}

func (n *network) serve(handler http.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.handler = handler
}

// count returns how many requests for that URL there were, and the list of all others.
func (n *network) count(url string) (count int, others []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, asked := range n.asked {
		if asked == url {
			count++
			continue
		}
		others = append(others, asked)
	}
	return count, others
}

func answer(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

const keysURL = issuerName + "/jwks.json"

func remoteConfig(name, url string) *configv1.Provider {
	cfg := config(name, nil)
	cfg.GetJwt().Jwks = &configv1.Jwks{Source: &configv1.Jwks_Url{Url: url}}
	return cfg
}

// world is an issuer behind a network and a store that runs, in a synctest bubble.
type world struct {
	t       *testing.T
	network *network
	issuer  *keystest.Issuer
	store   *keys.Store
	auth    *keys.Authenticator
	log     *bytes.Buffer
	stop    func() // ends the store, and waits; nil while none runs
}

// bubble runs a test where time is synctest's.
func bubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, network: &network{}, log: &bytes.Buffer{}}
		w.issuer = newIssuer(t, issuerName, time.Now)
		w.network.handler = w.issuer
		w.store = newStore(t, keys.Options{
			Client: &http.Client{Transport: w.network}, Now: time.Now, Logger: slog.New(slog.NewJSONHandler(w.log, nil)),
		})
		w.auth = keys.NewAuthenticator([]*keys.Provider{compile(t, w.store, remoteConfig("corp", keysURL))})
		test(t, w)
	})
}

// run starts the store, and ends it with the test.
func (w *world) run() {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.store.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	w.t.Cleanup(w.stop)
	synctest.Wait()
}

func (w *world) reason(token string) policy.Reason { w.t.Helper(); return reason(w.t, w.auth, token) }

func (w *world) fetches() int {
	w.t.Helper()
	count, others := w.network.count(keysURL)
	if len(others) > 0 {
		w.t.Errorf("somebody else was asked: %q", others)
	}
	return count
}

func (w *world) status() keys.SetStatus {
	w.t.Helper()
	sets := w.store.Sets()
	if len(sets) != 1 {
		w.t.Fatalf("%d sets", len(sets))
	}
	return sets[0]
}

func TestRemoteKeysAreFetchedAndUsed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		if status := w.status(); status.Attempted || status.Keys != 0 || status.Err != nil || status.Source != keysURL {
			t.Errorf("before Run: %+v", status)
		}
		w.run()
		if status := w.status(); !status.Attempted || status.Keys != 3 || status.Err != nil || !status.Fetched.Equal(time.Now()) {
			t.Errorf("after the first fetch: %+v", status)
		}
		if got := w.reason(w.issuer.Token(keystest.Claims{})); got != policy.NoReason {
			t.Errorf("a good token: %v", got)
		}
		if got := w.fetches(); got != 1 {
			t.Errorf("%d fetches", got)
		}
	})
}

func TestRotationIsVisibleAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.run()
		before := w.issuer.Token(keystest.Claims{})
		time.Sleep(6 * time.Second)
		w.issuer.Rotate()
		if got := w.reason(w.issuer.Token(keystest.Claims{})); got != policy.NoReason {
			t.Errorf("a token of the new key: %v", got)
		}
		if got := w.reason(before); got != policy.NoReason {
			t.Errorf("a token of the former key, still published: %v", got)
		}
		if got := w.fetches(); got != 2 {
			t.Errorf("%d fetches", got)
		}
	})
}

func TestRemovedKeyStopsVerifying(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.run()
		token := w.issuer.Token(keystest.Claims{})
		for range 2 {
			if got := w.reason(token); got != policy.NoReason {
				t.Fatal(got)
			}
		}
		if stats := w.store.CacheStats(); stats.Hits != 1 || stats.Misses != 1 {
			t.Fatalf("the token is not cached: %+v", stats)
		}
		w.issuer.Rotate()
		w.issuer.Rotate() // now the first key is gone
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if got := w.reason(token); got != policy.UnknownKey {
			t.Errorf("a cached token of a removed key: %v", got)
		}
	})
}

func TestUnchangedKeysKeepTheCache(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.run()
		token := w.issuer.Token(keystest.Claims{})
		for range 3 {
			if got := w.reason(token); got != policy.NoReason {
				t.Fatal(got)
			}
			time.Sleep(61 * time.Second)
			synctest.Wait()
		}
		if stats := w.store.CacheStats(); stats.Misses != 1 || stats.Hits != 2 || w.fetches() != 4 {
			t.Errorf("%+v after %d fetches of the same keys", stats, w.fetches())
		}
	})
}

func TestUnknownKidsCauseOneFetchAnInterval(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.run()
		good := w.issuer.Token(keystest.Claims{})
		start := time.Now()
		w.network.serve(answer(http.StatusOK, string(w.issuer.JWKS()))) // no Cache-Control: 5 minutes
		time.Sleep(time.Second)
		for i := range 2000 { // 20 s, 100 requests a second
			time.Sleep(10 * time.Millisecond)
			bad := w.issuer.Forge(keystest.UnknownKid, keystest.Claims{Algorithm: "EdDSA"})
			if got := w.reason(bad); got != policy.UnknownKey {
				t.Fatalf("request %d: %v", i, got)
			}
			asked := time.Now()
			if got := w.reason(good); got != policy.NoReason || time.Now() != asked {
				t.Fatalf("a good token between them: %v after %v", got, time.Since(asked))
			}
		}
		if got, most := w.fetches(), 1+int(time.Since(start)/(5*time.Second)); got > most || got < 2 {
			t.Errorf("%d fetches in %v, want 2 to %d", got, time.Since(start), most)
		}
	})
}

// hanging is a body that never comes.
type hanging struct{ ctx context.Context }

func (h hanging) Read([]byte) (int, error) { <-h.ctx.Done(); return 0, h.ctx.Err() }
func (hanging) Close() error               { return nil }

func TestWaitersShareOneFetchAndHonourTheirContext(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.run()
		time.Sleep(10 * time.Second)
		w.network.mu.Lock()
		w.network.body = func(ctx context.Context) io.ReadCloser { return hanging{ctx} }
		w.network.mu.Unlock()
		w.issuer.Rotate()
		token := w.issuer.Token(keystest.Claims{})

		req := withToken(token)
		req.NoWait = true
		if _, err := w.auth.Evaluate(t.Context(), req, &policy.Principal{}); !errors.Is(err, policy.ErrWouldWait) {
			t.Errorf("a request that may not wait: %v", err)
		}
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				start := time.Now()
				if _, err := w.auth.Evaluate(ctx, withToken(token), &policy.Principal{}); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a request with a deadline: %v", err)
				}
				if took := time.Since(start); took != 200*time.Millisecond {
					t.Errorf("it took %v", took)
				}
			})
		}
		group.Wait()
		start := time.Now()
		if got := w.reason(token); got != policy.UnknownKey { // the fetch fails after 5 s in all
			t.Errorf("a request without a deadline: %v", got)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("the fetch went on for %v", took)
		}
		if got := w.fetches(); got != 2 {
			t.Errorf("%d fetches", got)
		}
		if err := w.status().Err; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestIssuerIsDownAtTheStart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.network.serve(nil)
		token := w.issuer.Token(keystest.Claims{})
		unavailable := func(when string) {
			t.Helper()
			_, err := evaluate(t, w.auth, withToken(token))
			var stage *policy.StageError
			if !errors.As(err, &stage) || stage.Reason != policy.Unavailable {
				t.Errorf("%s: %v", when, err)
			}
		}
		unavailable("before Run")
		w.run()
		unavailable("after a failed fetch")
		time.Sleep(20 * time.Minute)
		w.network.serve(w.issuer)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := w.reason(token); got != policy.NoReason {
			t.Errorf("30 s after the issuer is up: %v", got)
		}
		if got, _ := w.network.count(keysURL); got < 40 || got > 100 {
			t.Errorf("%d attempts in 20 minutes", got)
		}
	})
}

// A set that was never fetched is asked for by the request that needs it, when the last attempt is old enough.
func TestRequestBringsTheKeysBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.network.serve(nil)
		w.run()
		time.Sleep(10 * time.Minute)
		for {
			count := w.fetches()
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if w.fetches() > count {
				break
			}
		}
		w.network.serve(w.issuer)
		time.Sleep(6 * time.Second) // the next attempt is due 15 s after the last at the earliest
		if got := w.reason(w.issuer.Token(keystest.Claims{})); got != policy.NoReason {
			t.Errorf("a good token: %v", got)
		}
	})
}

func TestBadAnswersKeepTheLastGoodKeys(t *testing.T) {
	const huge = 600 << 10
	for name, answer := range map[string]http.Handler{
		"empty":          answer(200, ""),
		"{}":             answer(200, "{}"),
		"keys null":      answer(200, `{"keys":null}`),
		"keys object":    answer(200, `{"keys":{}}`),
		"no keys":        answer(200, `{"keys":[]}`),
		"null":           answer(200, "null"),
		"[]":             answer(200, "[]"),
		"error JSON":     answer(200, `{"error":"temporarily_unavailable"}`),
		"HTML":           answer(200, "<!DOCTYPE html><title>Sorry</title>"),
		"cut":            answer(200, `{"keys":[{"kty":"RSA","n":"AQ`),
		"trailing bytes": answer(200, `{"keys":[]}{}`),
		"keys twice":     answer(200, `{"keys":[],"keys":[]}`),
		"1 unusable key": answer(200, `{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`),
		"a null key":     answer(200, `{"keys":[null]}`),
		"too many keys":  answer(200, `{"keys":[`+strings.Repeat("{},", 1000)+`{}]}`),
		"deep":           answer(200, strings.Repeat("[", 100000)),
		"600 KiB":        answer(200, strings.Repeat(" ", huge)+"{}"),
		"500":            answer(500, ""),
		"204":            answer(204, ""),
		"302 elsewhere":  http.RedirectHandler("https://169.254.169.254/latest", http.StatusFound),
		"302 to http":    http.RedirectHandler("http://issuer.test/jwks.json", http.StatusFound),
		"302 to port":    http.RedirectHandler("https://issuer.test:8443/jwks.json", http.StatusFound),
		"302 forever":    http.RedirectHandler(keysURL, http.StatusFound),
		"302 to nowhere": answer(302, ""),
		"refused":        nil,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.run()
				token := w.issuer.Token(keystest.Claims{})
				fetched := w.status().Fetched
				w.network.serve(answer)
				time.Sleep(70 * time.Second)
				synctest.Wait()
				status := w.status()
				if status.Err == nil || status.Keys != 3 || !status.Fetched.Equal(fetched) {
					t.Errorf("the status is %+v", status)
				}
				if got := w.reason(token); got != policy.NoReason {
					t.Errorf("a good token: %v", got)
				}
				w.fetches() // nobody else was asked
				w.network.serve(w.issuer)
				time.Sleep(30 * time.Second)
				synctest.Wait()
				if err := w.status().Err; err != nil {
					t.Errorf("it does not recover: %v", err)
				}
				for line := range strings.Lines(w.log.String()) {
					if !json.Valid([]byte(line)) {
						t.Errorf("a line of the log is no JSON: %q", line)
					}
				}
			})
		})
	}
}

func TestEndlessBodyIsCut(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.run()
		read := 0
		w.network.mu.Lock()
		w.network.body = func(context.Context) io.ReadCloser {
			return io.NopCloser(readerFunc(func(p []byte) (int, error) { read += len(p); return len(p), nil }))
		}
		w.network.mu.Unlock()
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if w.status().Err == nil || read == 0 || read > 2<<20 {
			t.Errorf("%d bytes were read: %v", read, w.status().Err)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestRefreshFollowsCacheControlWithinBounds(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":                             5 * time.Minute,
		"public":                       5 * time.Minute,
		"max-age=nonsense":             5 * time.Minute,
		"public, max-age=120":          2 * time.Minute,
		`Max-Age="90", public`:         90 * time.Second,
		"max-age=0":                    30 * time.Second,
		"max-age=1":                    30 * time.Second,
		"no-store":                     30 * time.Second,
		"no-cache, max-age=3000":       30 * time.Second,
		"max-age=86400":                time.Hour,
		"max-age=99999999999999999999": 5 * time.Minute,
	} {
		t.Run(header, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				set := w.issuer.JWKS()
				w.network.serve(http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
					writer.Header().Set("Cache-Control", header)
					_, _ = writer.Write(set)
				}))
				w.run()
				time.Sleep(want - time.Millisecond)
				synctest.Wait()
				if got := w.fetches(); got != 1 {
					t.Errorf("%d fetches before it is time", got)
				}
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				if got := w.fetches(); got != 2 {
					t.Errorf("%d fetches when it is time", got)
				}
			})
		})
	}
}

func TestGoodKeysOfADocumentAreTaken(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var document struct{ Keys []json.RawMessage }
		if err := json.Unmarshal(w.issuer.JWKS(), &document); err != nil {
			t.Fatal(err)
		}
		bad := []string{`null`, `7`, `{}`, `{"kty":"oct","k":"c2VjcmV0","kid":"o"}`, `{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"small"}`, `{"kty":"EC","crv":"secp256k1","x":"AQ","y":"AQ"}`}
		for _, text := range bad {
			document.Keys = slices.Insert(document.Keys, 1, json.RawMessage(text))
		}
		set, err := json.Marshal(map[string]any{"keys": document.Keys})
		if err != nil {
			t.Fatal(err)
		}
		w.network.serve(answer(200, string(set)))
		w.run()
		if status := w.status(); status.Keys != 3 || status.Err != nil {
			t.Errorf("the status is %+v", status)
		}
		for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
			if got := w.reason(w.issuer.Token(keystest.Claims{Algorithm: algorithm})); got != policy.NoReason {
				t.Errorf("%s: %v", algorithm, got)
			}
		}
		if !strings.Contains(w.log.String(), fmt.Sprintf(`"count":%d`, len(bad))) {
			t.Errorf("the log does not say that keys were left out: %s", w.log)
		}
	})
}
