package keystore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const (
	// askTimeout bounds what is asked about one row, readTimeout what is asked about all of them.
	askTimeout  = 5 * time.Second
	readTimeout = 2 * time.Minute
	// maxKeys is the most keys that are read.
	maxKeys = 2_000_000
)

var errReplaced = errors.New("another file has taken the place of the database")

// Read implements [keys.TableReader].
func (t *Table) Read(ctx context.Context, since keys.TableState, row func(*configv1.ApiKeyEntry, error)) (now keys.TableState, whole bool, err error) {
	defer func() {
		if err != nil {
			err = t.config.scrub(err)
		}
	}()
	if t.file != nil {
		if there, err := os.Stat(t.config.SQLite); err != nil || !os.SameFile(there, t.file) {
			return since, false, errors.Join(errReplaced, err)
		}
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if now, err = t.state(asking, t.conn); err != nil || now == since {
		return now, false, err
	}
	ctx, cancel = context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var options *sql.TxOptions // SQLite's transactions see one state always
	if t.file == nil {
		options = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	tx, err := t.conn.BeginTx(ctx, options)
	if err != nil {
		return now, false, err
	}
	defer func() { _ = tx.Rollback() }() // it only reads
	if now, err = t.state(ctx, tx); err != nil {
		return now, false, err
	}
	whole = now.Epoch != since.Epoch || now.Change < since.Change
	query := "SELECT " + columns + " FROM " + t.names.of("") + " AS k" //nolint:gosec // G202: the name was checked, and is in quotes
	if !whole {
		query += fmt.Sprintf(" WHERE changed > %d", since.Change)
	}
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return now, false, err
	}
	defer rows.Close()
	count := 0
	var r record
	for rows.Next() {
		if count++; count > maxKeys {
			return now, false, fmt.Errorf("there are more than %d keys", maxKeys)
		}
		if err := rows.Scan(r.targets()...); err != nil {
			return now, false, err
		}
		row(r.entry())
	}
	return now, whole, rows.Err()
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (t *Table) state(ctx context.Context, from querier) (state keys.TableState, err error) {
	err = from.QueryRowContext(ctx, "SELECT epoch, change FROM "+t.names.of("_version")).Scan(&state.Epoch, &state.Change)
	return state, err
}

// columns are those of a key, in the order of record.
const columns = "k.id, k.owner, k.environment, k.roles, k.scopes, k.addresses, k.secrets, k.expires, k.created, k.revoked, k.imported"

// record is one row.
type record struct {
	id, owner, environment, roles, scopes, addresses, secrets, expires, created, revoked string
	imported                                                                             bool
}

func (r *record) targets() []any {
	return []any{&r.id, &r.owner, &r.environment, &r.roles, &r.scopes, &r.addresses, &r.secrets, &r.expires, &r.created, &r.revoked, &r.imported}
}

// secret is an element of the column secrets.
type secret struct {
	SHA256  string `json:"sha256"`
	Expires string `json:"expires,omitempty"`
}

// entry returns the key of a row. With an error, its id is all that can be told of it.
func (r *record) entry() (*configv1.ApiKeyEntry, error) {
	entry := &configv1.ApiKeyEntry{
		Id: r.id, Owner: r.owner, Environment: r.environment, Expires: r.expires, Created: r.created, Revoked: r.revoked, Imported: r.imported,
	}
	var secrets []secret
	for _, column := range []struct {
		name, text string
		into       any
	}{{"roles", r.roles, &entry.Roles}, {"scopes", r.scopes, &entry.Scopes}, {"addresses", r.addresses, &entry.Addresses}, {"secrets", r.secrets, &secrets}} {
		if column.text == "[]" {
			continue
		}
		if json.Unmarshal([]byte(column.text), column.into) != nil { // its error may quote what stands there
			return &configv1.ApiKeyEntry{Id: r.id}, fmt.Errorf("the column %s holds no list in JSON", column.name)
		}
	}
	for _, s := range secrets {
		entry.Secrets = append(entry.Secrets, &configv1.ApiKeySecret{Sha256: s.SHA256, Expires: s.Expires})
	}
	return entry, nil
}

// recordOf is the reverse of entry.
func recordOf(entry *configv1.ApiKeyEntry) (*record, error) {
	secrets := make([]secret, len(entry.GetSecrets()))
	for i, s := range entry.GetSecrets() {
		secrets[i] = secret{SHA256: s.GetSha256(), Expires: s.GetExpires()}
	}
	r := &record{
		id: entry.GetId(), owner: entry.GetOwner(), environment: entry.GetEnvironment(), roles: "[]", scopes: "[]", addresses: "[]",
		expires: entry.GetExpires(), created: entry.GetCreated(), revoked: entry.GetRevoked(), imported: entry.GetImported(),
	}
	text, err := json.Marshal(secrets)
	r.secrets = string(text)
	for into, list := range map[*string][]string{&r.roles: entry.GetRoles(), &r.scopes: entry.GetScopes(), &r.addresses: entry.GetAddresses()} {
		if len(list) > 0 {
			words, fault := json.Marshal(list)
			*into, err = string(words), errors.Join(err, fault)
		}
	}
	return r, err
}
