package keystore

import (
	"context"
	_ "embed" // for the statements that make a table
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/internal/revoked"
)

//go:embed revoked.sql
var revokedSQL string

// postgresRevocations is a store of revocations in a table of PostgreSQL: one row a name. Beside it is NAME_version, one row with the
// epoch, the last change and the last cut, which triggers keep, so that whoever changes a row, by hand too, is noticed. Writers wait
// for each other at that row.
type postgresRevocations struct {
	conn  *pgx.Conn
	names names
}

func openPostgresRevocations(ctx context.Context, at Config, readOnly bool) (*postgresRevocations, error) {
	settings, err := at.postgres()
	if err != nil {
		return nil, err
	}
	if readOnly {
		settings.RuntimeParams["default_transaction_read_only"] = "on"
	}
	names, err := at.names()
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, settings)
	if err != nil {
		return nil, err
	}
	return &postgresRevocations{conn, names}, nil
}

// Close implements [keys.RevocationReader].
func (p *postgresRevocations) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.conn.Close(ctx) // what was written is committed
}

func (p *postgresRevocations) init(ctx context.Context) error {
	if p.names.schema == "" { // the triggers must mean this table whatever the search path of who changes it
		if err := p.conn.QueryRow(ctx, "SELECT current_schema()").Scan(&p.names.schema); err != nil {
			return err
		}
	}
	bare := names{name: p.names.name}
	statements := strings.NewReplacer(
		"{names}", p.names.of(""), "{version}", p.names.of("_version"), "{changed_index}", bare.of("_changed"), "{ends_index}", bare.of("_ends"),
		"{count}", p.names.of("_count"), "{mark}", p.names.of("_mark"), "{removed}", p.names.of("_removed"), "{emptied}", p.names.of("_emptied"),
	).Replace(revokedSQL)
	return pgx.BeginFunc(ctx, p.conn, func(tx pgx.Tx) error {
		_, err := tx.Conn().PgConn().Exec(ctx, statements).ReadAll() // several statements, in this transaction
		return err
	})
}

func (p *postgresRevocations) change(ctx context.Context, name keys.RevocationName, now time.Time, change func([]keys.RevocationWindow) []keys.RevocationWindow) error {
	table := p.names.of("")
	return pgx.BeginFunc(ctx, p.conn, func(tx pgx.Tx) error {
		var changes int64
		if err := tx.QueryRow(ctx, "SELECT change FROM "+p.names.of("_version")+" FOR UPDATE").Scan(&changes); err != nil { // nobody else changes anything now
			return err
		}
		if _, err := tx.Exec(ctx, "DELETE FROM "+table+" WHERE digest IN (SELECT digest FROM "+table+" WHERE ends < $1 LIMIT $2)", now.Add(-pruneBehind), pruneAtOnce); err != nil {
			return err
		}
		var text string
		err := tx.QueryRow(ctx, "SELECT windows FROM "+table+" WHERE claim = $1 AND issuer = $2 AND value = $3 AND digest = sha256(convert_to($1 || E'\\n' || $2 || E'\\n' || $3, 'UTF8'))",
			name.Claim, name.Issuer, name.Value).Scan(&text)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		var before []keys.RevocationWindow
		if err == nil {
			before, _ = revoked.ParseWindows(text) // what cannot be read withdraws everything, and goes on doing so
		}
		after := change(before)
		switch {
		case len(after) == 0:
			_, err = tx.Exec(ctx, "DELETE FROM "+table+" WHERE claim = $1 AND issuer = $2 AND value = $3", name.Claim, name.Issuer, name.Value)
			return err
		case len(before) > 0 && revoked.FormatWindows(after) == text:
			return nil
		}
		if len(before) == 0 && changes >= revoked.MaxNames { // as long as fewer were made, there are fewer
			var names int
			if err := tx.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&names); err != nil {
				return err
			}
			if names >= revoked.MaxNames {
				return errFull
			}
		}
		var ends *time.Time
		if end := revoked.End(after); !end.IsZero() {
			ends = &end
		}
		_, err = tx.Exec(ctx, "INSERT INTO "+table+" (claim, issuer, value, windows, ends) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (digest) DO UPDATE SET windows = excluded.windows, ends = excluded.ends",
			name.Claim, name.Issuer, name.Value, revoked.FormatWindows(after), ends)
		return err
	})
}

// Read implements [keys.RevocationReader].
func (p *postgresRevocations) Read(ctx context.Context, since keys.RevocationState, row func(keys.Revocation, error)) (now keys.RevocationState, whole bool, err error) {
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if now, err = p.state(asking, p.conn); err != nil || now == since {
		return now, false, err
	}
	err = pgx.BeginTxFunc(ctx, p.conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if now, err = p.state(ctx, tx); err != nil {
			return err
		}
		whole = now.Epoch != since.Epoch || now.Change < since.Change || now.Cut != since.Cut
		query := "SELECT claim, issuer, value, windows FROM " + p.names.of("")
		if !whole {
			query += fmt.Sprintf(" WHERE changed > %d", since.Change)
		}
		rows, err := tx.Query(ctx, query)
		if err != nil {
			return err
		}
		var record keys.Revocation
		var windows string
		count := 0
		_, err = pgx.ForEachRow(rows, []any{&record.Claim, &record.Issuer, &record.Value, &windows}, func() error {
			if count++; count > revoked.MaxNames {
				return fmt.Errorf("there are more than %d names", revoked.MaxNames)
			}
			parsed, fault := revoked.ParseWindows(windows)
			record.Windows = parsed
			row(record, fault)
			return nil
		})
		return err
	})
	return now, whole, err
}

func (p *postgresRevocations) state(ctx context.Context, from interface {
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
},
) (state keys.RevocationState, err error) {
	err = from.QueryRow(ctx, "SELECT epoch, change, cut FROM "+p.names.of("_version")).Scan(&state.Epoch, &state.Change, &state.Cut)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errNotMade
	}
	return state, err
}
