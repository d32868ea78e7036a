package keys_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// place is a memory that replicas share, in the test's own memory; it can be out of reach, or not answer at all.
type place struct {
	mu     sync.Mutex
	used   map[[sha256.Size]byte]time.Duration
	asked  int
	closed int
	err    error
	hangs  bool
}

func (p *place) Use(ctx context.Context, proof [sha256.Size]byte, life time.Duration) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if p.hangs {
		<-ctx.Done()
		return false, ctx.Err()
	}
	if p.err != nil {
		return false, p.err
	}
	_, before := p.used[proof]
	p.used[proof] = life
	return !before, nil
}

func (p *place) Close() error {
	p.closed++
	return nil
}

// replica is one of those that share the place, with a clock and a memory of its own.
func (p *place) replica(t *testing.T, f *possession, settings *configv1.Replay) (*keys.Store, *keys.Provider, *keys.Authenticator) {
	t.Helper()
	store := newStore(t, keys.Options{Now: f.Now})
	shared, err := store.Replay(settings, &keys.SharedReplays{ID: p, Source: "the place", Open: func() (keys.Replays, error) { return p, nil }})
	if err != nil {
		t.Fatal(err)
	}
	cfg := config("corp", f.issuer.JWKS())
	withProofs()(cfg.GetJwt())
	provider, err := store.Provider(cfg, keys.Files{Replay: shared})
	if err != nil {
		t.Fatal(err)
	}
	return store, provider, keys.NewAuthenticator([]*keys.Provider{provider})
}

// askOne is the reason of a denial, that of a fault, or NoReason.
func askOne(t *testing.T, auth *keys.Authenticator, req *policy.Request) policy.Reason {
	t.Helper()
	outcome, err := auth.Evaluate(t.Context(), req, &policy.Principal{})
	var fault *policy.StageError
	switch {
	case errors.As(err, &fault):
		return fault.Reason
	case err != nil:
		t.Fatal(err)
	case outcome.Verdict == policy.Passed:
		return policy.NoReason
	}
	return outcome.Reason
}

// TestSharedReplays: what one replica has seen no other lets in, and a request that must not wait does not.
func TestSharedReplays(t *testing.T) {
	t.Parallel()
	f := newPossession(t)
	p := &place{used: map[[sha256.Size]byte]time.Duration{}}
	store, provider, one := p.replica(t, f, nil)
	_, _, two := p.replica(t, f, nil)
	req := request("DPoP "+f.token, f.client.Proof(f.good()))
	req.Serial, req.NoWait = 1, true
	if _, err := one.Evaluate(t.Context(), req, &policy.Principal{}); !errors.Is(err, policy.ErrWouldWait) || p.asked != 0 {
		t.Errorf("a request that must not wait: %v, %d questions", err, p.asked)
	}
	req.NoWait = false
	if got := askOne(t, one, req); got != policy.NoReason {
		t.Errorf("the first use: %v", got)
	}
	if got := askOne(t, one, req); got != policy.NoReason || p.asked != 1 {
		t.Errorf("the same request again: %v, %d questions", got, p.asked)
	}
	req.Serial = 2
	if got := askOne(t, one, req); got != policy.Replayed || p.asked != 1 {
		t.Errorf("another request at the same replica: %v, %d questions", got, p.asked)
	}
	for range 2 { // the second time it is not let in as the request that has used it
		if got := askOne(t, two, req); got != policy.Replayed {
			t.Errorf("at the other replica: %v", got)
		}
	}
	for _, life := range p.used {
		if life != 2*time.Minute { // max_age and the leeway, and once more for the others' clocks
			t.Errorf("it is remembered for %v", life)
		}
	}
	if stats := store.ReplayStats(); len(stats.Shared) != 1 || stats.Shared[0] != (keys.ReplayStatus{Source: "the place", Asked: true}) || stats.Replayed != 1 {
		t.Errorf("%+v", stats)
	}
	store.Retain([]*keys.Provider{provider})
	if p.closed != 0 {
		t.Error("closed, and still used")
	}
	store.Retain(nil)
	if p.closed != 1 || len(store.ReplayStats().Shared) != 0 {
		t.Errorf("closed %d times", p.closed)
	}
}

// TestSharedReplaysAway: while nobody knows what other replicas have seen, callers are refused or the replica goes on alone, as the
// configuration says; both can be seen.
func TestSharedReplaysAway(t *testing.T) {
	t.Parallel()
	f := newPossession(t)
	away := errors.New("out of reach")
	for name, c := range map[string]struct {
		settings *configv1.Replay
		want     policy.Reason
	}{
		"by default": {nil, policy.Unavailable}, "refuse": {&configv1.Replay{OnFailure: configv1.ReplayFailure_REPLAY_FAILURE_REFUSE}, policy.Unavailable},
		"go on": {&configv1.Replay{OnFailure: configv1.ReplayFailure_REPLAY_FAILURE_GO_ON}, policy.NoReason},
	} {
		p := &place{used: map[[sha256.Size]byte]time.Duration{}, err: away}
		store, _, auth := p.replica(t, f, c.settings)
		try := func() (policy.Reason, *policy.Request) {
			req := request("DPoP "+f.token, f.client.Proof(f.good()))
			return askOne(t, auth, req), req
		}
		got, req := try()
		if got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		if got := askOne(t, auth, req); got != policy.Replayed {
			t.Errorf("%s, the same proof again: %v", name, got)
		}
		if stats := store.ReplayStats(); stats.Failed != 1 || len(stats.Shared) != 1 || !errors.Is(stats.Shared[0].Err, away) {
			t.Errorf("%s: %+v", name, stats)
		}
		if got, _ := try(); got != c.want || (p.asked == 1) != (c.want == policy.NoReason) {
			t.Errorf("%s, at once again: %v, %d questions", name, got, p.asked)
		}
		p.err = nil
		f.now = f.now.Add(2 * time.Second)
		asked := p.asked
		if got, _ := try(); got != policy.NoReason || p.asked != asked+1 || store.ReplayStats().Shared[0].Err != nil {
			t.Errorf("%s, and back: %v, %+v", name, got, store.ReplayStats())
		}
	}
}

// TestSharedReplaysHang: a place that does not answer is waited for no longer than it may be; a caller whose own time is over gets no
// verdict, whatever the configuration says.
func TestSharedReplaysHang(t *testing.T) {
	t.Parallel()
	f := newPossession(t)
	p := &place{hangs: true}
	_, _, auth := p.replica(t, f, &configv1.Replay{OnFailure: configv1.ReplayFailure_REPLAY_FAILURE_GO_ON})
	if got := askOne(t, auth, request("DPoP "+f.token, f.client.Proof(f.good()))); got != policy.NoReason {
		t.Errorf("%v", got)
	}
	f.now = f.now.Add(2 * time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if outcome, err := auth.Evaluate(ctx, request("DPoP "+f.token, f.client.Proof(f.good())), &policy.Principal{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", outcome, err)
	}
}
