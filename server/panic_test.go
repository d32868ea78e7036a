package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/server"
	"github.com/kasbah-authz/kasbah/server/servertest"
)

// secret is what no log may hold.
const secret = "s3cr3t-4711"

// panicking are routes that panic in each place where a test can put code.
func panicking(blow func()) map[string][]policy.Route {
	stages := func(place int, broken stage) []policy.Route {
		all := []policy.Stage{permits("one"), permits("two"), permits("three")}
		all[place] = broken
		return everything(all...)
	}
	direct := stage{"broken", func(context.Context, *policy.Request) (policy.Outcome, error) { blow(); return permitted, nil }}
	waiting := waits("broken", func(context.Context) (policy.Outcome, error) { blow(); return permitted, nil })
	injected := func(add func(route *policy.Route, injections []policy.Injection), more ...policy.Stage) []policy.Route {
		routes := everything(append(more, permits("one"))...)
		add(&routes[0], []policy.Injection{{Name: "x-user", Value: func(*policy.Request, *policy.Principal) (string, bool, error) {
			blow()
			return "alice", true, nil
		}}})
		return routes
	}
	header := func(route *policy.Route, injections []policy.Injection) { route.Headers = injections }
	response := func(route *policy.Route, injections []policy.Injection) { route.Response = injections }
	query := func(route *policy.Route, injections []policy.Injection) { route.Query = injections }
	return map[string][]policy.Route{
		"first stage": stages(0, direct), "second stage": stages(1, direct), "third stage": stages(2, direct),
		"first stage, waiting": stages(0, waiting), "second stage, waiting": stages(1, waiting), "third stage, waiting": stages(2, waiting),
		"header": injected(header), "response header": injected(response), "query": injected(query),
		"header, after waiting": injected(header, waits("slow", func(context.Context) (policy.Outcome, error) { return permitted, nil })),
		"nil stage":             everything(nil),
	}
}

// TestPanicsDeny: a panic anywhere costs its own request an internal error, is counted once and logged with where it was,
// and harms nobody else.
func TestPanicsDeny(t *testing.T) {
	s := startOrders(t, nil)
	var broken atomic.Bool
	panics := 0.0
	for name, routes := range panicking(func() {
		if broken.Load() {
			panic("in the middle of something")
		}
	}) {
		if err := server.Inject(s.Server, routes); err != nil {
			t.Fatal(err)
		}
		broken.Store(true)
		logged := len(s.Log.Lines(`"stack"`))
		response := s.Check(servertest.NewCheck("GET", "/a"))
		if servertest.Status(response) != 500 || codes.Code(response.GetStatus().GetCode()) != codes.Internal {
			t.Errorf("%s: %v, want 500", name, response)
		}
		panics++
		if got := s.Metrics()["kasbah_panics_total"]; got != panics {
			t.Errorf("%s: kasbah_panics_total is %v, want %v", name, got, panics)
		}
		lines := s.Log.Lines(`"stack"`, `"level":"ERROR"`, `"reason":"internal"`)
		if len(lines) != logged+1 {
			t.Fatalf("%s: %d lines with a stack, want one more than %d", name, len(lines), logged)
		}
		var line struct{ Stack string }
		if err := json.Unmarshal([]byte(lines[logged]), &line); err != nil || !strings.Contains(line.Stack, ".go:") {
			t.Errorf("%s: the stack is %q, %v", name, line.Stack, err)
		}
		broken.Store(false)
		if got := s.Status(servertest.NewCheck("GET", "/a")); name != "nil stage" && got != 200 {
			t.Errorf("%s: the next request: %d, want 200", name, got)
		} else if name == "nil stage" {
			panics++
			if len(s.Log.Lines("invalid memory address")) == 0 {
				t.Error("the log does not say what the runtime found wrong")
			}
		}
	}
}

// TestPanicValuesAreNotLogged: what is panicked with may hold what the stage was looking at.
func TestPanicValuesAreNotLogged(t *testing.T) {
	s := startOrders(t, nil)
	for _, value := range []any{secret, errors.New("reading " + secret), []byte(secret), struct{ Token string }{secret}, loud{}} {
		for name, routes := range panicking(func() { panic(value) }) {
			if err := server.Inject(s.Server, routes); err != nil {
				t.Fatal(err)
			}
			response := s.Check(servertest.NewCheck("GET", "/a", servertest.Bearer(secret)))
			if servertest.Status(response) != 500 || strings.Contains(response.String(), secret) {
				t.Errorf("%s, %T: %v", name, value, response)
			}
		}
	}
	for _, line := range s.Log.Lines(secret) {
		t.Fatalf("a line of the log holds the secret: %.400s", line)
	}
	if len(s.Log.Lines(`"stack"`)) == 0 {
		t.Error("nothing was logged")
	}
}

// loud is a value that says too much, and panics when it is asked once more.
type loud struct{}

func (loud) String() string { panic(secret) }

// TestPanicsOfTheEdge: the code around the pipeline may panic too, even that which answers for a panic.
func TestPanicsOfTheEdge(t *testing.T) {
	for name, test := range map[string]struct {
		clock, log int // which call of the clock or of the log panics; 0 is none, -1 is each
	}{
		"reading the request": {clock: 2}, "after the verdict": {clock: 3}, "in the log": {log: 1}, "in the log, always": {log: -1},
		"in the clock, from the verdict on": {clock: -2},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			handler := &brokenLog{at: test.log}
			checker, err := server.NewChecker(server.CheckerConfig{
				Routes: everything(permits("one")), Timeout: time.Second, Log: handler,
				Now: func() time.Time {
					if calls++; calls == test.clock || test.clock < 0 && calls >= -test.clock {
						panic("the clock stands still")
					}
					return time.Now()
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			in := servertest.NewCheck("GET", "/a")
			if test.log != 0 {
				in = servertest.NewCheck("GET", "//") // a denial, which is logged
			}
			calls = 0
			response, err := checker.Check(t.Context(), in)
			if got := servertest.Status(response); err != nil || got != 500 {
				t.Errorf("Check = %v, %v; want 500", response, err)
			}
			if got := checker.Panics(); got != 1 {
				t.Errorf("kasbah_panics_total is %v, want 1", got)
			}
		})
	}
}

// brokenLog is a log whose call number at panics, or each of them when at is -1.
type brokenLog struct{ at, calls int }

func (*brokenLog) Enabled(context.Context, slog.Level) bool { return true }
func (b *brokenLog) WithAttrs([]slog.Attr) slog.Handler     { return b }
func (b *brokenLog) WithGroup(string) slog.Handler          { return b }

func (b *brokenLog) Handle(context.Context, slog.Record) error {
	if b.calls++; b.at == b.calls || b.at == -1 {
		panic("the log is full")
	}
	return nil
}
