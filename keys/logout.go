package keys

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/backchannel"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// logout is which logout tokens of a provider's issuer count.
type logout struct {
	rules        claimRules // of which the audience counts alone
	types        []string   // as mediaType has them
	wholeSubject bool
}

func newLogout(cfg *configv1.Logout, rules claimRules) *logout {
	if cfg == nil {
		return nil
	}
	l := &logout{types: []string{"logout+jwt"}, wholeSubject: cfg.GetWholeSubject()}
	l.rules = claimRules{audiences: slices.Clone(cfg.GetAudiences()), leeway: rules.leeway, maxLifetime: rules.maxLifetime}
	if cfg.GetUntyped() {
		l.types = append(l.types, "", "jwt")
	}
	return l
}

// Logout returns what answers the logout tokens of those providers' issuers (OpenID Connect Back-Channel Logout 1.0), nil where no
// provider has any. What they say is withdrawn by that function.
func (s *Store) Logout(providers []*Provider, withdraw func(ctx context.Context, record Revocation, now time.Time) error) http.Handler {
	heard := slices.DeleteFunc(slices.Clone(providers), func(p *Provider) bool { return p.jwt == nil || p.jwt.logout == nil })
	if len(heard) == 0 {
		return nil
	}
	return &backchannel.Handler{
		Verify: func(ctx context.Context, raw string) (backchannel.Notice, error) {
			return s.verifyLogout(ctx, heard, raw)
		},
		Withdraw: func(ctx context.Context, notice backchannel.Notice) error {
			now := s.now()
			for _, record := range withdrawn(providers, notice, now) {
				if err := withdraw(ctx, record, now); err != nil {
					return err
				}
			}
			return nil
		},
		Guard: &s.logouts, Now: s.now, Logger: s.logger,
	}
}

// withdrawn returns what a notice withdraws. The session, where it names one, else what the subject was issued until then, by the
// issuer's own clock. Nothing of that is good for longer than a provider lets any token of the issuer be, whether or not it hears logouts.
func withdrawn(providers []*Provider, notice backchannel.Notice, now time.Time) []Revocation {
	var life time.Duration
	wholeSubject := notice.Session == ""
	for _, p := range providers {
		if p.jwt == nil {
			continue
		}
		if _, ok := p.jwt.issuers[notice.Issuer]; ok {
			life = max(life, p.jwt.maxLifetime+3*p.jwt.leeway)
			wholeSubject = wholeSubject || p.jwt.logout != nil && p.jwt.logout.wholeSubject
		}
	}
	until := now.Add(life).Truncate(time.Second).Add(time.Second)
	var records []Revocation
	if notice.Session != "" {
		records = append(records, Revocation{
			Name: RevocationName{Claim: "sid", Issuer: notice.Issuer, Value: notice.Session}, Windows: []RevocationWindow{{Until: until}},
		})
	}
	if wholeSubject && notice.Subject != "" {
		records = append(records, Revocation{
			Name: RevocationName{Claim: "sub", Issuer: notice.Issuer, Value: notice.Subject}, Windows: []RevocationWindow{{Before: notice.Issued, Until: until}},
		})
	}
	return records
}

var errLogoutType = errors.New("typ is not logout+jwt, which untyped: true does not ask for")

// verifyLogout returns what a logout token says that one of the providers vouches for. It is looked at like any token of that issuer,
// but for its claims. What costs more than reading it is bounded.
func (s *Store) verifyLogout(ctx context.Context, providers []*Provider, raw string) (backchannel.Notice, error) {
	if len(raw) > maxToken {
		return backchannel.Notice{}, fmt.Errorf("%w: longer than %d bytes", errMalformed, maxToken)
	}
	t, err := parseToken(raw)
	if err != nil {
		return backchannel.Notice{}, err
	}
	fault := errIssuer
	for _, p := range providers {
		from, ok := p.jwt.issuers[t.issuer]
		if !ok {
			continue
		}
		var notice backchannel.Notice
		if notice, fault = p.jwt.verifyLogout(ctx, t, from, &s.logouts); fault == nil {
			notice.Issuer = t.issuer
			return notice, nil
		}
	}
	return backchannel.Notice{}, fault
}

func (p *jwtProvider) verifyLogout(ctx context.Context, t *token, from issuer, guard *backchannel.Guard) (backchannel.Notice, error) {
	var none backchannel.Notice
	if !slices.Contains(p.algorithms, t.algorithm) {
		return none, errAlgorithm
	}
	if !slices.Contains(p.logout.types, t.typ) {
		return none, errLogoutType
	}
	now := p.store.now()
	if err := guard.Allow(now); err != nil {
		return none, err
	}
	if err := from.ready(ctx, p.store.now, false, t); err != nil {
		return none, err
	}
	key, err := find(from.keys.current(p.store.now()), t)
	if err != nil {
		return none, err
	}
	if err := key.verify(t); err != nil {
		return none, err
	}
	if err := p.logout.rules.checkAudience(t.claims); err != nil {
		return none, err
	}
	return backchannel.Read(t.claims, now, p.leeway)
}
