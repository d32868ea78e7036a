package keys

import (
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"
)

// maxInactive is how many tokens are remembered that are not good. They are strangers' words, so that they have a place of
// their own, where they push out nothing but each other.
const maxInactive = 20_000

// inactive remembers for a short time which tokens their servers do not know or say things of that are refused, and which passwords are wrong.
type inactive struct {
	tokens *otter.Cache[cacheKey, inactiveToken]
	now    func() time.Time
}

// inactiveToken is why a token is refused, and until when nobody is asked about it.
type inactiveToken struct {
	fault error
	until time.Time
}

func newInactive(now func() time.Time) (*inactive, error) {
	tokens, err := otter.New(&otter.Options[cacheKey, inactiveToken]{
		MaximumSize: maxInactive, Executor: func(task func()) { task() },
	})
	if err != nil {
		return nil, fmt.Errorf("making the cache of inactive tokens: %w", err)
	}
	return &inactive{tokens, now}, nil
}

// fault returns why a token was refused just now; nil where that is not known.
func (i *inactive) fault(key cacheKey) error {
	if token, ok := i.tokens.GetIfPresent(key); ok && i.now().Before(token.until) {
		return token.fault
	}
	return nil
}

func (i *inactive) add(key cacheKey, fault error, age time.Duration) {
	if age > 0 {
		i.tokens.Set(key, inactiveToken{fault, i.now().Add(age)})
	}
}
