package keys

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// StepUp is the [policy.Stage] that demands a stronger or a later authentication than any good token shows (RFC 9470). It
// comes behind an [Authenticator]. A principal without the claims, such as one by an API key, does not meet it.
type StepUp struct {
	acr, amr  []string
	maxAge    time.Duration // 0: none is demanded
	now       func() time.Time
	challenge string
}

// StepUp returns the stage for what a route demands.
func (s *Store) StepUp(cfg *configv1.StepUp) *StepUp {
	u := &StepUp{acr: slices.Clone(cfg.GetAcr()), amr: slices.Clone(cfg.GetAmr()), maxAge: cfg.GetMaxAge().AsDuration(), now: s.now}
	var challenge strings.Builder
	challenge.WriteString(`Bearer realm="kasbah", error="insufficient_user_authentication"`)
	if len(u.acr) > 0 {
		challenge.WriteString(`, acr_values="` + strings.Join(u.acr, " ") + `"`)
	}
	if u.maxAge > 0 {
		challenge.WriteString(`, max_age="` + strconv.FormatInt(int64(u.maxAge/time.Second), 10) + `"`)
	}
	u.challenge = challenge.String()
	return u
}

// Name returns "step_up".
func (u *StepUp) Name() string { return "step_up" }

// Evaluate implements [policy.Stage].
func (u *StepUp) Evaluate(_ context.Context, _ *policy.Request, principal *policy.Principal) (policy.Outcome, error) {
	if fault := u.fault(principal.Claims); fault != "" {
		return policy.Outcome{Verdict: policy.Denied, Reason: policy.Insufficient, Challenges: []string{u.challenge}, Detail: fault}, nil
	}
	return policy.Outcome{Verdict: policy.Passed}, nil
}

// fault says what of the demands is not met.
func (u *StepUp) fault(claims map[string]any) string {
	if len(u.acr) > 0 {
		if acr, _ := claims["acr"].(string); !slices.Contains(u.acr, acr) {
			return "acr is none of those that the route demands"
		}
	}
	if len(u.amr) > 0 {
		methods, _ := claims["amr"].([]any) // a string would have two readings: RFC 8176 has it be an array
		for _, wanted := range u.amr {
			if !slices.Contains(methods, any(wanted)) {
				return fmt.Sprintf("amr lacks %s, which the route demands", wanted)
			}
		}
	}
	if u.maxAge == 0 {
		return ""
	}
	at, present, err := readTime(claims, "auth_time")
	switch {
	case err != nil || !present:
		return "auth_time is absent or no time, and the route demands an age"
	case at.After(u.now().Add(defaultLeeway)):
		return "auth_time is in the future"
	case u.now().Sub(at) > u.maxAge:
		return fmt.Sprintf("the caller authenticated longer ago than %v, which the route demands", u.maxAge)
	}
	return ""
}
