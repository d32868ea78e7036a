package keys_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
)

// unknownKids returns what makes tokens of an issuer that each have another key id, which it does not know.
func unknownKids(good string) func(n int64) string {
	rest := good[strings.IndexByte(good, '.'):]
	return func(n int64) string {
		return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"RS256","kid":"%x"}`, n)) + rest
	}
}

// floodRate is how many tokens with unknown key ids come in a second.
const floodRate = 10_000

// flood sends that many until its end is called, which returns how many were sent, and checks that each is refused.
func flood(b *testing.B, auth *keys.Authenticator, token func(int64) string) (end func() int64) {
	b.Helper()
	var sent atomic.Int64
	var group sync.WaitGroup
	ctx, cancel := context.WithCancel(b.Context())
	ask := func(ctx context.Context, req *policy.Request) error {
		outcome, err := auth.Evaluate(ctx, req, &policy.Principal{})
		if err == nil && outcome.Reason != policy.UnknownKey {
			b.Errorf("a token of an unknown key: %+v", outcome)
		}
		return err
	}
	group.Go(func() {
		const step = 2 * time.Millisecond
		ticker := time.NewTicker(step)
		defer ticker.Stop()
		begun := time.Now()
		for ctx.Err() == nil {
			for sent.Load() < int64(time.Since(begun).Seconds()*floodRate) && ctx.Err() == nil {
				req := withToken(token(sent.Add(1)))
				req.NoWait = true // as the server asks first
				if errors.Is(ask(ctx, req), policy.ErrWouldWait) {
					req.NoWait = false
					group.Go(func() { _ = ask(ctx, req) })
				}
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
	})
	return func() int64 { cancel(); group.Wait(); return sent.Load() }
}

// BenchmarkUnknownKeyFlood verifies good tokens, each for the first time, while 10,000 tokens a second come with key ids that the issuer
// does not know, beside the same without them, and beside golang-jwt alone without and with as many verifications lost to it. The
// set is fetched for them once in five seconds.
func BenchmarkUnknownKeyFlood(b *testing.B) {
	issuer := newIssuer(b, issuerName, time.Now)
	good := issuer.Token(benchClaims)
	network := &network{handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(issuer.JWKS()) })}
	store := newStore(b, keys.Options{Client: &http.Client{Transport: network}, Now: time.Now, Cache: keys.CacheLimits{MaxAge: time.Nanosecond}})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	auth := keys.NewAuthenticator([]*keys.Provider{compile(b, store, remoteConfig("corp", keysURL))})
	verify := golangJWT(b, issuer.JWKS(), time.Now)
	req := withToken(good)
	kasbah := func() error {
		outcome, err := auth.Evaluate(b.Context(), req, &policy.Principal{})
		if err == nil && outcome.Principal == nil {
			err = fmt.Errorf("denied: %+v", outcome)
		}
		return err
	}
	golang := func() error { _, err := verify(good); return err }
	for _, c := range []struct {
		name    string
		good    func() error
		flooded bool
	}{{"golang-jwt", golang, false}, {"quiet", kasbah, false}, {"flood", kasbah, true}, {"golang-jwt beside the flood", golang, true}} {
		b.Run(c.name, func(b *testing.B) {
			before, _ := network.count(keysURL)
			begun := time.Now()
			end := func() int64 { return 0 }
			if c.flooded {
				end = flood(b, auth, unknownKids(good))
			}
			var took []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				if err := c.good(); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			sent, elapsed := end(), time.Since(begun)
			fetches, _ := network.count(keysURL)
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
			b.ReportMetric(float64(sent)/elapsed.Seconds(), "flood/s")
			if most := 1 + int(elapsed/(5*time.Second)); fetches-before > most {
				b.Errorf("%d fetches in %v", fetches-before, elapsed)
			}
		})
	}
}
