package server_test

import (
	"context"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
)

// stage is a stage that does what the test says.
type stage struct {
	name     string
	evaluate func(ctx context.Context, req *policy.Request) (policy.Outcome, error)
}

func (s stage) Name() string { return s.name }

func (s stage) Evaluate(ctx context.Context, req *policy.Request, _ *policy.Principal) (policy.Outcome, error) {
	return s.evaluate(ctx, req)
}

var permitted = policy.Outcome{Verdict: policy.Permitted}

// permits is the stage that allows.
func permits(name string) stage {
	return stage{name, func(context.Context, *policy.Request) (policy.Outcome, error) { return permitted, nil }}
}

// waits is a stage that has to wait, says so as a stage must, and then does what then says.
func waits(name string, then func(ctx context.Context) (policy.Outcome, error)) stage {
	return stage{name, func(ctx context.Context, req *policy.Request) (policy.Outcome, error) {
		if req.NoWait {
			return policy.Outcome{}, policy.ErrWouldWait
		}
		return then(ctx)
	}}
}

// untilEnd waits until ctx ends.
func untilEnd(ctx context.Context) (policy.Outcome, error) {
	<-ctx.Done()
	return policy.Outcome{}, ctx.Err()
}

// pause lets that time pass, whatever ctx says.
func pause(d time.Duration) { <-time.After(d) }

// everything is a route for every request.
func everything(stages ...policy.Stage) []policy.Route {
	return []policy.Route{{Name: "all", Matches: []policy.Match{{}}, Stages: stages}}
}

// refuse denies.
func refuse(context.Context, *policy.Request) (policy.Outcome, error) {
	return policy.Outcome{Reason: policy.DeniedByPolicy}, nil
}
