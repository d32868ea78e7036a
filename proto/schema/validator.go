package schema

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// Config says what the bodies of one route must be.
type Config struct {
	// Body is what is demanded of them, with its defaults filled in. It is required.
	Body *configv1.Body
	// Schema is what they are held against; nil for nothing.
	Schema *Schema
}

// Validator is the stage that validates the bodies of one route. It is immutable and safe for use by many goroutines at once.
type Validator struct {
	form   form
	wide   form // for the schema, where form is only to be reported
	schema *Schema
}

// New returns the Validator for a route.
func New(cfg Config) (*Validator, error) {
	if cfg.Body.GetMaxBytes() == 0 || cfg.Body.GetJson().GetMaxDepth() == 0 {
		return nil, errors.New("building a validator: Body is missing, or has no defaults")
	}
	types := []string{"application/json"}
	if cfg.Schema != nil {
		types = cfg.Schema.types()
	}
	v := &Validator{form: newForm(cfg.Body, types, maphash.MakeSeed()), schema: cfg.Schema}
	v.wide = v.form.widest(types)
	return v, nil
}

// Name returns "validate".
func (*Validator) Name() string { return "validate" }

// Evaluate passes a request whose body is valid, and gives it to later stages. What is wrong with any other is in the Outcome's
// Violations; it is denied unless that is only to be reported. It neither waits nor has an error.
func (v *Validator) Evaluate(_ context.Context, req *policy.Request, _ *policy.Principal) (policy.Outcome, error) {
	seen, found := v.form.check(req)
	switch {
	case v.schema != nil:
		return v.held(req, seen, found), nil
	case found != nil:
		return found.outcome(v.form.reported), nil
	}
	outcome := policy.Outcome{Verdict: policy.Passed}
	if seen.kind == jsonText {
		outcome.Parsed = parsedJSON(req.Body.Bytes)
	}
	return outcome, nil
}

// held is the outcome of a body that is held against the schema, whatever its form was found to be. What is wrong with that and
// only to be reported is no reason not to look at the schema, and none to call the body valid.
func (v *Validator) held(req *policy.Request, seen shape, wrong *finding) policy.Outcome {
	if wrong != nil && !v.form.reported {
		return wrong.outcome(false)
	}
	var before []policy.Violation
	if wrong != nil {
		before = wrong.violations
		if seen, wrong = v.wide.check(req); wrong != nil { // then the schema has nothing to look at
			if v.schema.reported {
				return policy.Outcome{Verdict: policy.Passed, Violations: before}
			}
			return wrong.outcome(false)
		}
	}
	read, found := v.schema.contract.check(req, seen, v.form.maxBytes)
	outcome := policy.Outcome{Verdict: policy.Passed, Violations: read.noted, Parsed: read.parsed}
	if found != nil {
		outcome = found.outcome(v.schema.reported)
	}
	if len(before) > 0 && outcome.Verdict == policy.Passed {
		outcome.Violations, outcome.Parsed = slices.Concat(before, outcome.Violations), nil
	}
	return outcome
}

// parsedJSON reads JSON whose structure was found to be good, once it is asked for.
func parsedJSON(text []byte) func() (any, error) {
	return sync.OnceValues(func() (any, error) {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			return nil, fmt.Errorf("reading the body again: %T", err) // its text may quote the body
		}
		return value, nil
	})
}
