package keys_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
)

// await returns when the condition holds, and fails the test when it does not in 10 s.
func await(t *testing.T, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(10 * time.Second)
	for !condition() {
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatal("waited for 10 s")
		}
	}
}

// The same over real connections, with the Store's own transport: discovery, and a redirect to another address
// that must not be reached.
func TestRealConnections(t *testing.T) {
	var issuer *keystest.Issuer
	var reached atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer elsewhere.Close()
	var redirect atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if redirect.Load() {
			http.Redirect(w, r, elsewhere.URL+"/jwks.json", http.StatusFound)
			return
		}
		issuer.ServeHTTP(w, r)
	}))
	defer server.Close()
	issuer = newIssuer(t, server.URL, time.Now)

	store := newStore(t, keys.Options{Now: time.Now})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- store.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	good := config("corp", nil)
	good.GetJwt().Issuer, good.GetJwt().Jwks = server.URL, nil
	auth := keys.NewAuthenticator([]*keys.Provider{compile(t, store, good)})
	await(t, func() bool { return store.Sets()[0].Attempted })
	if got := reason(t, auth, issuer.Token(keystest.Claims{})); got != policy.NoReason {
		t.Errorf("a good token: %v, sets %+v", got, store.Sets())
	}

	redirect.Store(true)
	store.Retain(nil)
	compile(t, store, remoteConfig("moved", server.URL+"/jwks.json"))
	await(t, func() bool { return store.Sets()[0].Attempted })
	if status := store.Sets()[0]; status.Err == nil || status.Keys != 0 || reached.Load() != 0 {
		t.Errorf("a redirect to another host: %+v, and it was reached %d times", status, reached.Load())
	}
}
