package keys_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// BenchmarkIntrospectionCached is an opaque token whose answer is remembered; BenchmarkVerifyCached is its reference.
func BenchmarkIntrospectionCached(b *testing.B) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		writeAnswer(w, map[string]any{"active": true, "sub": "alice", "aud": "api", "exp": instant.Unix() + 3600})
	}))
	defer server.Close()
	store := newStore(b, keys.Options{Client: server.Client(), Now: func() time.Time { return instant }, Logger: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := store.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	defer running.Wait()
	defer stop()
	provider, err := store.Provider(&configv1.Provider{Name: "opaque", Kind: &configv1.Provider_Introspection{Introspection: &configv1.Introspection{
		Url: server.URL, ClientId: "kasbah", ClientSecret: environment("secret"), Audiences: []string{"api"},
	}}}, keys.Files{Read: noFile, Secret: func(*configv1.Secret) (string, error) { return "secret", nil }})
	if err != nil {
		b.Fatal(err)
	}
	auth := keys.NewAuthenticator([]*keys.Provider{provider})
	req := withToken("an-opaque-token")
	for { // until the store runs
		if outcome, err := auth.Evaluate(ctx, req, &policy.Principal{}); err == nil {
			if outcome.Principal == nil {
				b.Fatalf("%+v", outcome)
			}
			break
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		outcome, err := auth.Evaluate(ctx, req, &policy.Principal{})
		if err != nil || outcome.Principal == nil {
			b.Fatalf("%+v, %v", outcome, err)
		}
	}
	if got := asked.Load(); got != 1 {
		b.Fatalf("%d questions, want 1", got)
	}
}
