package keystore

import (
	"context"
	"database/sql"
	_ "embed" // for the statements that make a table
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite" // also the driver "sqlite"
)

var (
	//go:embed postgres.sql
	postgresSQL string
	//go:embed sqlite.sql
	sqliteSQL string
)

// limitLength is SQLITE_LIMIT_LENGTH, the number of the limit of a text and of a row, in bytes.
const limitLength = 0

// Table is one open table, over one connection. It is for one goroutine at a time; after an error of the database it is of
// no use but to be closed.
type Table struct {
	config Config
	names  names
	db     *sql.DB
	conn   *sql.Conn
	file   os.FileInfo // of SQLite: what the path meant when it was opened
}

// Open opens a table to list keys and to change them.
func Open(ctx context.Context, config Config) (*Table, error) { return open(ctx, config, "rw") }

// Reader opens a table to follow its changes. Nothing can be written through it.
func Reader(ctx context.Context, config Config) (*Table, error) { return open(ctx, config, "ro") }

// Recorder opens a table to note when keys are used.
func Recorder(ctx context.Context, config Config) (*Table, error) { return open(ctx, config, "rw") }

func open(ctx context.Context, config Config, mode string) (_ *Table, err error) {
	if err := config.Check(); err != nil {
		return nil, err
	}
	t := &Table{config: config}
	if t.names, err = config.names(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if config.SQLite != "" {
		err = t.openSQLite(ctx, mode)
	} else {
		err = t.openPostgres(ctx, mode)
	}
	if err != nil {
		t.Close()
		return nil, config.scrub(err)
	}
	return t, nil
}

func (t *Table) openPostgres(ctx context.Context, mode string) error {
	settings, err := t.config.postgres()
	if err != nil {
		return err
	}
	if mode == "ro" {
		settings.RuntimeParams["default_transaction_read_only"] = "on"
	}
	t.db = stdlib.OpenDB(*settings)
	t.conn, err = t.db.Conn(ctx)
	return err
}

func (t *Table) openSQLite(ctx context.Context, mode string) error {
	name, err := t.config.sqlite(mode)
	if err != nil {
		return err
	}
	if t.file, err = os.Stat(t.config.SQLite); err != nil && mode != "rwc" {
		return err
	}
	if t.db, err = sql.Open("sqlite", name); err != nil {
		return err
	}
	if t.conn, err = t.db.Conn(ctx); err != nil {
		return err
	}
	_, err = sqlite.Limit(t.conn, limitLength, maxMessage)
	return err
}

// Close gives the connection back.
func (t *Table) Close() {
	if t.conn != nil {
		_ = t.conn.Close() // what was written is committed
	}
	if t.db != nil {
		_ = t.db.Close()
	}
}

// Init makes the table. It is an error if it is there already.
func Init(ctx context.Context, config Config) error {
	t, err := open(ctx, config, "rwc")
	if err != nil {
		return err
	}
	defer t.Close()
	statements := sqliteSQL
	if config.SQLite == "" {
		statements = postgresSQL
		if t.names.schema == "" { // the triggers must mean this table whatever the search path of who changes a key
			if err := t.conn.QueryRowContext(ctx, "SELECT current_schema()").Scan(&t.names.schema); err != nil {
				return config.scrub(err)
			}
		}
	}
	err = t.inTransaction(ctx, func(tx *sql.Tx) error {
		return t.each(statements, func(statement string) error {
			_, err := tx.ExecContext(ctx, statement)
			return err
		})
	})
	if err != nil {
		return config.scrub(fmt.Errorf("making the table: %w", err))
	}
	return nil
}

// each runs the statements with the table's own names.
func (t *Table) each(statements string, run func(string) error) error {
	bare := names{name: t.names.name}
	replacer := strings.NewReplacer(
		"{keys}", t.names.of(""), "{version}", t.names.of("_version"), "{use}", t.names.of("_use"), "{changed_index}", bare.of("_changed"),
		"{count}", t.names.of("_count"), "{mark}", t.names.of("_mark"), "{removed}", t.names.of("_removed"),
	)
	end := ";\n"
	if t.config.SQLite != "" { // whose driver takes several statements at once
		return run(replacer.Replace(statements))
	}
	var pending strings.Builder
	for part := range strings.SplitSeq(statements, end) {
		pending.WriteString(part + end)
		if strings.Count(pending.String(), "$$")%2 == 1 { // inside of a function
			continue
		}
		if err := run(replacer.Replace(pending.String())); err != nil {
			return err
		}
		pending.Reset()
	}
	return nil
}

func (t *Table) inTransaction(ctx context.Context, run func(tx *sql.Tx) error) error {
	tx, err := t.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := run(tx); err != nil {
		return errors.Join(err, ignoreDone(tx.Rollback()))
	}
	return tx.Commit()
}

// ignoreDone leaves out that a transaction has ended with its connection.
func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}
