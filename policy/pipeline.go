package policy

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// Stage is one step of a route's pipeline.
//
// Evaluate looks at the request and at the principal established so far (never nil, perhaps anonymous)
// and says what it finds. A refusal is an Outcome; an error is a fault of ours or of something that
// we depend on, and denies with [Internal], or with [Unavailable], [PolicyError] or another reason that
// the error carries as a [*StageError]. Never both. Evaluate may be called by many goroutines at once, must
// not keep or change the request, must return soon after ctx ends, and must return [ErrWouldWait] rather
// than wait when the request's NoWait is set.
type Stage interface {
	Name() string
	Evaluate(ctx context.Context, req *Request, principal *Principal) (Outcome, error)
}

// StageError is an error that knows the Reason to deny with.
type StageError struct {
	Reason Reason
	Err    error
}

// Error returns the text of the error inside.
func (e *StageError) Error() string { return e.Err.Error() }

// Unwrap returns the error inside.
func (e *StageError) Unwrap() error { return e.Err }

// PanicError is a panic of a stage, caught.
type PanicError struct {
	Value any
	Stack []byte
}

// Error returns the value that was panicked with.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Pipeline decides requests by the routes that it was built of. It is immutable, and safe for use by many
// goroutines at once.
type Pipeline struct {
	router *router
	byName map[string]*Route
	owned  []string // every header that some route injects, lower case
}

// NewPipeline returns the Pipeline of those routes. Two routes that match one request, neither of them more
// specific, two of one name, and a path pattern that cannot be read are errors; each is a [*FieldError]
// whose Field begins with "routes[i]".
func NewPipeline(routes []Route) (*Pipeline, error) {
	p := &Pipeline{router: newRouter(), byName: make(map[string]*Route, len(routes))}
	owned := map[string]bool{}
	for i := range routes {
		route := &routes[i]
		if _, ok := p.byName[route.Name]; ok {
			return nil, &FieldError{fmt.Sprintf("routes[%d].name", i), fmt.Errorf("a second route named %q", route.Name)}
		}
		p.byName[route.Name] = route
		if err := p.router.add(route, i); err != nil {
			return nil, err
		}
		for _, injection := range route.Headers {
			if !owned[injection.Name] {
				owned[injection.Name] = true
				p.owned = append(p.owned, injection.Name)
			}
		}
	}
	return p, nil
}

// Step is what one stage did in a decision.
type Step struct {
	Stage Stage
	// Principal is who was known to be calling when the stage was asked.
	Principal *Principal
	Outcome   Outcome
	Err       error
}

// Decide answers the request. It has no error: whatever goes wrong is a Decision that denies.
func (p *Pipeline) Decide(ctx context.Context, req *Request) Decision {
	return p.decide(ctx, req, nil)
}

// Explain decides as Decide does, and returns what each stage did that was asked, in order.
func (p *Pipeline) Explain(ctx context.Context, req *Request) (Decision, []Step) {
	var steps []Step
	d := p.decide(ctx, req, func(s Step) { steps = append(steps, s) })
	return d, steps
}

func (p *Pipeline) decide(ctx context.Context, req *Request, note func(Step)) (d Decision) {
	d.Principal = anonymous
	defer func() {
		if v := recover(); v != nil {
			d = fault(d, Internal, &PanicError{Value: v, Stack: debug.Stack()})
		}
	}()
	route := p.route(req)
	if route == nil {
		d.Reason = NoRoute
		return d
	}
	d.Route, req.Parsed = route.Name, nil
	permitted := false
	for _, stage := range route.Stages {
		if ctx.Err() != nil {
			return fault(d, Deadline, ctx.Err())
		}
		d.Stage = stage.Name()
		outcome, err := stage.Evaluate(ctx, req, d.Principal)
		if note != nil {
			note(Step{stage, d.Principal, outcome, err})
		}
		if err != nil {
			return stageFault(ctx, d, err)
		}
		if outcome.Principal != nil {
			d.Principal = outcome.Principal
		}
		if outcome.Rule != (Rule{}) {
			d.Rule = outcome.Rule
		}
		d.Remove = append(d.Remove, outcome.Remove...)
		d.Set = append(d.Set, outcome.Set...)
		d.RemoveQuery = append(d.RemoveQuery, outcome.RemoveQuery...)
		d.Response = append(d.Response, outcome.Response...)
		if outcome.Parsed != nil {
			req.Parsed = outcome.Parsed
		}
		if len(outcome.Violations) > 0 && (outcome.Verdict == Passed || outcome.Verdict == Permitted) {
			d.Reported = append(d.Reported, outcome.Violations...)
		}
		switch outcome.Verdict {
		case Permitted:
			permitted = true
		case Passed:
		default:
			d.Reason, d.Detail, d.Challenges, d.Violations = outcome.Reason, outcome.Detail, outcome.Challenges, outcome.Violations
			return denied(d)
		}
	}
	d.Stage = ""
	if !permitted {
		d.Reason, d.Detail = NoMatchingPolicy, "no stage of the route permitted the request"
		return denied(d)
	}
	if err := p.mutate(&d, route, req); err != nil {
		return stageFault(ctx, d, err)
	}
	if ctx.Err() != nil { // too late to be believed by the caller, and perhaps evaluated on a half answer
		return fault(d, Deadline, ctx.Err())
	}
	d.Effect, d.Reason = Allow, NoReason
	return d
}

func (p *Pipeline) route(req *Request) *Route {
	if req.RouteName != "" {
		return p.byName[req.RouteName]
	}
	route, params := p.router.match(req.Host, req.Method, req.Path)
	req.Params = params
	return route
}

// stageFault turns a stage's error into the denial that it means.
func stageFault(ctx context.Context, d Decision, err error) Decision {
	if errors.Is(err, ErrWouldWait) {
		d.WouldWait = true
		return fault(d, Unavailable, nil)
	}
	var known *StageError
	switch {
	case errors.As(err, &known):
		return fault(d, known.Reason, err)
	case ctx.Err() != nil:
		return fault(d, Deadline, err)
	}
	return fault(d, Internal, err)
}

func fault(d Decision, reason Reason, err error) Decision {
	d.Reason, d.Err = reason, err
	if err != nil {
		d.Detail = err.Error()
	}
	return denied(d)
}

// denied makes sure that a denial denies, whatever the stage that asked for it left out, and that it
// changes nothing upstream. What the stages have for the caller stays.
func denied(d Decision) Decision {
	d.Effect = Deny
	if d.Reason == NoReason || d.Reason >= reasonCount {
		d.Reason = Internal
	}
	d.Set, d.Remove, d.Query, d.RemoveQuery = nil, nil, nil, nil
	return d
}
