package server_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/server"
	"github.com/kasbah-authz/kasbah/server/servertest"
)

// decisionTimeout is that of the checkers here.
const decisionTimeout = time.Second

func newChecker(t *testing.T, routes []policy.Route) *server.Checker {
	t.Helper()
	checker, err := server.NewChecker(server.CheckerConfig{
		Routes: routes, Timeout: decisionTimeout, Now: time.Now, Log: slog.DiscardHandler,
	})
	if err != nil {
		t.Fatal(err)
	}
	return checker
}

// askWithin checks with that time to the caller's deadline; 0 is a caller that names none.
func askWithin(t *testing.T, checker *server.Checker, timeout time.Duration) *authv3.CheckResponse {
	t.Helper()
	ctx := t.Context()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	response, err := checker.Check(ctx, servertest.NewCheck("GET", "/"))
	if err != nil {
		t.Fatalf("an RPC error: %v", err)
	}
	return response
}

// TestStagesThatWaitAreAnsweredInTime: whatever a stage waits for, and however badly, the answer is a denial, and
// comes before the caller gives up. Time is the bubble's, so that "before" is exact.
func TestStagesThatWaitAreAnsweredInTime(t *testing.T) {
	stages := map[string]stage{
		"until the end": waits("slow", untilEnd),
		"past the end":  waits("deaf", func(context.Context) (policy.Outcome, error) { pause(3 * time.Second); return permitted, nil }),
		"and then fails": waits("lost", func(ctx context.Context) (policy.Outcome, error) {
			<-ctx.Done()
			return policy.Outcome{}, errors.New("lost")
		}),
		"and permits": waits("late", func(ctx context.Context) (policy.Outcome, error) { <-ctx.Done(); return permitted, nil }),
		"and panics":  waits("mad", func(ctx context.Context) (policy.Outcome, error) { <-ctx.Done(); panic("mad") }),
	}
	for name, slow := range stages {
		for _, timeout := range []time.Duration{0, 1, 2, 5, 6, 10, 20, 50, 100, 150, 200} {
			timeout *= time.Millisecond
			t.Run(fmt.Sprintf("%s in %s", name, timeout), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					checker := newChecker(t, everything(permits("first"), slow, permits("last")))
					started := time.Now()
					response := askWithin(t, checker, timeout)
					took := time.Since(started)
					code := codes.Code(response.GetStatus().GetCode())
					// The stage and the edge may see the end at one moment; then the stage's own fault is the answer.
					if got := servertest.Status(response); got != 503 && (name != "and fails" && name != "and panics" || got != 500) {
						t.Errorf("HTTP %d, gRPC %s; want 503", got, code)
					}
					want := max(timeout-server.AnswerMargin, 0)
					if timeout == 0 {
						want = decisionTimeout
					}
					if took != want {
						t.Errorf("the answer took %s, want %s", took, want)
					}
					checker.Wait() // a goroutine that does not end is a deadlock, which synctest reports
					if n := checker.Waiting(); n != 0 {
						t.Errorf("%d places are still taken", n)
					}
				})
			})
		}
	}
}

// faults are what a stage does after a delay; only the first may allow.
var faults = map[string]struct {
	allows bool
	then   func(ctx context.Context) (policy.Outcome, error)
}{
	"permits":         {true, func(context.Context) (policy.Outcome, error) { return permitted, nil }},
	"fails":           {false, func(context.Context) (policy.Outcome, error) { return permitted, errors.New("the store is down") }},
	"says cancelled":  {false, func(context.Context) (policy.Outcome, error) { return permitted, context.Canceled }},
	"says deadline":   {false, func(context.Context) (policy.Outcome, error) { return permitted, context.DeadlineExceeded }},
	"says its ctx":    {false, func(ctx context.Context) (policy.Outcome, error) { return policy.Outcome{}, ctx.Err() }},
	"panics":          {false, func(context.Context) (policy.Outcome, error) { panic("in a stage") }},
	"would wait":      {false, func(context.Context) (policy.Outcome, error) { return permitted, policy.ErrWouldWait }},
	"says nothing":    {false, func(context.Context) (policy.Outcome, error) { return policy.Outcome{}, nil }},
	"is out of range": {false, func(context.Context) (policy.Outcome, error) { return policy.Outcome{Verdict: 200, Reason: 200}, nil }},
}

