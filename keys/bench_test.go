package keys_test

import (
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
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
