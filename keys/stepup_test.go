package keys_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// TestStepUp: each demand by itself and together, over the claims of tokens that are all good.
func TestStepUp(t *testing.T) {
	f := newFixture(t)
	now := float64(instant.Unix())
	acr, amr, age := &configv1.StepUp{Acr: []string{"gold", "silver"}}, &configv1.StepUp{Amr: []string{"pwd", "hwk"}}, &configv1.StepUp{MaxAge: durationpb.New(5 * time.Minute)}
	all := &configv1.StepUp{Acr: acr.GetAcr(), Amr: amr.GetAmr(), MaxAge: age.GetMaxAge()}
	good := map[string]any{"acr": "gold", "amr": []any{"hwk", "pwd", "mfa"}, "auth_time": now - 60}
	with := func(name string, value any) map[string]any {
		changed := map[string]any{"acr": good["acr"], "amr": good["amr"], "auth_time": good["auth_time"]}
		if changed[name] = value; value == nil {
			delete(changed, name)
		}
		return changed
	}
	for name, c := range map[string]struct {
		demanded *configv1.StepUp
		claims   map[string]any
		fault    string
	}{
		"all met":                {all, good, ""},
		"acr alone":              {acr, map[string]any{"acr": "silver"}, ""},
		"no acr":                 {all, with("acr", nil), "acr is none"},
		"another acr":            {acr, with("acr", "bronze"), "acr is none"},
		"acr in upper case":      {acr, with("acr", "GOLD"), "acr is none"},
		"acr is a list":          {acr, with("acr", []any{"gold"}), "acr is none"},
		"two in one acr":         {acr, with("acr", "gold silver"), "acr is none"},
		"an empty acr":           {acr, with("acr", ""), "acr is none"},
		"no amr":                 {all, with("amr", nil), "amr lacks pwd"},
		"one amr of two":         {amr, with("amr", []any{"pwd"}), "amr lacks hwk"},
		"amr is a text":          {amr, with("amr", "pwd hwk"), "amr lacks pwd"},
		"amr of other things":    {amr, with("amr", []any{1.0, map[string]any{}, []any{"pwd", "hwk"}}), "amr lacks pwd"},
		"no auth_time":           {all, with("auth_time", nil), "auth_time is absent"},
		"auth_time is a text":    {age, with("auth_time", "1"), "auth_time is absent or no time"},
		"auth_time is zero":      {age, with("auth_time", 0.0), "auth_time is absent or no time"},
		"auth_time is far away":  {age, with("auth_time", 1e300), "auth_time is absent or no time"},
		"just now":               {age, with("auth_time", now), ""},
		"just old enough":        {age, with("auth_time", now-300), ""},
		"too old":                {age, with("auth_time", now-301), "longer ago than 5m0s"},
		"of a clock ahead":       {age, with("auth_time", now+30), ""},
		"of a clock far ahead":   {age, with("auth_time", now+31), "in the future"},
		"nothing of that":        {all, map[string]any{}, "acr is none"},
		"an age, no other claim": {age, map[string]any{"auth_time": now}, ""},
	} {
		outcome, err := f.auth.Evaluate(t.Context(), withToken(f.issuer.Token(keystest.Claims{Extra: c.claims})), &policy.Principal{})
		if err != nil || outcome.Verdict != policy.Passed {
			t.Fatalf("%s: %+v, %v", name, outcome, err)
		}
		stage := f.store.StepUp(c.demanded)
		got, err := stage.Evaluate(t.Context(), &policy.Request{}, outcome.Principal)
		if err != nil {
			t.Fatal(err)
		}
		if c.fault == "" {
			if got.Verdict != policy.Passed {
				t.Errorf("%s: %+v", name, got)
			}
			continue
		}
		if got.Verdict != policy.Denied || got.Reason != policy.Insufficient || !strings.Contains(got.Detail, c.fault) || len(got.Challenges) != 1 {
			t.Errorf("%s: %+v, want %s", name, got, c.fault)
		}
	}
	for want, demanded := range map[string]*configv1.StepUp{
		`Bearer realm="kasbah", error="insufficient_user_authentication", acr_values="gold silver", max_age="300"`: all,
		`Bearer realm="kasbah", error="insufficient_user_authentication"`:                                          amr,
		`Bearer realm="kasbah", error="insufficient_user_authentication", max_age="300"`:                           age,
	} {
		got, err := f.store.StepUp(demanded).Evaluate(t.Context(), &policy.Request{}, &policy.Principal{})
		if err != nil || len(got.Challenges) != 1 || got.Challenges[0] != want {
			t.Errorf("%q, %v, want %q", got.Challenges, err, want)
		}
	}
}
