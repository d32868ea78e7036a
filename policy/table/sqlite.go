package table

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite" // also the driver "sqlite"
)

// limitLength is SQLITE_LIMIT_LENGTH, the number of the limit of a text and of a row, in bytes.
const limitLength = 0

// sqliteSettings are what a connection is made with.
type sqliteSettings struct {
	path   string
	table  string
	quoted string
	poll   time.Duration
}

func (s sqliteSettings) source() string { return "sqlite:" + s.path + "/" + s.table }

// sqliteFile is a connection to a SQLite database.
type sqliteFile struct {
	sqliteSettings
	db      *sql.DB
	conn    *sql.Conn
	file    os.FileInfo // what the path meant when it was opened
	version int64       // of the data, as this connection sees it
}

var errReplaced = errors.New("another file has taken the place of the database")

func (s sqliteSettings) dial(ctx context.Context) (_ connection, err error) {
	defer func() { err = s.explain(err) }()
	path, err := filepath.Abs(s.path)
	if err != nil {
		return nil, err
	}
	file, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	query := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(5000)", "query_only(1)", "trusted_schema(0)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+query.Encode())
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	f := &sqliteFile{sqliteSettings: s, db: db, conn: conn, file: file}
	if _, err := sqlite.Limit(conn, limitLength, maxMessage); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (s sqliteSettings) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("reading the SQLite database %s: %w", s.path, err)
}

func (f *sqliteFile) close() {
	_ = f.conn.Close() // it was opened for reading only
	_ = f.db.Close()
}

func (f *sqliteFile) notified() bool { return false }

// follow waits for the time of a poll and asks SQLite whether another connection has changed the file.
func (f *sqliteFile) follow(ctx context.Context, known content) (content, error) {
	if !sleep(ctx, f.poll) {
		return content{}, ctx.Err()
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	version, err := f.dataVersion(asking)
	if err != nil {
		return content{}, f.explain(err)
	}
	now, err := os.Stat(f.path)
	if err == nil && !os.SameFile(now, f.file) {
		err = errReplaced
	}
	if err != nil {
		return content{}, f.explain(err)
	}
	if version == f.version {
		return known, nil
	}
	return f.read(ctx, known)
}

func (f *sqliteFile) dataVersion(ctx context.Context) (version int64, err error) {
	err = f.conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version)
	return version, err
}

// read reads the whole table. The version is asked for first: what changes after it is found by the next poll.
func (f *sqliteFile) read(ctx context.Context, known content) (content, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	version, err := f.dataVersion(ctx)
	if err != nil {
		return content{}, f.explain(err)
	}
	tx, err := f.conn.BeginTx(ctx, nil)
	if err != nil {
		return content{}, f.explain(err)
	}
	defer func() { _ = tx.Rollback() }() // it only reads
	query, count, err := f.describe(ctx, tx)
	if err != nil {
		return content{}, f.explain(err)
	}
	r := newReader(f.source(), known)
	if err := scan(ctx, tx, r, query, count); err != nil {
		return content{}, f.explain(err)
	}
	f.version = version
	return r.whole(known), nil
}

// describe returns the query that reads the table, and the number of columns of a rule.
func (f *sqliteFile) describe(ctx context.Context, tx *sql.Tx) (query string, count int, err error) {
	schema, name, ok := strings.Cut(f.table, ".")
	if !ok {
		schema, name = "main", f.table
	}
	rows, err := tx.QueryContext(ctx, "SELECT name, type FROM pragma_table_info(?, ?)", name, schema)
	if err != nil {
		return "", 0, err
	}
	defer rows.Close()
	types := map[string]string{}
	for rows.Next() {
		var column, kind string
		if err := rows.Scan(&column, &kind); err != nil {
			return "", 0, err
		}
		types[strings.ToLower(column)] = "(" + strings.ToUpper(kind) + ")" // not empty, whatever the kind
	}
	if err := rows.Err(); err != nil {
		return "", 0, err
	}
	if len(types) == 0 {
		return "", 0, fmt.Errorf("there is no table %s", f.quoted)
	}
	rule, err := ruleColumns(func(column string) bool { return types[column] != "" })
	if err != nil {
		return "", 0, fmt.Errorf("the table %s %w", f.quoted, err)
	}
	key := "t.rowid" // of the tables of adapters that have another id, or none
	if strings.Contains(types["id"], "INT") {
		key = `t."id"`
	}
	selected := []string{key}
	for _, column := range rule {
		selected = append(selected, `CAST(t."`+column+`" AS TEXT)`)
	}
	return "SELECT " + strings.Join(selected, ", ") + " FROM " + f.quoted + " AS t ORDER BY " + key, len(rule), nil
}

func scan(ctx context.Context, tx *sql.Tx, r *reader, query string, count int) error {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	var id any
	raw, columns, targets := make([]sql.RawBytes, count), make([][]byte, count), []any{&id}
	for i := range raw {
		targets = append(targets, &raw[i])
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		number, ok := id.(int64)
		if !ok {
			return fmt.Errorf("the row with the id %.40q has no integer there; make the column id a primary key", fmt.Sprint(id))
		}
		for i := range raw {
			columns[i] = raw[i]
		}
		if err := r.add(number, columns); err != nil {
			return err
		}
	}
	return rows.Err()
}
