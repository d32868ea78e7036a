package keys

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/revoked"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// What a store of revocations is made of, for who reads and writes one.
type (
	// RevocationName names credentials by one of their statements.
	RevocationName = revoked.Name
	// RevocationWindow says for which of them, and for how long.
	RevocationWindow = revoked.Window
	// Revocation is all that is withdrawn of one name.
	Revocation = revoked.Record
	// RevocationState says up to which change a store was read.
	RevocationState = revoked.State
	// RevocationReader is a connection to follow a store.
	RevocationReader = revoked.Reader
	// RevocationStatus says how up to date what is known of a store is.
	RevocationStatus = revoked.Status
)

const defaultRevocationAge = 5 * time.Minute

// RevocationSource is a store of revocations, and how it is reached.
type RevocationSource struct {
	// ID is comparable. Two that are equal are of the same store, reached in the same way.
	ID any
	// Name is what operators know it by, without anything secret.
	Name string
	// Open connects to follow it.
	Open func(ctx context.Context) (RevocationReader, error)
	// Patience is the longest pause after an error.
	Patience time.Duration
	// Read is what stands in it, where that was read already.
	Read *configv1.RevocationFile
}

// revocationID tells what follows a store from what follows another one, or the same otherwise.
type revocationID struct {
	store any
	poll  time.Duration
}

// Revocations are credentials that were withdrawn before their end. They are asked for every caller that a provider has
// accepted, remembered or not. nil ones withdraw nothing.
type Revocations struct {
	now    func() time.Time
	fixed  *revoked.Set      // where nothing is followed
	follow *revoked.Follower // nil: fixed is all
	maxAge int64             // how long what was last read is good, in nanoseconds
	goOn   bool              // it is good forever
}

// Revocations returns those of a file, for good. Errors are [*policy.FieldError].
func (s *Store) Revocations(file *configv1.RevocationFile) (*Revocations, error) {
	records, err := RevocationsOf(file)
	if err != nil {
		return nil, err
	}
	return &Revocations{now: s.now, fixed: (*revoked.Set)(nil).With(records, revoked.Replace)}, nil
}

// FollowRevocations returns those of a store as they are at each moment, if Run runs. Errors are [*policy.FieldError] in what was
// read already.
func (s *Store) FollowRevocations(cfg *configv1.RevocationStore, source RevocationSource) (*Revocations, error) {
	var read []revoked.Record
	if source.Read != nil {
		var err error
		if read, err = RevocationsOf(source.Read); err != nil {
			return nil, err
		}
	}
	r := &Revocations{
		now: s.now, maxAge: int64(duration(cfg.GetMaxAge(), defaultRevocationAge)),
		goOn: cfg.GetOnFailure() == configv1.RevocationFailure_REVOCATION_FAILURE_GO_ON,
	}
	poll := duration(cfg.GetPoll(), defaultKeyPoll)
	s.mu.Lock()
	defer s.mu.Unlock()
	id := revocationID{source.ID, poll}
	if r.follow = s.revocations[id]; r.follow == nil {
		r.follow = revoked.NewFollower(revoked.Source{
			ID: source.ID, Name: source.Name, Open: source.Open, Poll: poll, Patience: max(source.Patience, poll),
		}, read, s.now, s.logger)
		s.revocations[id] = r.follow
	}
	if s.running != nil {
		r.follow.Start(s.running, &s.group)
	}
	return r, nil
}

// FollowsRevocations reports whether a store of that ID is followed already.
func (s *Store) FollowsRevocations(id any) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for known := range s.revocations {
		if known.store == id {
			return true
		}
	}
	return false
}

// RevocationStores returns the state of each store of revocations.
func (s *Store) RevocationStores() []RevocationStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []RevocationStatus
	for _, follower := range s.revocations {
		all = append(all, follower.Report())
	}
	return all
}

// RevocationsOf reads what stands in a file, names that are there twice put together. Errors are [*policy.FieldError].
func RevocationsOf(file *configv1.RevocationFile) ([]Revocation, error) {
	records := make([]Revocation, 0, len(file.GetRevoked()))
	at := make(map[RevocationName]int, len(file.GetRevoked()))
	for i, message := range file.GetRevoked() {
		record, err := revocationOf(fmt.Sprintf("revoked[%d]", i), message)
		if err != nil {
			return nil, err
		}
		known, ok := at[record.Name]
		if !ok {
			at[record.Name] = len(records)
			records = append(records, record)
			continue
		}
		records[known].Windows = revoked.Merge(records[known].Windows, record.Windows...)
	}
	return records, nil
}

