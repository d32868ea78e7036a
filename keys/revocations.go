package keys

import (
	"errors"
	"fmt"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// Revocations are credentials that were withdrawn before their end. They are asked for every caller that a provider has
// accepted, remembered or not. They are immutable; nil ones withdraw nothing.
type Revocations struct {
	now     func() time.Time
	entries map[revoked][]revocation
}

// revoked names credentials by one of their statements.
type revoked struct{ claim, issuer, value string }

// revocation is how long one entry counts, and for which of the credentials that it names.
type revocation struct {
	before time.Time // what was issued until then; zero: all
	until  time.Time // when it is forgotten; zero: never
}

// Revocations reads a file of them. Errors are [*policy.FieldError].
func (s *Store) Revocations(file *configv1.RevocationFile) (*Revocations, error) {
	r := &Revocations{now: s.now, entries: map[revoked][]revocation{}}
	for i, message := range file.GetRevoked() {
		prefix := fmt.Sprintf("revoked[%d]", i)
		key := revoked{"iss", message.GetIssuer(), ""}
		named := 0
		for claim, value := range map[string]string{"jti": message.GetJti(), "sid": message.GetSid(), "sub": message.GetSub()} {
			if value != "" {
				key.claim, key.value = claim, value
				named++
			}
		}
		if named > 1 || named == 0 && key.issuer == "" {
			return nil, &policy.FieldError{Field: prefix, Err: errors.New("name one of jti, sid and sub, or an issuer alone")}
		}
		var entry revocation
		var err error
		if entry.before, err = readInstant(prefix+".before", message.GetBefore()); err != nil {
			return nil, err
		}
		if entry.until, err = readInstant(prefix+".until", message.GetUntil()); err != nil {
			return nil, err
		}
		r.entries[key] = append(r.entries[key], entry)
	}
	return r, nil
}

// check refuses a principal whose credential was withdrawn.
func (r *Revocations) check(p *policy.Principal) error {
	if r == nil || len(r.entries) == 0 {
		return nil
	}
	if r.has(revoked{"iss", p.Issuer, ""}, p) {
		return fmt.Errorf("%w: all of its issuer", errRevoked)
	}
	for _, claim := range [...]string{"jti", "sid", "sub"} {
		value, _ := p.Claims[claim].(string)
		if claim == "sub" {
			value = p.Subject
		}
		if value != "" && (r.has(revoked{claim, p.Issuer, value}, p) || p.Issuer != "" && r.has(revoked{claim, "", value}, p)) {
			return fmt.Errorf("%w: by its %s", errRevoked, claim)
		}
	}
	return nil
}

func (r *Revocations) has(key revoked, p *policy.Principal) bool {
	for _, entry := range r.entries[key] {
		if !entry.until.IsZero() && !r.now().Before(entry.until) {
			continue
		}
		if entry.before.IsZero() {
			return true
		}
		if issued, present, err := readTime(p.Claims, "iat"); err != nil || !present || !issued.After(entry.before) {
			return true
		}
	}
	return false
}
