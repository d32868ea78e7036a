package revoked

import (
	"context"
	"time"
)

// MaxNames is the most names that a Set is made of: about 120 MiB, and more while all are read.
const MaxNames = 1_000_000

// State says up to which change a store was read. The zero value: not at all.
type State struct {
	Epoch  string // of the store itself: another one is another store
	Change int64  // counts what was added
	Cut    int64  // counts what was taken back
}

// follows reports whether a store in this state has seen all that it had seen at the other one.
func (s State) follows(before State) bool {
	return s.Epoch == before.Epoch && s.Change >= before.Change && s.Cut >= before.Cut
}

// Reader is a connection to a store, for one goroutine at a time. After an error it is of no use.
type Reader interface {
	// Read gives the records that changed since that state to row, or all of them, and then says so with whole; both as they
	// stood at the state that it returns, or later. What was taken back must be said by a later Cut, and with whole. A record
	// that cannot be read comes with an error, and withdraws more than it might have meant.
	Read(ctx context.Context, since State, row func(Record, error)) (now State, whole bool, err error)
	Close()
}

// Source is a store, and how it is reached.
type Source struct {
	// ID is comparable. Two that are equal are of the same store, reached in the same way.
	ID any
	// Name is what operators know it by, without anything secret.
	Name string
	// Open connects to follow the store.
	Open func(ctx context.Context) (Reader, error)
	// Poll is how often it is asked. Patience is the longest pause after an error, Poll at least.
	Poll, Patience time.Duration
}

// Status says how up to date a Set is.
type Status struct {
	Source    string
	Names     int       // that something is withdrawn of
	Broken    int       // records that cannot be read, of those that were last read; each withdraws all of its name
	Read      time.Time // when the Set was last known to be the store's; the zero time for never
	Attempted bool      // whether an attempt to read has ended, well or not
	Lost      int       // how often the store came back with less than it had
	Err       error     // how the last attempt failed, nil when it did not
}
