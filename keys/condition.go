package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/kasbah-authz/kasbah/policy"
)

// requiredClaim is what a token must say beyond what every token must.
type requiredClaim struct {
	path   string
	values []string // none: any but null
}

// check refuses claims that do not say it.
func (c *requiredClaim) check(claims map[string]any) error {
	value, _ := lookup(claims, c.path)
	if value == nil {
		return fmt.Errorf("%w: %s, which the provider requires, is absent", errClaims, c.path)
	}
	if len(c.values) == 0 || c.accepts(value) {
		return nil
	}
	list, _ := value.([]any)
	if slices.ContainsFunc(list, c.accepts) {
		return nil
	}
	return fmt.Errorf("%w: %s is none of what the provider requires", errClaims, c.path)
}

func (c *requiredClaim) accepts(value any) bool {
	switch value := value.(type) {
	case string:
		return slices.Contains(c.values, value)
	case float64, bool:
		text, err := json.Marshal(value)
		return err == nil && slices.Contains(c.values, string(text))
	}
	return false
}

// conditions compiles the expressions of a provider.
func conditions(kind string, sources []string, files Files) ([]func(*policy.Principal) (bool, error), error) {
	var all []func(*policy.Principal) (bool, error)
	for i, source := range sources {
		field := fmt.Sprintf("%s.conditions[%d]", kind, i)
		if files.Condition == nil {
			return nil, &policy.FieldError{Field: field, Err: errors.New("expressions are not read here")}
		}
		condition, err := files.Condition(source)
		if err != nil {
			return nil, &policy.FieldError{Field: field, Err: err}
		}
		all = append(all, condition)
	}
	return all, nil
}

// checkConditions refuses a principal of whom a condition does not hold, or cannot be evaluated.
func checkConditions(conditions []func(*policy.Principal) (bool, error), principal *policy.Principal) error {
	for i, condition := range conditions {
		held, err := condition(principal)
		if err != nil {
			return fmt.Errorf("%w: conditions[%d] cannot be evaluated: %w", errClaims, i, err)
		}
		if !held {
			return fmt.Errorf("%w: conditions[%d] is false", errClaims, i)
		}
	}
	return nil
}
