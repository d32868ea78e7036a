package keys

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/outbound"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const (
	defaultEnrichmentAge     = time.Minute
	defaultEnrichmentTimeout = 2 * time.Second
	// failureAge is how long callers go on without an answer before it is asked for again.
	failureAge = 5 * time.Second
	// refusedAge is how long callers are refused without an answer before it is asked for again.
	refusedAge = time.Second
)

// ownNames are the claims by which a token says what it is, whose, and what it is good for. Nobody else says that of it.
var ownNames = []string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "auth_time", "acr", "amr", "azp", "client_id", "cnf", "act", "may_act", "active", "token_type",
}

// enrichment asks a server about callers whose token is good, and remembers the principal with what the server says.
type enrichment struct {
	maxAge    time.Duration
	goOn      bool // without an answer
	server    *enrichmentServer
	store     *Store
	questions *flights
}

// caller is somebody whose token is good, but for the conditions.
type caller struct {
	principal *policy.Principal
	token     string
	rules     *claimRules
	validity
	until time.Time // when the token is asked about anew; the zero time where it is not
	size  int       // of the claims' text
}

// join is ask where nobody is asking about the caller yet; callers with one token share a question.
func (e *enrichment) join(ctx context.Context, noWait bool, key cacheKey, c caller) (*policy.Principal, error) {
	if err := e.store.inactive.fault(key); err != nil {
		return nil, err
	}
	if noWait {
		return nil, policy.ErrWouldWait
	}
	c.token = strings.Clone(c.token) // the question may outlive the request, and its memory
	return e.questions.join(ctx, e.store, key, func(ctx context.Context) (*policy.Principal, error) {
		return e.ask(ctx, key, c)
	})
}

// ask asks the server, and remembers the principal that its answer makes, whether or not anyone still waits for it.
func (e *enrichment) ask(ctx context.Context, key cacheKey, c caller) (*policy.Principal, error) {
	principal, age, outcome := c.principal, e.maxAge, "ok"
	answer, size, err := e.server.ask(ctx, c)
	if err == nil {
		principal, err = c.with(answer)
	}
	switch {
	case errors.Is(err, errDisowned):
		e.store.enriched(e.server.name, "refused")
		e.store.inactive.add(key, err, defaultInactiveAge)
		return nil, err
	case err != nil:
		principal, size, age, outcome = c.principal, 0, failureAge, "failed"
		e.server.complain(ctx, err)
	}
	e.store.enriched(e.server.name, outcome)
	if err != nil && !e.goOn {
		err = &policy.StageError{Reason: policy.Unavailable, Err: fmt.Errorf("asking for more about the caller: %w", err)}
		e.store.inactive.add(key, err, refusedAge)
		return nil, err
	}
	accepted, err := e.store.cache.verifyOnce(ctx, key, func(now time.Time) (*verified, error) { return c.accept(principal, size, now, now.Add(age)) })
	if _, _, refused := refusal(err); err != nil && refused {
		e.store.inactive.add(key, err, defaultInactiveAge)
	}
	return accepted, err
}

// with returns the principal with the members of an answer for claims that its token does not have. An error is the answer's fault.
func (c caller) with(answer map[string]any) (*policy.Principal, error) {
	own := c.principal
	principal, err := c.rules.principal(merge(own.Claims, answer), own.Issuer, own.Tenant, c.validity)
	if err != nil {
		return nil, fmt.Errorf("the answer has claims of the wrong kind: %w", err)
	}
	principal.ID, principal.Subject = own.ID, own.Subject // who somebody is, the token alone says
	return principal, nil
}

// accept holds the principal to the conditions. It is remembered until then at the longest.
func (c caller) accept(principal *policy.Principal, size int, now, until time.Time) (*verified, error) {
	if err := c.check(now); err != nil {
		return nil, err
	}
	accepted, err := c.rules.conclude(principal, c.validity, c.size+size)
	if err != nil {
		return nil, err
	}
	for _, end := range []time.Time{until, c.until} {
		if !end.IsZero() && end.Before(accepted.expires) {
			accepted.expires = end
		}
	}
	return accepted, nil
}

// merge returns the claims with those members of an answer that add to them. None takes the place of a claim, also not by the
// text of a path: "a.b" would be found before the member b of a claim a.
func merge(claims, answer map[string]any) map[string]any {
	if len(answer) == 0 {
		return claims
	}
	all := maps.Clone(claims)
	for name, value := range answer {
		if !slices.Contains(ownNames, name) && !said(claims, name) {
			all[name] = value
		}
	}
	return all
}

// said reports whether the claims have that name, or one that is the beginning of it as a path.
func said(claims map[string]any, name string) bool {
	for end := len(name); end >= 0; end = strings.LastIndexByte(name[:end], '.') {
		if _, ok := claims[name[:end]]; ok {
			return true
		}
	}
	return false
}

// enriched counts an answer.
func (s *Store) enriched(provider, outcome string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.more[Answers{provider, outcome}]++
}

// enrichment reads what a provider says of it, nil where it says nothing.
func (s *Store) enrichment(cfg *configv1.Provider, reach outbound.Settings, files Files) (*enrichment, error) {
	message := cfg.GetEnrich()
	if message == nil {
		return nil, nil
	}
	server, err := s.enrichmentServer(cfg, reach, files)
	if err != nil {
		return nil, err
	}
	return &enrichment{
		maxAge: duration(message.GetMaxAge(), defaultEnrichmentAge),
		goOn:   message.GetOnFailure() == configv1.EnrichmentFailure_ENRICHMENT_FAILURE_GO_ON,
		server: server, store: s, questions: newFlights(),
	}, nil
}
