package keys

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// claimRules are what the claims about a caller must say, and which of them make the principal.
type claimRules struct {
	name        string // of the provider
	audiences   []string
	anyAudience bool
	leeway      time.Duration
	maxLifetime time.Duration
	idPath      string
	rolesPaths  []string
	scopesPaths []string
	tenantPath  string // empty: the issuer's own
	required    []requiredClaim
	conditions  []func(*policy.Principal) (bool, error)
}

// ruled is the part of a provider's message that says what its claims must be.
type ruled interface {
	GetAudiences() []string
	GetAnyAudience() bool
	GetLeeway() *durationpb.Duration
	GetPrincipal() *configv1.PrincipalClaims
	GetClaims() []*configv1.RequiredClaim
	GetConditions() []string
}

// newClaimRules reads them. Errors name the field below kind.
func newClaimRules(name, kind string, message ruled, files Files) (claimRules, error) {
	if (len(message.GetAudiences()) > 0) == message.GetAnyAudience() {
		return claimRules{}, &policy.FieldError{Field: kind + ".audiences", Err: errors.New("name the audiences that a token must be for, or write any_audience: true")}
	}
	paths := message.GetPrincipal()
	r := claimRules{
		name: name, audiences: slices.Clone(message.GetAudiences()), anyAudience: message.GetAnyAudience(),
		leeway:      duration(message.GetLeeway(), defaultLeeway),
		idPath:      cmp.Or(paths.GetId(), "sub"),
		rolesPaths:  strings.Fields(cmp.Or(paths.GetRoles(), "roles")),
		scopesPaths: strings.Fields(cmp.Or(paths.GetScopes(), "scope")),
		tenantPath:  paths.GetTenant(),
	}
	for _, claim := range message.GetClaims() {
		r.required = append(r.required, requiredClaim{claim.GetPath(), slices.Clone(claim.GetValues())})
	}
	var err error
	r.conditions, err = conditions(kind, message.GetConditions(), files)
	return r, err
}

// accept returns the principal that verified claims stand for, if they are all that they must be. size is that of their text.
func (r *claimRules) accept(claims map[string]any, issuer, tenant string, v validity, size int) (*verified, error) {
	principal, err := r.ownClaims(claims, issuer, tenant, v)
	if err != nil {
		return nil, err
	}
	return r.conclude(principal, v, size)
}

// ownClaims returns the principal that a token's own claims stand for, if they are all that they must be, but for the conditions.
func (r *claimRules) ownClaims(claims map[string]any, issuer, tenant string, v validity) (*policy.Principal, error) {
	if err := r.checkAudience(claims); err != nil {
		return nil, err
	}
	for i := range r.required {
		if err := r.required[i].check(claims); err != nil {
			return nil, err
		}
	}
	return r.principal(claims, issuer, tenant, v)
}

// conclude holds a principal to the conditions, of which nothing is said after that.
func (r *claimRules) conclude(principal *policy.Principal, v validity, size int) (*verified, error) {
	if err := checkConditions(r.conditions, principal); err != nil {
		return nil, err
	}
	return &verified{principal: principal, validity: v, weight: weigh(principal, size)}, nil
}

// validity is when a verified token is good: from notBefore on, and before expires. The leeway is in both.
type validity struct{ notBefore, expires time.Time }

// check refuses a token whose time has not come or is over.
func (v validity) check(now time.Time) error {
	if now.Before(v.notBefore) {
		return errNotYetValid
	}
	if !now.Before(v.expires) {
		return errExpired
	}
	return nil
}

// readTimes reads `exp`, `nbf` and `iat` (RFC 7519, sections 4.1.4 to 4.1.6) and checks them against now.
// An exp with a fraction counts as the second that it falls in, as golang-jwt has it.
func (r *claimRules) readTimes(claims map[string]any, now time.Time) (validity, error) {
	exp, present, err := readTime(claims, "exp")
	if err != nil {
		return validity{}, err
	}
	if !present {
		return validity{}, fmt.Errorf("%w: exp is absent", errClaims)
	}
	v := validity{expires: exp.Truncate(time.Second).Add(r.leeway)}
	for _, name := range [...]string{"nbf", "iat"} {
		start, present, err := readTime(claims, name)
		if err != nil {
			return validity{}, err
		}
		if start = start.Add(-r.leeway); present && start.After(v.notBefore) {
			v.notBefore = start
		}
	}
	if err := v.check(now); err != nil {
		return validity{}, err
	}
	if v.expires.Sub(now) > r.maxLifetime+2*r.leeway {
		return validity{}, fmt.Errorf("%w: exp is farther away than the longest lifetime, %v", errClaims, r.maxLifetime)
	}
	return v, nil
}

