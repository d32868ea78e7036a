package keys

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/kasbah-authz/kasbah/policy"
)

// flights are the questions of one provider that are under way, each for everyone who asks it.
type flights struct {
	mu   sync.Mutex
	open map[cacheKey]*flight
}

// flight is one question. Its answer may be read when done is closed.
type flight struct {
	done      chan struct{}
	principal *policy.Principal
	err       error
}

func newFlights() *flights { return &flights{open: map[cacheKey]*flight{}} }

// join returns the answer to a question, which is asked where nobody has asked it yet. The question does not end with ctx,
// which is that of one caller among several, but with the Store's Run; the caller's waiting does.
func (f *flights) join(ctx context.Context, store *Store, key cacheKey, ask func(ctx context.Context) (*policy.Principal, error)) (*policy.Principal, error) {
	one, err := f.start(store, key, ask)
	if err != nil {
		return nil, &policy.StageError{Reason: policy.Unavailable, Err: err}
	}
	select {
	case <-one.done:
		return one.principal, one.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for an answer about the token: %w", ctx.Err())
	}
}

func (f *flights) start(store *Store, key cacheKey, ask func(ctx context.Context) (*policy.Principal, error)) (*flight, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one := f.open[key]; one != nil {
		return one, nil
	}
	if len(f.open) >= maxQuestions {
		return nil, fmt.Errorf("%d questions wait for the server already", maxQuestions)
	}
	one := &flight{done: make(chan struct{})}
	begun := store.begin(func(ctx context.Context) {
		defer close(one.done)
		defer func() {
			if v := recover(); v != nil {
				one.principal, one.err = nil, &policy.PanicError{Value: v, Stack: debug.Stack()}
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			delete(f.open, key)
		}()
		one.principal, one.err = ask(ctx)
	})
	if !begun {
		return nil, errors.New("the key store does not run")
	}
	f.open[key] = one
	return one, nil
}
