package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// Change gives the key of that id, or nil where there is none, to a function, and keeps what it returns. Nobody else changes
// the key in between. What the function refuses changes nothing.
func (t *Table) Change(ctx context.Context, id string, change func(before *configv1.ApiKeyEntry) (*configv1.ApiKeyEntry, error)) error {
	var refused error
	err := t.inTransaction(ctx, func(tx *sql.Tx) error {
		query := "SELECT " + columns + " FROM " + t.names.of("") + " AS k WHERE id = $1"
		if t.config.SQLite == "" { // SQLite's transaction has locked everything
			query += " FOR UPDATE"
		}
		var r record
		var before *configv1.ApiKeyEntry
		err := tx.QueryRowContext(ctx, t.sql(query), id).Scan(r.targets()...)
		switch {
		case err == nil:
			if before, err = r.entry(); err != nil {
				return err
			}
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		after, err := change(before)
		if err != nil {
			refused = err
			return err
		}
		return t.put(ctx, tx, before == nil, after)
	})
	switch {
	case refused != nil:
		return refused
	case err != nil:
		return t.config.scrub(err)
	}
	return nil
}

func (t *Table) put(ctx context.Context, tx *sql.Tx, fresh bool, entry *configv1.ApiKeyEntry) error {
	r, err := recordOf(entry)
	if err != nil {
		return err
	}
	statement := "UPDATE " + t.names.of("") + " SET owner = $2, environment = $3, roles = $4, scopes = $5, addresses = $6, secrets = $7, expires = $8, created = $9, revoked = $10, imported = $11 WHERE id = $1"
	if fresh {
		statement = "INSERT INTO " + t.names.of("") + " (id, owner, environment, roles, scopes, addresses, secrets, expires, created, revoked, imported) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
	}
	_, err = tx.ExecContext(ctx, t.sql(statement), r.id, r.owner, r.environment, r.roles, r.scopes, r.addresses, r.secrets, r.expires, r.created, r.revoked, r.imported)
	return err
}

// sql returns a statement with the parameters as the database writes them. No name has a $ in it.
func (t *Table) sql(statement string) string {
	if t.config.SQLite == "" {
		return statement
	}
	return strings.ReplaceAll(statement, "$", "?")
}

// List gives each key to a function in the order of ids, with the time of its last use, empty where none was recorded.
func (t *Table) List(ctx context.Context, show func(entry *configv1.ApiKeyEntry, used string) error) error {
	query := "SELECT " + columns + ", COALESCE(u.used, '') FROM " + t.names.of("") + " AS k LEFT JOIN " + t.names.of("_use") + " AS u ON u.id = k.id ORDER BY k.id" //nolint:gosec // G202: the name was checked, and is in quotes
	rows, err := t.conn.QueryContext(ctx, query)
	if err != nil {
		return t.config.scrub(err)
	}
	defer rows.Close()
	var r record
	var used string
	for rows.Next() {
		if err := rows.Scan(append(r.targets(), &used)...); err != nil {
			return t.config.scrub(err)
		}
		entry, err := r.entry()
		if err != nil {
			return fmt.Errorf("the key %s: %w", r.id, err)
		}
		if err := show(entry, used); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return t.config.scrub(err)
	}
	return nil
}

// rowsAtOnce is how many uses one statement writes.
const rowsAtOnce = 200

// RecordUse implements [keys.UseRecorder]. An earlier time does not replace a later one.
func (t *Table) RecordUse(ctx context.Context, uses map[string]time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	// In one order for every replica, so that no two of them wait for each other.
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(uses)), rowsAtOnce) {
		var values []string
		var args []any
		for _, id := range ids {
			values = append(values, fmt.Sprintf("($%d, $%d)", len(args)+1, len(args)+2))
			args = append(args, id, uses[id].UTC().Format(time.RFC3339))
		}
		statement := "INSERT INTO " + t.names.of("_use") + " AS u (id, used) VALUES " + strings.Join(values, ", ") +
			" ON CONFLICT (id) DO UPDATE SET used = excluded.used WHERE u.used < excluded.used"
		if _, err := t.conn.ExecContext(ctx, t.sql(statement), args...); err != nil {
			return t.config.scrub(err)
		}
	}
	return nil
}
