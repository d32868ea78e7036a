package keys_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

func TestCachedTokenExpires(t *testing.T) {
	f := newFixture(t, func(cfg *configv1.Jwt) { cfg.Leeway = durationpb.New(0) })
	token := f.issuer.Token(keystest.Claims{Lifetime: time.Minute})
	for _, step := range []struct {
		advance time.Duration
		want    policy.Reason
	}{
		{0, policy.NoReason},
		{59 * time.Second, policy.NoReason},
		{time.Second, policy.Expired},
		{time.Hour, policy.Expired},
		{-time.Hour - time.Second, policy.NoReason}, // a clock that is put back
		{-2 * time.Minute, policy.NotYetValid},
	} {
		f.now = f.now.Add(step.advance)
		if got := reason(t, f.auth, token); got != step.want {
			t.Errorf("at %v: %v, want %v", f.now.Sub(instant), got, step.want)
		}
	}
}

func TestCachedTokenIsVerifiedAnewAfterMaxAge(t *testing.T) {
	f := newFixture(t)
	token := f.issuer.Token(keystest.Claims{})
	for i, step := range []time.Duration{0, 4 * time.Minute, time.Minute, 4 * time.Minute, time.Minute} {
		f.now = f.now.Add(step)
		if got := reason(t, f.auth, token); got != policy.NoReason {
			t.Errorf("step %d: %v", i, got)
		}
	}
	if stats := f.store.CacheStats(); stats != (keys.CacheStats{Hits: 2, Misses: 3, Entries: 1}) {
		t.Errorf("%+v", stats)
	}
}

func TestBadTokensAreNotCached(t *testing.T) {
	f := newFixture(t)
	for _, kind := range keystest.Forgeries() {
		reason(t, f.auth, f.issuer.Forge(kind, keystest.Claims{}))
	}
	if stats := f.store.CacheStats(); stats.Entries != 0 || stats.Hits != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestConcurrentMissesVerifyOnce(t *testing.T) {
	f := newFixture(t)
	for range 20 {
		token := f.issuer.Token(keystest.Claims{})
		before := f.store.CacheStats()
		var group sync.WaitGroup
		start := make(chan struct{})
		for range 200 {
			group.Go(func() {
				<-start
				outcome, err := f.auth.Evaluate(t.Context(), withToken(token), &policy.Principal{})
				if err != nil || outcome.Verdict != policy.Passed {
					t.Errorf("%+v, %v", outcome, err)
				}
			})
		}
		close(start)
		group.Wait()
		if got := f.store.CacheStats().Misses - before.Misses; got != 1 {
			t.Errorf("verified %d times", got)
		}
	}
}

// One token asked of two providers at the same time: no verdict crosses from one to the other.
func TestConcurrentProvidersDoNotMix(t *testing.T) {
	f := newFixture(t)
	other := config("strict", f.issuer.JWKS())
	other.GetJwt().Audiences = []string{"elsewhere"}
	strict := keys.NewAuthenticator([]*keys.Provider{compile(t, f.store, other)})
	for range 20 {
		token := f.issuer.Token(keystest.Claims{})
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				outcome, err := f.auth.Evaluate(t.Context(), withToken(token), &policy.Principal{})
				if err != nil || outcome.Verdict != policy.Passed || outcome.Principal.Provider != "corp" {
					t.Errorf("%+v, %v", outcome, err)
				}
			})
			group.Go(func() {
				outcome, err := strict.Evaluate(t.Context(), withToken(token), &policy.Principal{})
				if err != nil || outcome.Verdict != policy.Denied || outcome.Reason != policy.WrongAudience {
					t.Errorf("%+v, %v", outcome, err)
				}
			})
		}
		group.Wait()
	}
}

func TestCacheIsBoundedInEntries(t *testing.T) {
	f := newFixture(t)
	store := newStore(t, keys.Options{Now: f.Now, Cache: keys.CacheLimits{MaxEntries: 100}})
	auth := keys.NewAuthenticator([]*keys.Provider{compile(t, store, config("corp", f.issuer.JWKS()))})
	for i := range 1000 {
		token := f.issuer.Token(keystest.Claims{Algorithm: "EdDSA", Subject: fmt.Sprint("user", i)})
		if got := reason(t, auth, token); got != policy.NoReason {
			t.Fatal(got)
		}
	}
	if got := store.CacheStats().Entries; got > 100 || got < 50 {
		t.Errorf("%d entries", got)
	}
}

func TestCacheIsBoundedInBytes(t *testing.T) {
	const limit, each = 1 << 20, 5000
	f := newFixture(t)
	store := newStore(t, keys.Options{Now: f.Now, Cache: keys.CacheLimits{MaxBytes: limit}})
	auth := keys.NewAuthenticator([]*keys.Provider{compile(t, store, config("corp", f.issuer.JWKS()))})
	before := heap()
	for range 2000 {
		token := f.issuer.Token(keystest.Claims{Algorithm: "EdDSA", Extra: map[string]any{"text": strings.Repeat("x", each)}})
		if got := reason(t, auth, token); got != policy.NoReason {
			t.Fatal(got)
		}
	}
	if got := store.CacheStats().Entries; got > limit/each || got < 20 {
		t.Errorf("%d entries", got)
	}
	if grown := heap() - before; grown > 3*limit {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	runtime.KeepAlive(store)
}

func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func TestCacheLimitsAreChecked(t *testing.T) {
	for _, limits := range []keys.CacheLimits{{MaxEntries: -1}, {MaxAge: -1}} {
		if _, err := keys.NewStore(keys.Options{Now: time.Now, Cache: limits}); err == nil {
			t.Errorf("%+v is accepted", limits)
		}
	}
	for _, limits := range []keys.CacheLimits{{MaxEntries: 1, MaxBytes: 1}, {MaxEntries: 1 << 62, MaxBytes: 1 << 63}, {MaxEntries: 3, MaxBytes: 1 << 62}} {
		if _, err := keys.NewStore(keys.Options{Now: time.Now, Cache: limits}); err != nil {
			t.Errorf("%+v: %v", limits, err)
		}
	}
	if _, err := keys.NewStore(keys.Options{}); err == nil {
		t.Error("a Store without a clock")
	}
}

func TestCachedPathAllocatesLittle(t *testing.T) {
	f := newFixture(t)
	req := withToken(f.issuer.Token(benchClaims))
	var err error
	allocated := testing.AllocsPerRun(1000, func() {
		_, oops := f.auth.Evaluate(t.Context(), req, &policy.Principal{})
		err = errors.Join(err, oops)
	})
	if err != nil || allocated > 5 {
		t.Errorf("%v allocations, %v", allocated, err)
	}
}
