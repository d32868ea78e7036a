package keystore

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	connectTimeout = 10 * time.Second
	// maxReason is the most that is told of an error, in characters: a server may say anything.
	maxReason = 500
	// maxMessage is the longest row that is read, in bytes.
	maxMessage = 1 << 20
)

// DefaultName is the table's name where none is given.
const DefaultName = "kasbah_api_keys"

// tableName leaves room for what is put behind a name: PostgreSQL cuts names after 63 bytes.
var tableName = regexp.MustCompile(`^(?:([A-Za-z_][A-Za-z0-9_]{0,39})\.)?([A-Za-z_][A-Za-z0-9_]{0,39})$`)

// Config says which table is meant. Two that are equal name the same table. Exactly one of Postgres and SQLite is set. It
// prints as what Source returns.
type Config struct {
	// Postgres is a connection string, which may hold a password. What it leaves out comes from the PG… variables of the
	// environment and the password file, as with psql.
	Postgres string
	// SQLite is the path of a database file.
	SQLite string
	// Table is the table's name, for PostgreSQL also schema.table.
	Table string
}

// Source names the database and the table without anything secret.
func (c Config) Source() string {
	if c.SQLite != "" {
		return "sqlite:" + c.SQLite + "/" + c.Table
	}
	parsed, err := pgx.ParseConfig(c.Postgres)
	if err != nil {
		return "postgres:"
	}
	address := parsed.Host
	if !strings.HasPrefix(parsed.Host, "/") { // a folder with a socket
		address = net.JoinHostPort(parsed.Host, strconv.Itoa(int(parsed.Port)))
	}
	return (&url.URL{Scheme: "postgres", Host: address, Path: "/" + parsed.Database + "/" + c.Table}).String()
}

// String is Source.
func (c Config) String() string { return c.Source() }

// GoString is Source.
func (c Config) GoString() string { return c.Source() }

// Check says what is wrong with the settings, without asking a database.
func (c Config) Check() error {
	if (c.Postgres == "") == (c.SQLite == "") {
		return errors.New("either PostgreSQL or SQLite has the keys")
	}
	if _, err := c.names(); err != nil {
		return err
	}
	if c.SQLite == "" {
		_, err := c.postgres()
		return err
	}
	return nil
}

// names returns the schema, empty where none is given, and the table's name.
func (c Config) names() (names, error) {
	parts := tableName.FindStringSubmatch(c.Table)
	if parts == nil || parts[1] != "" && c.SQLite != "" {
		return names{}, fmt.Errorf("the table name %q is not made of letters, digits and _, up to 40 of them; with PostgreSQL a schema and a dot may stand before it", c.Table)
	}
	return names{schema: parts[1], name: parts[2]}, nil
}

// names are how the parts of a table are called.
type names struct{ schema, name string }

// of returns a part's name as SQL: always in quotes, so that it means that name and nothing else.
func (n names) of(part string) string {
	quoted := `"` + n.name + part + `"`
	if n.schema == "" {
		return quoted
	}
	return `"` + n.schema + `".` + quoted
}

func (c Config) postgres() (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(c.Postgres)
	if err != nil { // its text quotes what it could not read, and that is where the password is
		return nil, errors.New("the connection string cannot be read; it looks like postgres://user:password@host:5432/database?sslmode=verify-full, and what is no letter or digit in the password is written as %xx")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "kasbah"
	}
	config.MaxProtocolMessageBodyLen = maxMessage
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // statements that are prepared by name do not survive every pooler
	return config, nil
}

// sqlite returns the name to open a database by.
func (c Config) sqlite(mode string) (string, error) {
	path, err := filepath.Abs(c.SQLite)
	if err != nil {
		return "", err
	}
	query := url.Values{"mode": {mode}, "_txlock": {"immediate"}, "_pragma": {"busy_timeout(5000)", "trusted_schema(0)"}}
	if mode == "ro" {
		query.Del("_txlock")
		query.Add("_pragma", "query_only(1)")
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + query.Encode(), nil
}

// scrub returns the error of a table of API keys as one line of bounded length, without the password. The driver and the
// server leave it out already; this holds where one of them does not.
func (c Config) scrub(err error) error { return fmt.Errorf("the API keys in %w", c.clean(err)) }

func (c Config) clean(err error) error {
	text := err.Error()
	if parsed, fault := pgx.ParseConfig(c.Postgres); c.Postgres != "" && fault == nil {
		text = redact(text, parsed.Password)
	}
	return fmt.Errorf("%s: %s", c.Source(), oneLine(text))
}