// TestNoFaultAroundTheDeadlineAllows injects each fault into each place at delays around the moment at which the answer
// is due and around the caller's deadline, in stages that say that they wait and in ones that do not.
func TestNoFaultAroundTheDeadlineAllows(t *testing.T) {
	const timeout, rounds = 50 * time.Millisecond, 112
	due := timeout - server.AnswerMargin
	delays := []time.Duration{
		0, due - time.Millisecond, due - 1, due, due + 1, due + time.Millisecond,
		timeout - 1, timeout, timeout + 1, timeout + 10*time.Millisecond,
	}
	checks, allowed := 0, 0
	for name, fault := range faults {
		for place := range 5 {
			for _, delay := range delays {
				for _, honest := range []bool{true, false} {
					synctest.Test(t, func(t *testing.T) {
						checker := newChecker(t, faultAt(place, delay, honest, fault.then))
						for range rounds {
							got := servertest.Status(askWithin(t, checker, timeout))
							checks++
							mayAllow := fault.allows && delay <= due || name == "says its ctx" && place >= 3 && delay <= due
							if got == 200 {
								allowed++
							}
							if got == 200 && !mayAllow || got == 0 {
								t.Errorf("%s after %s in place %d (honest %t): status %d", name, delay, place, honest, got)
							}
							if fault.allows && delay < due && got != 200 {
								t.Errorf("a verdict %s before the answer is due: status %d, want 200", due-delay, got)
							}
						}
						checker.Wait()
					})
				}
			}
		}
	}
	t.Logf("%d checks, %d allowed, all of them in time and without a fault", checks, allowed)
}

// faultAt returns routes with a fault in the first, second or third stage, in an injected header or in a response header.
func faultAt(place int, delay time.Duration, honest bool, then func(ctx context.Context) (policy.Outcome, error)) []policy.Route {
	faulty := func(ctx context.Context) (policy.Outcome, error) { pause(delay); return then(ctx) }
	stages := []policy.Stage{permits("one"), permits("two"), permits("three")}
	routes := everything(stages...)
	if place < len(stages) {
		stages[place] = stage{"faulty", func(ctx context.Context, _ *policy.Request) (policy.Outcome, error) { return faulty(ctx) }}
		if honest {
			stages[place] = waits("faulty", faulty)
		}
		return routes
	}
	if honest {
		stages[1] = waits("two", func(context.Context) (policy.Outcome, error) { return permitted, nil })
	}
	injections := []policy.Injection{{Name: "x-user", Value: func(*policy.Request, *policy.Principal) (string, bool, error) {
		outcome, err := faulty(context.Background())
		if err == nil && outcome.Verdict != policy.Permitted {
			err = errors.New("no verdict")
		}
		return "alice", true, err
	}}}
	if place == 3 {
		routes[0].Headers = injections
	} else {
		routes[0].Response = injections
	}
	return routes
}

// TestCallerThatGoesAway: a call that was cancelled is denied, and lets go of what it waited for.
func TestCallerThatGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checker := newChecker(t, everything(waits("slow", untilEnd)))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		response, err := checker.Check(ctx, servertest.NewCheck("GET", "/"))
		if err != nil || servertest.Status(response) != 503 {
			t.Errorf("Check = %v, %v; want 503", response, err)
		}
		if response, err = checker.Check(ctx, servertest.NewCheck("GET", "/")); err != nil || servertest.Status(response) != 503 {
			t.Errorf("Check with a call that has ended = %v, %v; want 503", response, err)
		}
		checker.Wait()
	})
}