// readTime reads a NumericDate. Anything but a number of seconds above 0 and below 2^53 is refused before
// it is converted.
func readTime(claims map[string]any, name string) (at time.Time, present bool, err error) {
	value, present := claims[name]
	if !present {
		return time.Time{}, false, nil
	}
	seconds, ok := value.(float64)
	if !ok || !(seconds > 0 && seconds < exactIntegers) {
		return time.Time{}, true, fmt.Errorf("%w: %s is no number of seconds between 0 and 2^53", errClaims, name)
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), true, nil
}

// checkAudience refuses a token whose `aud` names none of the provider's audiences (RFC 7519, section 4.1.3).
// Its form is checked even where every audience is accepted.
func (r *claimRules) checkAudience(claims map[string]any) error {
	value, present := claims["aud"]
	if !present {
		if r.anyAudience {
			return nil
		}
		return fmt.Errorf("%w: aud is absent", errAudience)
	}
	audiences, ok := value.([]any)
	if !ok {
		audiences = []any{value}
	}
	found := r.anyAudience
	for _, audience := range audiences {
		text, ok := audience.(string)
		if !ok {
			return fmt.Errorf("%w: aud is no string and no array of strings", errClaims)
		}
		found = found || slices.Contains(r.audiences, text)
	}
	if !found {
		return errAudience
	}
	return nil
}

// principal makes the principal out of verified claims.
func (r *claimRules) principal(claims map[string]any, issuer, tenant string, v validity) (*policy.Principal, error) {
	subject, _ := claims["sub"].(string)
	if subject == "" {
		return nil, fmt.Errorf("%w: sub is no string, or empty", errClaims)
	}
	value, _ := lookup(claims, r.idPath)
	id, _ := value.(string)
	if id == "" {
		return nil, fmt.Errorf("%w: %s, the principal's id, is no string, or empty", errClaims, r.idPath)
	}
	roles, err := words(claims, r.rolesPaths)
	if err != nil {
		return nil, err
	}
	scopes, err := words(claims, r.scopesPaths)
	if err != nil {
		return nil, err
	}
	if r.tenantPath != "" {
		if value, present := lookup(claims, r.tenantPath); present {
			if tenant, _ = value.(string); tenant == "" {
				return nil, fmt.Errorf("%w: %s, the principal's tenant, is no string, or empty", errClaims, r.tenantPath)
			}
		}
	}
	return &policy.Principal{
		ID: id, Provider: r.name, Issuer: issuer, Subject: subject, Tenant: tenant,
		Roles: roles, Scopes: scopes, Claims: claims, Expires: v.expires.Add(-r.leeway),
	}, nil
}

// words reads the claims at these paths as one list without repetitions. An absent claim is no words.
func words(claims map[string]any, paths []string) ([]string, error) {
	var all []string
	for i, path := range paths {
		value, present := lookup(claims, path)
		if !present {
			continue
		}
		list, err := wordsOf(value, path)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			all = list
			continue
		}
		seen := make(map[string]bool, len(all)) // not a search for each: an introspection server's answer may have thousands
		for _, word := range all {
			seen[word] = true
		}
		for _, word := range list {
			if !seen[word] {
				all, seen[word] = append(all, word), true
			}
		}
	}
	return all, nil
}

// wordsOf reads an array of strings, one string of words with spaces between them (RFC 8693, section 4.2), or an object,
// of which the members that are neither false nor null are the words.
func wordsOf(value any, path string) ([]string, error) {
	switch value := value.(type) {
	case string:
		return slices.DeleteFunc(strings.Split(value, " "), func(word string) bool { return word == "" }), nil
	case []any:
		list := make([]string, 0, len(value))
		for _, element := range value {
			word, _ := element.(string)
			if word == "" {
				return nil, fmt.Errorf("%w: %s has an element that is no string, or empty", errClaims, path)
			}
			list = append(list, word)
		}
		return list, nil
	case map[string]any:
		list := make([]string, 0, len(value))
		for name, granted := range value {
			if name == "" {
				return nil, fmt.Errorf("%w: %s has a member with an empty name", errClaims, path)
			}
			if granted != nil && granted != false { // {"admin": false} grants nothing
				list = append(list, name)
			}
		}
		slices.Sort(list)
		return list, nil
	}
	return nil, fmt.Errorf("%w: %s is no array of strings, no string and no object", errClaims, path)
}

// lookup finds the claim at a path of member names with dots between them. A name that holds dots itself is
// found before a shorter one that leads into an object.
func lookup(object map[string]any, path string) (any, bool) {
	if value, ok := object[path]; ok {
		return value, true
	}
	for end := strings.LastIndexByte(path, '.'); end >= 0; end = strings.LastIndexByte(path[:end], '.') {
		if inner, ok := object[path[:end]].(map[string]any); ok {
			if value, ok := lookup(inner, path[end+1:]); ok {
				return value, true
			}
		}
	}
	return nil, false
}
