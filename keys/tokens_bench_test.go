package keys_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
)

// BenchmarkMillionTokens accepts a million distinct tokens, and reports what the cache holds of them beside its bound. They are signed
// with a shared secret, so that most of the time is the cache's and not that of making tokens.
func BenchmarkMillionTokens(b *testing.B) {
	const tokens, bound = 1_000_000, 64 << 20
	store := newStore(b, keys.Options{
		Now: func() time.Time { return instant }, Cache: keys.CacheLimits{MaxEntries: tokens, MaxBytes: bound, MaxAge: time.Hour},
	})
	secret := strings.Repeat("0123456789abcdef", 2)
	cfg := config("corp", nil)
	cfg.GetJwt().Jwks, cfg.GetJwt().Algorithms = nil, []string{"HS256"}
	messages, files := secrets("a", secret)
	cfg.GetJwt().Secrets = messages
	provider, err := store.Provider(cfg, files)
	if err != nil {
		b.Fatal(err)
	}
	auth := keys.NewAuthenticator([]*keys.Provider{provider})
	before := heapInUse()
	for range b.N {
		for n := range tokens {
			token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
				"iss": issuerName, "aud": "api", "sub": fmt.Sprintf("subject-%d", n), "exp": instant.Add(time.Hour).Unix(), "roles": []string{"reader", "writer"},
			})
			token.Header["kid"] = "a"
			text, err := token.SignedString([]byte(secret))
			if err != nil {
				b.Fatal(err)
			}
			outcome, err := auth.Evaluate(b.Context(), withToken(text), &policy.Principal{})
			if err != nil || outcome.Principal == nil {
				b.Fatalf("%+v, %v", outcome, err)
			}
		}
	}
	held := heapInUse() - before
	b.ReportMetric(held/(1<<20), "MiB/held")
	b.ReportMetric(bound>>20, "MiB/bound")
	b.ReportMetric(float64(store.CacheStats().Entries), "entries")
	if held > bound {
		b.Errorf("the cache holds %.0f bytes, and its bound is %d", held, bound)
	}
}

func heapInUse() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
