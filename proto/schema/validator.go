package schema

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// Config says what the bodies of one route must be.
type Config struct {
	// Body is what is demanded of them, with its defaults filled in. It is required.
	Body *configv1.Body
}

// Validator is the stage that validates the bodies of one route. It is immutable and safe for use by many goroutines at once.
type Validator struct {
	form form
}

// New returns the Validator for a route.
func New(cfg Config) (*Validator, error) {
	if cfg.Body.GetMaxBytes() == 0 || cfg.Body.GetJson().GetMaxDepth() == 0 {
		return nil, errors.New("building a validator: Body is missing, or has no defaults")
	}
	return &Validator{form: newForm(cfg.Body, []string{"application/json"}, maphash.MakeSeed())}, nil
}

// Name returns "validate".
func (*Validator) Name() string { return "validate" }

// Evaluate passes a request whose body is valid, and gives it to later stages. What is wrong with any other is in the Outcome's
// Violations; it is denied unless that is only to be reported. It neither waits nor has an error.
func (v *Validator) Evaluate(_ context.Context, req *policy.Request, _ *policy.Principal) (policy.Outcome, error) {
	read, found := v.form.check(req)
	if found != nil {
		return found.outcome(v.form.reported), nil
	}
	outcome := policy.Outcome{Verdict: policy.Passed}
	if read == jsonText {
		outcome.Parsed = parsedJSON(req.Body.Bytes)
	}
	return outcome, nil
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
