package keystore_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystore"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fatal is what tests, benchmarks and rapid's checks have in common.
type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

// follow runs a key store that follows a table, with the change that the test makes of how it is reached, until stop.
func follow(t fatal, at keystore.Config, now func() time.Time, change func(*keys.Table)) (*keys.Store, *keys.Authenticator, func()) {
	t.Helper()
	store, err := keys.NewStore(keys.Options{Now: now})
	if err != nil {
		t.Fatalf("%v", err)
	}
	cfg := &configv1.Provider{Name: "partners", Kind: &configv1.Provider_ApiKey{ApiKey: &configv1.ApiKey{
		Header: "x-api-key", RecordUse: change != nil,
		Store: &configv1.ApiKeyStore{
			Source: &configv1.ApiKeyStore_Sqlite{Sqlite: &configv1.ApiKeySqlite{Poll: durationpb.New(10 * time.Millisecond)}}, MaxAge: durationpb.New(time.Hour),
		},
	}}}
	provider, err := store.Provider(cfg, keys.Files{KeyTable: func(*configv1.ApiKeyStore) (keys.Table, error) {
		table := keys.Table{
			ID: at, Source: at.Source(),
			Reader:   func(ctx context.Context) (keys.TableReader, error) { return keystore.Reader(ctx, at) },
			Recorder: func(ctx context.Context) (keys.UseRecorder, error) { return keystore.Recorder(ctx, at) },
		}
		if change != nil {
			change(&table)
		}
		return table, nil
	}})
	if err != nil {
		t.Fatalf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = store.Run(ctx) })
	for len(store.Tables()) == 0 || !store.Tables()[0].Attempted {
		time.Sleep(time.Millisecond) // until Run has begun
	}
	return store, keys.NewAuthenticator([]*keys.Provider{provider}), func() { cancel(); running.Wait() }
}

// ask returns why a key is refused, policy.NoReason for one that is accepted.
func ask(t fatal, auth *keys.Authenticator, key string) policy.Reason {
	t.Helper()
	req := &policy.Request{Source: policy.Peer{Address: "10.1.2.3"}, Headers: policy.Headers{{Name: "x-api-key", Value: key}}}
	outcome, err := auth.Evaluate(context.Background(), req, &policy.Principal{})
	if err != nil {
		t.Fatalf("%v", err)
	}
	if outcome.Verdict == policy.Passed {
		return policy.NoReason
	}
	return outcome.Reason
}
