package enforcer

import (
	"context"

	"github.com/kasbah-authz/kasbah/policy"
)

const (
	// maxUnwaited is how many steps may be taken for a request at an edge that must not wait: some milliseconds.
	maxUnwaited = 10_000
	// checkedEvery is how many steps are taken before it is seen whether anybody still waits for the verdict.
	checkedEvery = 1 << 10
	// stepBytes and stepElements are what one step looks at: of a text that is held against a pattern or copied, and
	// of a list.
	stepBytes    = 64
	stepElements = 32
)

// meter counts what is done for one request in steps, each the work of asking a plain matcher about one rule: about a
// microsecond. Neither the rules nor the caller can make a request go on for longer than somebody waits for it.
type meter struct {
	ctx    context.Context
	noWait bool
	steps  int
	seen   int // the step at which the context was looked at
}

// charge counts steps. Whoever loops asks late in time.
func (m *meter) charge(steps int) { m.steps += steps }

// late returns [policy.ErrWouldWait] or the context's error where the request has taken too long.
func (m *meter) late() error {
	switch {
	case m.noWait && m.steps > maxUnwaited:
		return policy.ErrWouldWait
	case m.steps-m.seen < checkedEvery:
		return nil
	}
	m.seen = m.steps
	return m.ctx.Err()
}