// TestTooManyWait: those that may wait are bounded, the next is denied at once, and places come back.
func TestTooManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		checker := newChecker(t, everything(waits("slow", func(ctx context.Context) (policy.Outcome, error) {
			select {
			case <-release:
				return permitted, nil
			case <-ctx.Done():
				return policy.Outcome{}, ctx.Err()
			}
		})))
		statuses := make(chan int, server.MaxWaiting)
		for range server.MaxWaiting {
			go func() { statuses <- servertest.Status(askWithin(t, checker, 0)) }()
		}
		synctest.Wait()
		if got := checker.Waiting(); got != server.MaxWaiting {
			t.Fatalf("%d decisions wait, want %d", got, server.MaxWaiting)
		}
		started := time.Now()
		response := askWithin(t, checker, 0)
		if servertest.Status(response) != 503 || codes.Code(response.GetStatus().GetCode()) != codes.Unavailable || time.Since(started) != 0 {
			t.Errorf("one too many: %v after %s; want 503 at once", response.GetStatus(), time.Since(started))
		}
		close(release)
		for range server.MaxWaiting {
			if got := <-statuses; got != 200 {
				t.Fatalf("one that waited: %d, want 200", got)
			}
		}
		if got := servertest.Status(askWithin(t, checker, 0)); got != 200 {
			t.Errorf("afterwards: %d, want 200", got)
		}
		checker.Wait()
	})
}

// TestNoConfiguration: before there is a Snapshot everything is denied.
func TestNoConfiguration(t *testing.T) {
	if got := servertest.Status(askWithin(t, newChecker(t, nil), 0)); got != 503 {
		t.Errorf("status %d, want 503", got)
	}
}

// TestDeadlineOfTheWire: the deadline that a caller sends is what a decision gets, less the margin. What is compared was
// read on the server after the call came, so that a slow machine can only make it smaller.
func TestDeadlineOfTheWire(t *testing.T) {
	s := startOrders(t, nil)
	var left atomic.Int64
	if err := server.Inject(s.Server, everything(waits("asks", func(ctx context.Context) (policy.Outcome, error) {
		deadline, _ := ctx.Deadline()
		left.Store(int64(time.Until(deadline)))
		return permitted, nil
	}))); err != nil {
		t.Fatal(err)
	}
	for _, timeout := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond} {
		left.Store(int64(time.Hour))
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		_, err := s.Client().Check(ctx, servertest.NewCheck("GET", "/"))
		cancel()
		if grpcstatus.Code(err) == codes.DeadlineExceeded {
			continue // a machine that stalled; the stage may not have been asked
		}
		if got := time.Duration(left.Load()); err != nil || got > timeout-server.AnswerMargin {
			t.Errorf("with %s: a stage has %s, %v; want at most %s", timeout, got, err, timeout-server.AnswerMargin)
		}
	}
}

// TestDenialsBeatTheDeadlineOnTheWire is TestStagesThatWaitAreAnsweredInTime over real gRPC: nothing but a denial or, on a
// machine that stalls for longer than the margin, the caller's own end; and a denial before long, which a server that
// answers at the deadline would never give.
func TestDenialsBeatTheDeadlineOnTheWire(t *testing.T) {
	s := startOrders(t, nil)
	if err := server.Inject(s.Server, everything(waits("slow", untilEnd))); err != nil {
		t.Fatal(err)
	}
	if response, err := s.Client().Check(t.Context(), servertest.NewCheck("GET", "/")); err != nil || servertest.Status(response) != 503 {
		t.Errorf("without a deadline: %v, %v; want 503", response, err)
	}
	for _, timeout := range []time.Duration{20, 50, 100, 200} {
		timeout *= time.Millisecond
		denied := false
		for try := 0; try < 100 && !denied; try++ {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			response, err := s.Client().Check(ctx, servertest.NewCheck("GET", "/"))
			cancel()
			if denied = err == nil && servertest.Status(response) == 503; !denied && grpcstatus.Code(err) != codes.DeadlineExceeded {
				t.Fatalf("with %s: %v, %v; want 503", timeout, response, err)
			}
		}
		if !denied {
			t.Errorf("with %s: no answer before the deadline in 100 calls", timeout)
		}
	}
}
