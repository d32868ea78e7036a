package keys

import (
	"testing"
	"time"
)

// A fetch that ends between a request's look at the keys and its call of refresh must not be missed: the request
// is told to look again, and asks for nothing.
func TestRefreshAfterTheKeysHaveChanged(t *testing.T) {
	r := &remote{limits: KeySetOptions{}.withDefaults(), now: func() time.Time { return time.Unix(1, 0) }, wake: make(chan struct{}, 1)}
	if done := r.refresh(nil); done != nil {
		t.Error("a set that nobody fetches makes a request wait")
	}
	r.enforce(&keySet{}, r.now(), false)
	select {
	case <-r.refresh(nil):
	default:
		t.Error("a request that has seen no keys is not told that there are some")
	}
	if len(r.wake) != 0 || r.flight != nil {
		t.Error("it asked for a fetch")
	}
	if done := r.refresh(r.current(r.now())); done != nil {
		t.Error("a request that has seen the keys waits")
	}
}
