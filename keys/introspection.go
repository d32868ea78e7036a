package keys

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/outbound"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const (
	// defaultAnswerAge is how long an active answer is believed, and defaultInactiveAge an inactive one.
	defaultAnswerAge   = time.Minute
	defaultInactiveAge = 5 * time.Second
	// defaultIntrospectionTimeout bounds one question.
	defaultIntrospectionTimeout = 2 * time.Second
	// maxQuestions is how many questions may be open at one server; more callers get no answer.
	maxQuestions = 100
)

// introspection accepts tokens by what their server says of them (RFC 7662). It is immutable, but for what is on its way.
type introspection struct {
	claimRules

	issuer      string // that the answer must name; empty: any or none
	maxAge      time.Duration
	inactiveAge time.Duration
	server      *introspectionServer
	store       *Store
	digest      [sha256.Size]byte
	questions   *flights
	enrichment  *enrichment // nil: nobody is asked more
}

// opaque is the method of tokens that one server is asked about.
type opaque struct{ provider *Provider }

func (*opaque) challenge(reason policy.Reason) string { return (&bearers{}).challenge(reason) }

func (o *opaque) authenticate(ctx context.Context, req *policy.Request) (*policy.Principal, *Provider, error) {
	raw, at, err := o.provider.from.find(req)
	if err != nil {
		return nil, nil, err
	}
	principal, err := o.provider.introspection.authenticate(ctx, req.NoWait, raw)
	if err == nil {
		err = o.provider.possession.hold(ctx, req, raw, at, principal.Claims)
	}
	if err != nil {
		return nil, nil, o.provider.possession.behind(at, err)
	}
	return principal, o.provider, nil
}

func (o *opaque) offers() []string { return o.provider.possession.offers() }

// authenticate returns the principal of a token. The server is asked where no answer is remembered; callers with one
// token share one question, which goes on when one of them has gone away.
func (p *introspection) authenticate(ctx context.Context, noWait bool, raw string) (*policy.Principal, error) {
	if !isToken68(raw) {
		return nil, fmt.Errorf("%w: no token of the form that RFC 6750, section 2.1, has", errMalformed)
	}
	key := cacheKey{provider: p.digest, generation: p.server.generation(p.store.now()), credential: sha256.Sum256([]byte(raw))}
	if principal, ok := p.store.cache.get(key); ok {
		return principal, nil
	}
	if err := p.store.inactive.fault(key); err != nil {
		return nil, err
	}
	if noWait {
		return nil, policy.ErrWouldWait
	}
	raw = strings.Clone(raw) // the question may outlive the request, and its memory
	return p.questions.join(ctx, p.store, key, func(ctx context.Context) (*policy.Principal, error) {
		return p.ask(ctx, key, raw)
	})
}

// ask asks the server, and remembers its answer, whether or not anyone still waits for it.
func (p *introspection) ask(ctx context.Context, key cacheKey, raw string) (*policy.Principal, error) {
	claims, size, err := p.server.ask(ctx, raw)
	if err != nil {
		p.store.answered(p.name, "failed")
		p.server.complain(ctx, err)
		return nil, &policy.StageError{Reason: policy.Unavailable, Err: fmt.Errorf("asking the introspection server: %w", err)}
	}
	if active, ok := claims["active"].(bool); !ok {
		p.store.answered(p.name, "failed")
		p.server.complain(ctx, errors.New("active is no truth value in its answer"))
		return nil, &policy.StageError{Reason: policy.Unavailable, Err: errors.New("asking the introspection server: active is no truth value in its answer")}
	} else if !active {
		p.store.answered(p.name, "inactive")
		p.store.inactive.add(key, errInactive, p.inactiveAge)
		return nil, errInactive
	}
	p.store.answered(p.name, "active")
	principal, err := p.accepted(ctx, key, claims, raw, size)
	if _, _, refused := refusal(err); err != nil && refused {
		p.store.inactive.add(key, err, p.inactiveAge)
	}
	return principal, err
}

