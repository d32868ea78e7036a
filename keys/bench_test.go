package keys_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

var benchClaims = keystest.Claims{Roles: []string{"admin", "editor"}, Scope: "orders:read orders:write"}

func BenchmarkVerifyCached(b *testing.B) {
	f := newFixture(b)
	req := withToken(f.issuer.Token(benchClaims))
	b.ReportAllocs()
	for b.Loop() {
		outcome, err := f.auth.Evaluate(b.Context(), req, &policy.Principal{})
		if err != nil || outcome.Principal == nil {
			b.Fatalf("%+v, %v", outcome, err)
		}
	}
	if stats := f.store.CacheStats(); stats.Misses != 1 {
		b.Fatalf("%+v", stats)
	}
}

func BenchmarkVerifyUncached(b *testing.B) {
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		f := newFixture(b)
		claims := benchClaims
		claims.Algorithm = algorithm
		token := f.issuer.Token(claims)

		b.Run(algorithm+"/kasbah", func(b *testing.B) {
			// Every reading of this clock is a microsecond later, and what is cached is stale after less.
			ticking := instant
			store := newStore(b, keys.Options{
				Now:   func() time.Time { ticking = ticking.Add(time.Microsecond); return ticking },
				Cache: keys.CacheLimits{MaxAge: time.Nanosecond},
			})
			auth := keys.NewAuthenticator([]*keys.Provider{compile(b, store, config("corp", f.issuer.JWKS()))})
			req := withToken(token)
			b.ReportAllocs()
			for b.Loop() {
				outcome, err := auth.Evaluate(b.Context(), req, &policy.Principal{})
				if err != nil || outcome.Principal == nil {
					b.Fatalf("%+v, %v", outcome, err)
				}
			}
			if stats := store.CacheStats(); stats.Misses < uint64(b.N) || stats.Hits != 0 {
				b.Fatalf("%d runs, and %+v", b.N, stats)
			}
		})
		b.Run(algorithm+"/golang-jwt", func(b *testing.B) {
			verify := golangJWT(b, f.issuer.JWKS(), f.Now)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := verify(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAPIKeyTiming asks for a known id with another secret and for an unknown id in turn, 100,000 times each, and reports
// Welch's t of the two: THREATS a.6 wants |t| below 4.5. The control is two halves of the unknown ones: where its |t| is not
// below 4.5 either, the machine is too noisy to tell. It is no test, because a busy machine is no leak.
func BenchmarkAPIKeyTiming(b *testing.B) {
	store := newStore(b, keys.Options{Now: time.Now})
	var entries []*configv1.ApiKeyEntry
	var known, unknown, control []*policy.Request
	for range 500 {
		key, id := newAPIKey(b)
		entries = append(entries, &configv1.ApiKeyEntry{Id: id, Owner: "acme", Secrets: []*configv1.ApiKeySecret{secretOf(key)}})
		other, _, err := keys.NewAPIKey("live", id)
		if err != nil {
			b.Fatal(err)
		}
		stranger, _ := newAPIKey(b)
		another, _ := newAPIKey(b)
		known, unknown, control = append(known, withHeader("x-api-key", other)), append(unknown, withHeader("x-api-key", stranger)), append(control, withHeader("x-api-key", another))
	}
	provider, err := apiKeyProvider(store, "x-api-key", entries...)
	if err != nil {
		b.Fatal(err)
	}
	auth := keys.NewAuthenticator([]*keys.Provider{provider})
	for name, first := range map[string][]*policy.Request{"known": known, "control": control} {
		b.Run(name, func(b *testing.B) {
			var t, apart float64
			for b.Loop() {
				t, apart = compareTimes(b, auth, first, unknown)
			}
			b.ReportMetric(t, "|t|")
			b.ReportMetric(apart, "ns/apart")
		})
	}
}

// compareTimes returns Welch's t of the times of two kinds of requests, and the difference of their means in nanoseconds.
func compareTimes(b *testing.B, auth *keys.Authenticator, requests ...[]*policy.Request) (t, apart float64) {
	b.Helper()
	const rounds = 100_000
	var samples [2][]float64
	for n := range rounds {
		for i := range 2 {
			which := (n + i) % 2 // neither always follows the other
			begun := time.Now()
			outcome, err := auth.Evaluate(b.Context(), requests[which][n/2%500], &policy.Principal{})
			took := time.Since(begun)
			if err != nil || outcome.Reason != policy.UnknownKey {
				b.Fatalf("%+v, %v", outcome, err)
			}
			samples[which] = append(samples[which], float64(took))
		}
	}
	return welch(samples[0], samples[1])
}

// welch returns the absolute value of Welch's t of two samples, and the difference of their means, without the slowest twentieth of
// each, which is the scheduler's.
func welch(a, b []float64) (t, apart float64) {
	moments := func(all []float64) (mean, ofMean float64) {
		slices.Sort(all)
		all = all[:len(all)*19/20]
		for _, x := range all {
			mean += x / float64(len(all))
		}
		for _, x := range all {
			ofMean += (x - mean) * (x - mean) / float64(len(all)) / float64(len(all)-1)
		}
		return mean, ofMean
	}
	meanA, ofA := moments(a)
	meanB, ofB := moments(b)
	return math.Abs(meanA-meanB) / math.Sqrt(ofA+ofB), math.Abs(meanA - meanB)
}
