package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

const (
	// perRequest bounds one request and its answer.
	perRequest = 10 * time.Second
	// reloadPatience bounds how long a change of a file, or of the issuer's keys, may take to be in force.
	reloadPatience = 10 * time.Second
)

// Try sends every request whose verdict is known, prints request, expected and actual verdict, and reports
// whether all were as expected. It edits the policy in the System's folder, and restores it.
func (s *System) Try(ctx context.Context, out io.Writer) (bool, error) {
	report := &report{out: out}
	for _, e := range expectations(s.issuer) {
		report.add(ctx, s, e)
	}
	s.tryRotation(ctx, report)
	if err := s.tryReload(ctx, report); err != nil {
		return false, err
	}
	fmt.Fprintf(out, "\n%d requests through Envoy, %d as expected, %d not\n", report.sent, report.sent-report.wrong, report.wrong)
	return report.wrong == 0 && report.sent > 0, nil
}

type report struct {
	out         io.Writer
	sent, wrong int
}

func (r *report) add(ctx context.Context, s *System, e expectation) {
	ctx, cancel := context.WithTimeout(ctx, perRequest)
	defer cancel()
	actual, fault := "", ""
	a, err := e.send(ctx, s.EnvoyAddr())
	switch {
	case err != nil:
		fault = err.Error()
	case a.String() != e.want:
		actual, fault = a.String(), "another verdict"
	default:
		actual = a.String()
		if e.check != nil {
			fault = e.check(a)
		}
	}
	r.sent++
	mark := "ok   "
	if fault != "" {
		r.wrong++
		mark = "WRONG"
		fault = "  <- " + fault
	}
	fmt.Fprintf(r.out, "%s  %-46s  %-6s %-26s  expected %-7s  actual %s%s\n", mark, e.name, e.method, e.path, e.want, actual, fault)
}

// tryRotation puts new keys in force at the issuer: a token under a key that Kasbah has never seen is good at
// once, and one under the old key stays good while the issuer publishes it.
func (s *System) tryRotation(ctx context.Context, report *report) {
	old := s.issuer.Token(keystest.Claims{})
	s.issuer.Rotate()
	fresh := s.issuer.Token(keystest.Claims{})
	// The forgeries just now asked for unknown keys, and such a request may fetch keys only once in a while.
	s.await(ctx, expectation{request: request{method: "GET", path: "/orders/7", token: fresh}, want: "200"})
	report.add(ctx, s, expectation{"a token under a new key", request{method: "GET", path: "/orders/7", token: fresh}, "200", nil})
	report.add(ctx, s, expectation{"a token under the former key", request{method: "GET", path: "/orders/8", token: old}, "200", nil})
}

// tryReload takes alice's role away in policy.csv, then breaks the file, then restores it.
func (s *System) tryReload(ctx context.Context, report *report) error {
	path := filepath.Join(s.folder, "policy.csv")
	original, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	restored := false
	restore := func() error {
		restored = true
		return os.WriteFile(path, original, 0o644)
	}
	defer func() {
		if !restored {
			_ = restore() // the fault that led here is the one to tell
		}
	}()
	get := request{method: "GET", path: "/orders/7", token: s.issuer.Token(keystest.Claims{Subject: "alice"})}
	without := bytes.Replace(original, []byte("g, alice, reader\n"), nil, 1)
	if bytes.Equal(without, original) {
		return fmt.Errorf("%s has no line \"g, alice, reader\" to take away", path)
	}
	if err := os.WriteFile(path, without, 0o644); err != nil {
		return err
	}
	s.await(ctx, expectation{request: get, want: "403"})
	report.add(ctx, s, expectation{"a role taken away in policy.csv", get, "403", nil})

	refused := s.refusals()
	if err := os.WriteFile(path, append(without, "p, reader, /orders/:id\n"...), 0o644); err != nil {
		return err
	}
	s.awaitRefusal(ctx, refused)
	report.add(ctx, s, expectation{"a broken policy.csv changes nothing", get, "403", nil})

	if err := restore(); err != nil {
		return err
	}
	s.await(ctx, expectation{request: get, want: "200"})
	report.add(ctx, s, expectation{"the role given back", get, "200", nil})
	return nil
}

// await sends a request again and again until its verdict is the wanted one, or patience is over.
func (s *System) await(ctx context.Context, e expectation) {
	awaitCondition(ctx, func() bool {
		a, err := e.send(ctx, s.EnvoyAddr())
		return err == nil && a.String() == e.want
	})
}

func (s *System) refusals() uint64 { return s.kasbah.Refused() }

func (s *System) awaitRefusal(ctx context.Context, before uint64) {
	awaitCondition(ctx, func() bool { return s.kasbah.Refused() > before })
}

func awaitCondition(ctx context.Context, holds func() bool) {
	ctx, cancel := context.WithTimeout(ctx, reloadPatience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
