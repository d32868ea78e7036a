package keys

import (
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"
)

// maxInactive is how many tokens are remembered that are not good. They are strangers' words, so that they have a place of
// their own, where they push out nothing but each other.
const maxInactive = 20_000

// inactive remembers for a short time which tokens their servers do not know, and which passwords are wrong.
type inactive struct {
	until *otter.Cache[cacheKey, time.Time]
	now   func() time.Time
}

func newInactive(now func() time.Time) (*inactive, error) {
	until, err := otter.New(&otter.Options[cacheKey, time.Time]{
		MaximumSize: maxInactive, Executor: func(task func()) { task() },
	})
	if err != nil {
		return nil, fmt.Errorf("making the cache of inactive tokens: %w", err)
	}
	return &inactive{until, now}, nil
}

func (i *inactive) has(key cacheKey) bool {
	until, ok := i.until.GetIfPresent(key)
	return ok && i.now().Before(until)
}

func (i *inactive) add(key cacheKey, age time.Duration) {
	if age > 0 {
		i.until.Set(key, i.now().Add(age))
	}
}
