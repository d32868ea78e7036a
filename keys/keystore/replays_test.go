package keystore_test

import (
	"crypto/sha256"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys/keystore"
)

// TestReplays: with a real Redis, of many uses of one proof by two replicas at the same time one is the first, until Redis has forgotten
// it; another prefix is another memory, and a Redis that is gone is an error without its password.
func TestReplays(t *testing.T) {
	t.Parallel()
	redis := envoytest.RunRedis(t)
	at := keystore.Redis{URL: redis.URL(), Prefix: keystore.DefaultPrefix}
	open := func(at keystore.Redis) *keystore.Replays {
		t.Helper()
		replays, err := keystore.NewReplays(at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = replays.Close() })
		return replays
	}
	replicas := []*keystore.Replays{open(at), open(at)}
	proof := sha256.Sum256([]byte("a proof"))
	var first atomic.Int32
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			used, err := replicas[i%2].Use(t.Context(), proof, time.Hour)
			if err != nil {
				t.Error(err)
			}
			if used {
				first.Add(1)
			}
		})
	}
	group.Wait()
	if first.Load() != 1 {
		t.Errorf("%d first uses", first.Load())
	}
	if used, err := open(keystore.Redis{URL: redis.URL(), Prefix: "other:"}).Use(t.Context(), proof, time.Hour); !used || err != nil {
		t.Errorf("with another prefix: %v, %v", used, err)
	}
	brief := sha256.Sum256([]byte("one that ends at once"))
	for deadline := time.Now().Add(time.Minute); ; {
		used, err := replicas[0].Use(t.Context(), brief, 0)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("it is remembered for ever, or %v", err)
		}
		if used {
			if used, err = replicas[1].Use(t.Context(), brief, time.Nanosecond); err == nil && used {
				break // it was forgotten in between
			}
		}
	}
	redis.Stop()
	if used, err := replicas[0].Use(t.Context(), sha256.Sum256([]byte("another")), time.Hour); used || err == nil || strings.Contains(err.Error(), strings.Split(redis.URL(), "@")[0][len("redis://:"):]) {
		t.Errorf("without Redis: %v, %v", used, err)
	}
}
