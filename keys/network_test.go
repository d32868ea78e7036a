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
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
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

// anyAddress lets a provider's servers be on this machine.
var anyAddress = &configv1.HttpClient{PrivateAddresses: true}

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
	good.GetJwt().Issuer, good.GetJwt().Jwks, good.Client = server.URL, nil, anyAddress
	auth := keys.NewAuthenticator([]*keys.Provider{compile(t, store, good)})
	await(t, func() bool { return store.Sets()[0].Attempted })
	if got := reason(t, auth, issuer.Token(keystest.Claims{})); got != policy.NoReason {
		t.Errorf("a good token: %v, sets %+v", got, store.Sets())
	}

	redirect.Store(true)
	store.Retain(nil)
	moved := remoteConfig("moved", server.URL+"/jwks.json")
	moved.Client = anyAddress
	compile(t, store, moved)
	await(t, func() bool { return store.Sets()[0].Attempted })
	if status := store.Sets()[0]; status.Err == nil || status.Keys != 0 || reached.Load() != 0 {
		t.Errorf("a redirect to another host: %+v, and it was reached %d times", status, reached.Load())
	}
}