// read holds an active answer to the rules.
func (p *introspection) read(claims map[string]any, size int, now time.Time) (*verified, error) {
	issuer, v, err := p.times(claims, now)
	if err != nil {
		return nil, err
	}
	accepted, err := p.accept(claims, issuer, "", v, size)
	if err != nil {
		return nil, err
	}
	if end := now.Add(p.maxAge); end.Before(accepted.expires) {
		accepted.expires = end // when the server is asked again
	}
	return accepted, nil
}

// accepted returns the principal of an active answer, with what else somebody says of the caller where one is asked.
func (p *introspection) accepted(ctx context.Context, key cacheKey, claims map[string]any, raw string, size int) (*policy.Principal, error) {
	if p.enrichment == nil {
		return p.store.cache.verifyOnce(ctx, key, func(now time.Time) (*verified, error) { return p.read(claims, size, now) })
	}
	own, err := p.own(claims, raw, size, p.store.now())
	if err != nil {
		return nil, err
	}
	return p.enrichment.ask(ctx, key, own)
}

// own is read where somebody is asked more of the caller.
func (p *introspection) own(claims map[string]any, raw string, size int, now time.Time) (caller, error) {
	issuer, v, err := p.times(claims, now)
	if err != nil {
		return caller{}, err
	}
	principal, err := p.ownClaims(claims, issuer, "", v)
	return caller{principal: principal, token: raw, rules: &p.claimRules, validity: v, until: now.Add(p.maxAge), size: size}, err
}

// times returns the issuer of the token that an active answer is about, and when that token is good.
func (p *introspection) times(claims map[string]any, now time.Time) (string, validity, error) {
	issuer, _ := claims["iss"].(string)
	if p.issuer != "" && issuer != p.issuer {
		return "", validity{}, fmt.Errorf("%w: the answer is about a token of another issuer", errIssuer)
	}
	if !isAccess(claims) {
		return "", validity{}, fmt.Errorf("%w: the answer is about a token that is no access token", errClaims)
	}
	times := claims
	if _, present := claims["exp"]; !present { // RFC 7662, section 2.2: it may be absent
		times = maps.Clone(claims)
		times["exp"] = float64(now.Add(p.maxAge).Unix() + 1)
	}
	v, err := p.readTimes(times, now)
	return issuer, v, err
}

// isAccess reports whether an answer is about an access token. Servers know refresh tokens too (RFC 7662, section 2.1), which live
// long and are for the server alone. Ory Hydra says so in token_use, Keycloak in typ.
func isAccess(claims map[string]any) bool {
	for _, member := range [...]string{"token_use", "typ", "token_type"} {
		kind, _ := claims[member].(string)
		switch strings.TrimSuffix(strings.ToLower(kind), "_token") {
		case "refresh", "offline", "id", "logout":
			return false
		}
	}
	return true
}

// isToken68 reports whether text is a token as the Bearer scheme has it (b64token, RFC 6750, section 2.1).
func isToken68(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case sextets[c] != 0 || c == '.' || c == '~' || c == '+' || c == '/':
		case c == '=' && i > 0:
		default:
			return false
		}
	}
	return text != ""
}

// introspectionProvider compiles a provider of opaque tokens.
func (s *Store) introspectionProvider(cfg *configv1.Provider, reach outbound.Settings, files Files) (*introspection, error) {
	message := cfg.GetIntrospection()
	rules, err := newClaimRules(cfg.GetName(), "introspection", message, files)
	if err != nil {
		return nil, err
	}
	rules.maxLifetime = longestLifetime // the server is asked again long before
	p := &introspection{
		claimRules: rules, issuer: message.GetIssuer(), store: s, questions: newFlights(),
		maxAge: duration(message.GetMaxAge(), defaultAnswerAge), inactiveAge: duration(message.GetInactiveMaxAge(), defaultInactiveAge),
	}
	if p.server, err = s.introspectionServer(cfg, reach, files); err != nil {
		return nil, err
	}
	if p.enrichment, err = s.enrichment(cfg, reach, files); err != nil {
		return nil, err
	}
	if p.digest, err = digest(cfg, reach, p.server.keys(), nil); err != nil {
		return nil, err
	}
	return p, nil
}
