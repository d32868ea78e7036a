package table

import (
	"context"
	_ "embed" // for NotifySQL
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// NotifySQL is what an operator runs once in PostgreSQL, so that it tells of changes.
//
//go:embed notify.sql
var NotifySQL string

const (
	channel = "kasbah_policy"
	// maxIDs is the number of changed rows from which on the whole table is read.
	maxIDs = 10_000
	// maxRounds bounds how often rows are read anew because others changed meanwhile, before the whole table is read.
	maxRounds = 8
	// markerTimeout is how long our own notification may take. It comes with the end of its transaction.
	markerTimeout = 5 * time.Second
	// restFactor is the rest after reading the whole table because somebody said so, in terms of the time that it took:
	// who may connect to the database may say so all the time.
	restFactor = 4
)

// ears is what a connection hears.
type ears struct {
	// marker is a channel of this connection's own. Notifications are queued one transaction at a time, in the order of
	// their commits, and ours among them; so what comes back is behind everything that was said before it.
	marker   string
	returned bool // ours has come back
	heard    heard
	deaf     bool      // nothing can be heard through this connection: a standby, or a pooler of transactions
	rested   time.Time // before this nothing makes us read the whole table
}

func newEars() ears {
	name := fmt.Sprintf("kasbah_%016x", rand.Uint64()) //nolint:gosec // G404: a name that nobody else has, no secret
	return ears{marker: name, heard: nothing()}
}

// heard is what may have changed: some rows, or anything.
type heard struct {
	ids   map[int64]bool
	whole bool
}

func nothing() heard { return heard{ids: map[int64]bool{}} }

func (h heard) empty() bool { return len(h.ids) == 0 && !h.whole }

// and adds what another one has.
func (h heard) and(other heard) heard {
	maps.Copy(h.ids, other.ids)
	if h.whole = h.whole || other.whole || len(h.ids) > maxIDs; h.whole {
		clear(h.ids)
	}
	return h
}

// listen begins to listen. A server that does not allow it is polled.
func (p *postgres) listen(ctx context.Context) error {
	_, err := p.conn.Exec(ctx, "LISTEN "+channel)
	if err == nil {
		_, err = p.conn.Exec(ctx, "LISTEN "+p.ears.marker)
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) && !p.conn.IsClosed() {
		p.ears.deaf = true
		return nil
	}
	return err
}

// notice is the payload of a notification.
type notice struct {
	Relation int64   `json:"relation"`
	Op       string  `json:"op"`
	IDs      []int64 `json:"ids"`
}

// hear takes in one notification. Anybody may send any: it only ever says what to read.
func (p *postgres) hear(n *pgconn.Notification) {
	switch {
	case n.Channel == p.ears.marker:
		p.ears.returned = true
		return
	case n.Channel != channel || p.ears.heard.whole:
		return
	}
	var said notice
	err := json.Unmarshal([]byte(n.Payload), &said)
	if err == nil && said.Relation != p.layout.relation {
		return // another table's
	}
	news := nothing()
	if news.whole = err != nil || len(said.IDs) == 0 || !p.layout.byID || !p.layout.triggers; !news.whole {
		for _, id := range said.IDs {
			news.ids[id] = true
		}
	}
	p.ears.heard = p.ears.heard.and(news)
}

// follow waits for a notification of this table, at most until the next poll. Polls are due however much is said: it may
// be about other tables, or not be all.
func (p *postgres) follow(ctx context.Context, known content) (content, error) {
	for {
		left := p.due.Sub(p.now())
		if left <= 0 {
			p.due = p.now().Add(p.poll)
			return p.check(ctx, known)
		}
		if !p.ears.heard.empty() {
			return p.catchUp(ctx, known)
		}
		if _, err := p.await(ctx, left); err != nil {
			return content{}, p.scrub("listening for changes", err)
		}
	}
}

// await waits for a notification, which hear is given, and reports whether one came within that time.
func (p *postgres) await(ctx context.Context, within time.Duration) (bool, error) {
	waiting, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := p.conn.PgConn().WaitForNotification(waiting)
	if err != nil && ctx.Err() == nil && waiting.Err() != nil && !p.conn.IsClosed() {
		return false, nil
	}
	return err == nil, err
}

// catchUp reads what is said to have changed.
//
// Rows are read in one state of the database, and all that was said before it is heard: notifications of a transaction
// are queued before it commits, ours is queued after that state was taken, and the queue is in the order of commits. So
// once all that was heard are rows that were read, the table with these rows is that state and no mixture. Else some
// transaction may be visible by half, and the rows are read again, with those that it changed.
func (p *postgres) catchUp(ctx context.Context, known content) (content, error) {
	ids := p.ears.heard
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for range maxRounds {
		if ids.whole || p.ears.deaf {
			break
		}
		p.ears.heard = nothing()
		sorted := slices.Sorted(maps.Keys(ids.ids))
		rows, err := p.readSome(asking, sorted)
		if err != nil {
			return content{}, p.explain(err)
		}
		if err := p.awaitMarker(asking); err != nil {
			return content{}, err
		}
		if !p.ears.heard.whole && within(p.ears.heard.ids, ids.ids) {
			return overlay(known, sorted, rows)
		}
		ids = ids.and(p.ears.heard)
	}
	p.ears.heard = ids
	p.ears.heard.whole = true
	return p.readRested(ctx, known)
}

// readRested reads the whole table, but not all the time.
func (p *postgres) readRested(ctx context.Context, known content) (content, error) {
	if rest := p.ears.rested.Sub(p.now()); rest > 0 && !sleep(ctx, rest) {
		return content{}, ctx.Err()
	}
	started := p.now()
	next, err := p.read(ctx, known)
	if err == nil {
		ended := p.now()
		p.ears.rested = ended.Add(restFactor * ended.Sub(started))
	}
	return next, err
}

// awaitMarker returns when everything is heard that was said before our own notification.
func (p *postgres) awaitMarker(ctx context.Context) error {
	deadline := p.now().Add(markerTimeout)
	for !p.ears.returned {
		told, err := p.await(ctx, deadline.Sub(p.now()))
		if err != nil {
			return p.scrub("listening for changes", err)
		}
		if !told {
			p.ears.deaf, p.ears.heard.whole = true, true // what we say does not come back: poll
			return nil
		}
	}
	return nil
}

// within reports whether all of some are in others.
func within(some, others map[int64]bool) bool {
	for id := range some {
		if !others[id] {
			return false
		}
	}
	return true
}
