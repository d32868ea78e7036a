package keys_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
)

// 10,000 tokens a second, each with another key id that nobody knows: one fetch in five seconds, a good token waits for nothing, and
// a rotation in the middle of it is seen by the next fetch.
func TestFloodOfUnknownKids(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.network.serve(http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) { _, _ = writer.Write(w.issuer.JWKS()) }))
		w.run()
		good := w.issuer.Token(keystest.Claims{})
		unknown, start, rotated := unknownKids(good), time.Now(), ""
		for n := range int64(100_000) {
			if n%10 == 0 {
				time.Sleep(time.Millisecond)
			}
			if got := w.reason(unknown(n)); got != policy.UnknownKey {
				t.Fatalf("request %d: %v", n, got)
			}
			if n == 33_333 {
				w.issuer.Rotate()
				rotated = w.issuer.Token(keystest.Claims{})
			}
			if n%1000 != 0 {
				continue
			}
			asked := time.Now()
			if got := w.reason(good); got != policy.NoReason || time.Now() != asked {
				t.Fatalf("a good token between them: %v after %v", got, time.Since(asked))
			}
		}
		if got := w.reason(rotated); got != policy.NoReason {
			t.Errorf("a token of the new key: %v", got)
		}
		if got, most := w.fetches(), 1+int(time.Since(start)/(5*time.Second)); got > most || got < 2 {
			t.Errorf("%d fetches in %v, want 2 to %d", got, time.Since(start), most)
		}
	})
}

// trickle is a body that gives one byte a second, and never ends.
type trickle struct{ ctx context.Context }

func (b trickle) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		return copy(p, " "), nil
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
}

func (trickle) Close() error { return nil }

func TestSlowBodyIsCut(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.run()
		w.network.mu.Lock()
		w.network.body = func(ctx context.Context) io.ReadCloser { return trickle{ctx} }
		w.network.mu.Unlock()
		time.Sleep(60 * time.Second) // the next fetch begins
		synctest.Wait()
		if err := w.status().Err; err != nil {
			t.Fatalf("it has ended already: %v", err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if err := w.status().Err; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after 5 s it is %v", err)
		}
		if got := w.reason(w.issuer.Token(keystest.Claims{})); got != policy.NoReason {
			t.Errorf("a good token: %v", got)
		}
	})
}

// Two credentials are refused for what they are, whether or not the keys are there: no fault of the issuer makes them anything else.
func TestTwoCredentialsWhileTheIssuerIsDown(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.network.serve(nil)
		w.run()
		req := withToken(w.issuer.Token(keystest.Claims{}))
		req.Headers = append(req.Headers, req.Headers...)
		outcome, err := evaluate(t, w.auth, req)
		if err != nil || outcome.Reason != policy.MalformedCredential {
			t.Errorf("%+v, %v", outcome, err)
		}
	})
}
