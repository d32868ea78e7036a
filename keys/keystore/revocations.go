package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/internal/revoked"
)

// DefaultRevocations is the name of a table of revocations where none is given.
const DefaultRevocations = "kasbah_revoked"

const (
	// pruneBehind is how long what is over is kept, for servers whose clocks are behind.
	pruneBehind = time.Minute
	// pruneAtOnce is how many names that are over one change removes.
	pruneAtOnce = 100
	// changeTries is how often a change is tried while others change the same name.
	changeTries = 50
)

var (
	errNotMade  = errors.New("there is no store of revocations here, or no longer: kasbah revoke init makes one")
	errMadeYet  = errors.New("there is a store of revocations here already")
	errFull     = fmt.Errorf("something is withdrawn of %d names already, which is all that a server reads: give entries an end, or remove some", revoked.MaxNames)
	errContends = errors.New("others change the same entry all the time")
)

// RevocationsAt says which store of revocations is meant. Two that are equal mean the same. Exactly one of both is set. It prints as
// what Source returns.
type RevocationsAt struct {
	Redis    Redis
	Postgres Config // without SQLite
}

// Source names the store without anything secret.
func (a RevocationsAt) Source() string {
	if a.Redis.URL != "" {
		return a.Redis.Source()
	}
	return a.Postgres.Source()
}

// String is Source.
func (a RevocationsAt) String() string { return a.Source() }

// GoString is Source.
func (a RevocationsAt) GoString() string { return a.Source() }

// Check says what is wrong with the settings, without asking a server.
func (a RevocationsAt) Check() error {
	switch {
	case a.Postgres.SQLite != "" || (a.Redis.URL == "") == (a.Postgres.Postgres == ""):
		return errors.New("either Redis or PostgreSQL has the revocations")
	case a.Redis.URL != "":
		return a.Redis.Check()
	}
	return a.Postgres.Check()
}

func (a RevocationsAt) scrub(err error) error {
	switch {
	case err == nil:
		return nil
	case a.Redis.URL != "":
		err = a.Redis.scrub(err)
	default:
		err = a.Postgres.clean(err)
	}
	return fmt.Errorf("the revocations in %w", err)
}

// revocationStore is what each kind of store does in its own way. Its errors are the engine's, and may hold anything.
type revocationStore interface {
	keys.RevocationReader
	init(ctx context.Context) error
	// change gives the windows of a name to a function, and keeps what it returns; none: the name goes.
	change(ctx context.Context, name keys.RevocationName, now time.Time, change func(before []keys.RevocationWindow) []keys.RevocationWindow) error
}

func (a RevocationsAt) open(ctx context.Context, readOnly bool) (revocationStore, error) {
	if err := a.Check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if a.Redis.URL != "" {
		return openRedisRevocations(a.Redis)
	}
	return openPostgresRevocations(ctx, a.Postgres, readOnly)
}

// Revocations is an open store of revocations. It is for one goroutine at a time; after an error of the engine it is of no use but to
// be closed.
type Revocations struct {
	at    RevocationsAt
	store revocationStore
}

// OpenRevocations opens a store to list what is withdrawn and to change it.
func OpenRevocations(ctx context.Context, at RevocationsAt) (*Revocations, error) {
	return openRevocations(ctx, at, false)
}

// FollowRevocations opens a store to follow it. Nothing can be written through it.
func FollowRevocations(ctx context.Context, at RevocationsAt) (*Revocations, error) {
	return openRevocations(ctx, at, true)
}

func openRevocations(ctx context.Context, at RevocationsAt, readOnly bool) (*Revocations, error) {
	store, err := at.open(ctx, readOnly)
	if err != nil {
		return nil, at.scrub(err)
	}
	return &Revocations{at, store}, nil
}

// Close gives the connection back.
func (r *Revocations) Close() { r.store.Close() }

// InitRevocations makes a store. It is an error if it is there already.
func InitRevocations(ctx context.Context, at RevocationsAt) error {
	r, err := openRevocations(ctx, at, false)
	if err != nil {
		return err
	}
	defer r.Close()
	return at.scrub(r.store.init(ctx))
}

// Read implements [keys.RevocationReader].
func (r *Revocations) Read(ctx context.Context, since keys.RevocationState, row func(keys.Revocation, error)) (keys.RevocationState, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	now, whole, err := r.store.Read(ctx, since, row)
	return now, whole, r.at.scrub(err)
}

// Add withdraws what one window says of a name. Windows that it covers, and those that are over, go.
func (r *Revocations) Add(ctx context.Context, name keys.RevocationName, window keys.RevocationWindow, now time.Time) error {
	if err := name.Check(); err != nil {
		return err
	}
	tooMany := false
	err := r.change(ctx, name, now, func(before []keys.RevocationWindow) []keys.RevocationWindow {
		after := revoked.Merge(revoked.Current(before, now), window)
		if tooMany = len(after) > revoked.MaxWindows; tooMany {
			return before
		}
		return after
	})
	if tooMany {
		return fmt.Errorf("there are %d entries of that name with times of their own already", revoked.MaxWindows)
	}
	return err
}

// Remove takes back what is withdrawn of a name, and reports whether anything was.
func (r *Revocations) Remove(ctx context.Context, name keys.RevocationName, now time.Time) (was bool, err error) {
	if err := name.Check(); err != nil {
		return false, err
	}
	err = r.change(ctx, name, now, func(before []keys.RevocationWindow) []keys.RevocationWindow {
		was = len(before) > 0
		return nil
	})
	return was, err
}

func (r *Revocations) change(ctx context.Context, name keys.RevocationName, now time.Time, change func([]keys.RevocationWindow) []keys.RevocationWindow) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return r.at.scrub(r.store.change(ctx, name, now, change))
}