// MergeRevocations returns the windows of a name with one more, without those that another one covers.
func MergeRevocations(windows []RevocationWindow, more RevocationWindow) []RevocationWindow {
	return revoked.Merge(windows, more)
}

// revocationOf reads one entry.
func revocationOf(prefix string, message *configv1.RevokedCredentials) (Revocation, error) {
	name := RevocationName{Claim: "iss", Issuer: message.GetIssuer()}
	named := 0
	for claim, value := range map[string]string{"jti": message.GetJti(), "sid": message.GetSid(), "sub": message.GetSub()} {
		if value != "" {
			name.Claim, name.Value = claim, value
			named++
		}
	}
	if named > 1 || named == 0 && name.Issuer == "" {
		return Revocation{}, &policy.FieldError{Field: prefix, Err: errors.New("name one of jti, sid and sub, or an issuer alone")}
	}
	if err := name.Check(); err != nil {
		return Revocation{}, &policy.FieldError{Field: prefix, Err: err}
	}
	var window RevocationWindow
	var err error
	if window.Before, err = readInstant(prefix+".before", message.GetBefore()); err != nil {
		return Revocation{}, err
	}
	if window.Until, err = readInstant(prefix+".until", message.GetUntil()); err != nil {
		return Revocation{}, err
	}
	return Revocation{Name: name, Windows: []RevocationWindow{window}}, nil
}

var (
	errRevocationsNeverRead = errors.New("the revocations were never read from their store")
	errRevocationsTooOld    = errors.New("the store of the revocations cannot be read, and those that were last read are too old")
)

// current returns what is withdrawn now. The error is [policy.ErrWouldWait], a [*policy.StageError], or wraps the context's.
func (r *Revocations) current(ctx context.Context, noWait bool, now int64) (*revoked.Set, error) {
	if r.follow == nil {
		return r.fixed, nil
	}
	set, read, err := r.follow.Current(ctx, noWait)
	switch {
	case err != nil:
		return nil, err
	case r.goOn:
		return set, nil
	case set == nil:
		return nil, &policy.StageError{Reason: policy.Unavailable, Err: errRevocationsNeverRead}
	case now-read >= r.maxAge:
		return nil, &policy.StageError{Reason: policy.Unavailable, Err: errRevocationsTooOld}
	}
	return set, nil
}

// Expired reports whether everyone is refused, because what was withdrawn is not known.
func (r *Revocations) Expired() bool {
	if r == nil || r.follow == nil || r.goOn {
		return false
	}
	status := r.follow.Report()
	return status.Read.IsZero() || r.now().Sub(status.Read) >= time.Duration(r.maxAge)
}

// check refuses a principal whose credential was withdrawn. The error is a refusal, or one of current.
func (r *Revocations) check(ctx context.Context, noWait bool, p *policy.Principal) error {
	if r == nil {
		return nil
	}
	now := r.now().UnixNano()
	set, err := r.current(ctx, noWait, now)
	if err != nil || set.Len() == 0 {
		return err
	}
	issued := issuedAt(p)
	if set.Withdraws(RevocationName{Claim: "iss", Issuer: p.Issuer}, issued, now) {
		return fmt.Errorf("%w: all of its issuer", errRevoked)
	}
	for _, claim := range [...]string{"jti", "sid", "sub"} {
		value, _ := p.Claims[claim].(string)
		if claim == "sub" {
			value = p.Subject
		}
		if value == "" {
			continue
		}
		if set.Withdraws(RevocationName{Claim: claim, Issuer: p.Issuer, Value: value}, issued, now) || p.Issuer != "" && set.Withdraws(RevocationName{Claim: claim, Value: value}, issued, now) {
			return fmt.Errorf("%w: by its %s", errRevoked, claim)
		}
	}
	return nil
}

// issuedAt returns when a credential was issued, in Unix nanoseconds. One that does not say so counts as older than everything.
func issuedAt(p *policy.Principal) int64 {
	issued, present, err := readTime(p.Claims, "iat")
	switch {
	case err != nil || !present:
		return revoked.Unissued
	case issued.Unix() > math.MaxInt64/int64(time.Second):
		return math.MaxInt64 // and later than every window that has an end
	}
	return issued.UnixNano()
}
