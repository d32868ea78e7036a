package index

import (
	"context"

	"github.com/kasbah-authz/kasbah/policy"
)

const (
	// MaxUnwaited is how many steps may be taken for a request at an edge that must not wait: some milliseconds.
	MaxUnwaited = 10_000
	// checkedEvery is how many steps are taken before it is seen whether anybody still waits for the verdict.
	checkedEvery = 1 << 10
	// StepBytes is what one step looks at of a text that is held against a pattern, or copied.
	StepBytes = 64
	// StepElements is what one step looks at of a list.
	StepElements = 32
)

// Meter counts what is done for one request in steps, each the work of asking a plain matcher about one rule: about a
// microsecond. So neither many rules nor long texts make a request go on for much longer than somebody waits for it.
type Meter struct {
	Context context.Context
	NoWait  bool
	steps   int
	seen    int // the step at which the context was looked at
}

// Charge counts steps. Whoever loops asks Late in time.
func (m *Meter) Charge(steps int) { m.steps += steps }

// Late returns [policy.ErrWouldWait] or the context's error where the request has taken too long.
func (m *Meter) Late() error {
	switch {
	case m.NoWait && m.steps > MaxUnwaited:
		return policy.ErrWouldWait
	case m.steps-m.seen < checkedEvery:
		return nil
	}
	m.seen = m.steps
	return m.Context.Err()
}
