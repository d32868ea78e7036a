package table

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

const (
	connectTimeout = 10 * time.Second
	// maxReason is the most that is told of an error, in characters: a server may say anything.
	maxReason = 500
	// askTimeout bounds what is asked about some rows or none, readTimeout what is asked about all of them.
	askTimeout  = 15 * time.Second
	readTimeout = 2 * time.Minute
)

// postgresSettings are what a connection is made with.
type postgresSettings struct {
	config *pgx.ConnConfig
	source string // host, database and table
	quoted string // the table's name as SQL
	poll   time.Duration
	now    func() time.Time
}

func newPostgresSettings(cfg Config, quoted string, now func() time.Time) (*postgresSettings, error) {
	config, err := pgx.ParseConfig(string(cfg.Postgres))
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
	address := config.Host
	if !strings.HasPrefix(config.Host, "/") { // a folder with a socket
		address = net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
	}
	source := (&url.URL{Scheme: "postgres", Host: address, Path: "/" + config.Database + "/" + cfg.Table}).String()
	return &postgresSettings{config: config, source: source, quoted: quoted, poll: cfg.Poll, now: now}, nil
}

// scrub returns the error as one line of a text, of bounded length and without the password. The driver and the server leave it out already; this holds
// where one of them does not.
func (s *postgresSettings) scrub(doing string, err error) error {
	text := err.Error()
	for _, secret := range []string{s.config.Password, url.QueryEscape(s.config.Password), url.PathEscape(s.config.Password)} {
		if len(secret) > 3 { // a shorter one stands in any text
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	text = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
	text = strings.Join(strings.Fields(text), " ")
	return fmt.Errorf("%s: %.*s", doing, maxReason, text)
}

// postgres is a connection to PostgreSQL.
type postgres struct {
	*postgresSettings
	conn   *pgx.Conn
	ears   ears
	layout layout
	seen   seen
	due    time.Time // of the next poll
}

func (s *postgresSettings) dial(ctx context.Context) (connection, error) {
	p := &postgres{postgresSettings: s, ears: newEars(), due: s.now().Add(s.poll)}
	config := s.config.Copy()
	// Each notification is taken in at once. The driver would keep them, and PostgreSQL may have gigabytes of them.
	config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { p.hear(n) }
	var err error
	if p.conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		return nil, s.scrub("connecting to PostgreSQL", err)
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := p.listen(asking); err != nil {
		p.close()
		return nil, s.scrub("listening for changes", err)
	}
	return p, nil
}

func (p *postgres) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.conn.Close(ctx) // there is nothing to lose in it
}

func (p *postgres) notified() bool { return p.layout.triggers && !p.ears.deaf }

// layout is how the table is made.
type layout struct {
	relation int64
	kind     string // of pg_class.relkind: r for a table
	key      string // the expression that rows are ordered by and named after
	byID     bool   // key is an integer column id
	columns  string // the list of a SELECT: the key and the columns of the rule
	triggers bool   // those of notify.sql are there and on
}

const describeColumns = `
SELECT c.oid::bigint, c.relkind::text, a.attname::text, t.typname::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE c.oid = pg_catalog.to_regclass($1)`

// A trigger's type has one bit for each of INSERT (4), DELETE (8), UPDATE (16) and TRUNCATE (32). One with a condition, or
// for some columns only, does not tell all.
const describeTriggers = `
SELECT COALESCE(pg_catalog.bit_or(t.tgtype::int & 60), 0) = 60
FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc f ON f.oid = t.tgfoid
WHERE t.tgrelid = $1 AND t.tgenabled IN ('O', 'A') AND t.tgqual IS NULL AND t.tgattr::text = '' AND f.proname = 'kasbah_notify'`

// describe reads the layout of the table.
func (p *postgres) describe(ctx context.Context, tx pgx.Tx) (layout, error) {
	var l layout
	types := map[string]string{}
	rows, err := tx.Query(ctx, describeColumns, p.quoted)
	if err != nil {
		return l, err
	}
	var name, kind string
	_, err = pgx.ForEachRow(rows, []any{&l.relation, &l.kind, &name, &kind}, func() error {
		types[name] = kind
		return nil
	})
	if err != nil {
		return l, err
	}
	if len(types) == 0 {
		return l, fmt.Errorf("there is no table %s, or this user may not see it", p.quoted)
	}
	if err := l.arrange(types); err != nil {
		return l, fmt.Errorf("the table %s %w", p.quoted, err)
	}
	if err := tx.QueryRow(ctx, describeTriggers, l.relation).Scan(&l.triggers); err != nil {
		return l, err
	}
	return l, nil
}

// arrange says how to select a rule from columns of those names and types.
func (l *layout) arrange(types map[string]string) error {
	rule, err := ruleColumns(func(name string) bool { return types[name] != "" })
	if err != nil {
		return err
	}
	switch types["id"] {
	case "int2", "int4", "int8":
		l.key, l.byID = `t."id"`, true
	default: // the adapters that have another id, or none, load rows as they lie there
		if l.kind != "r" {
			return errors.New("has no column id of an integer type; a view needs one")
		}
		l.key = "t.ctid"
	}
	selected := []string{l.key + "::text"}
	for _, column := range rule {
		selected = append(selected, `t."`+column+`"::text`)
	}
	l.columns = strings.Join(selected, ", ")
	return nil
}

// ruleColumns returns the names of the columns that make a rule, in order.
func ruleColumns(has func(name string) bool) ([]string, error) {
	if has("ptype") == has("p_type") {
		return nil, errors.New("has no column ptype or p_type, or has both; is it one that a Casbin adapter made?")
	}
	rule := []string{"ptype"}
	if has("p_type") {
		rule[0] = "p_type"
	}
	for i := range columnCount - 1 {
		name := "v" + strconv.Itoa(i)
		if !has(name) {
			break
		}
		rule = append(rule, name)
	}
	if len(rule) < 2 {
		return nil, errors.New("has no column v0")
	}
	for i := len(rule) - 1; i < 2*columnCount; i++ {
		if name := "v" + strconv.Itoa(i); has(name) {
			return nil, fmt.Errorf("has a column %s; v0 to v5 are read, without a gap", name)
		}
	}
	return rule, nil
}

// inSnapshot runs what reads in one transaction, all of whose statements see the same state of the database.
func (p *postgres) inSnapshot(ctx context.Context, run func(tx pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, p.conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, run)
}

// read reads the whole table.
func (p *postgres) read(ctx context.Context, known content) (content, error) {
	return p.readIf(ctx, known, nil)
}

// readIf reads the whole table, unless needed, which sees the same state of it, says that it need not. What is
// heard from now on is about changes that may come after that state.
func (p *postgres) readIf(ctx context.Context, known content, needed func(context.Context, pgx.Tx) (bool, error)) (content, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	heard := p.ears.heard
	p.ears.heard = nothing()
	next := known
	err := p.inSnapshot(ctx, func(tx pgx.Tx) error {
		if needed != nil {
			if ok, err := needed(ctx, tx); err != nil || !ok {
				p.ears.heard = heard.and(p.ears.heard) // nothing was read
				return err
			}
		} else if err := p.look(ctx, tx); err != nil {
			return err
		}
		query := "SELECT " + p.layout.columns + " FROM " + p.quoted + " AS t ORDER BY " + p.layout.key
		r := newReader(p.source, known)
		if err := p.scan(ctx, tx, r, query); err != nil {
			return err
		}
		next = r.whole(known)
		return nil
	})
	if err != nil {
		return content{}, p.explain(err)
	}
	return next, nil
}

// scan gives the reader each row that the query has. After an error the connection is of no use: it does not wait for
// the rest of the rows.
func (p *postgres) scan(ctx context.Context, tx pgx.Tx, r *reader, query string, args ...any) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	defer func() { // before rows are closed, which reads what is left of them
		if err != nil {
			cancel()
		}
	}()
	for rows.Next() {
		raw := rows.RawValues()
		var id int64
		if id, err = rowID(raw[0], p.layout.byID); err != nil {
			return err
		}
		if err = r.add(id, raw[1:]); err != nil {
			return err
		}
	}
	return rows.Err()
}

// rowID is the number of a row: its id, or where it lies, a ctid such as (3,17). A block has fewer than 65,536 rows.
func rowID(text []byte, byID bool) (int64, error) {
	if text == nil {
		return 0, errors.New("a row's id is NULL; make the column id a primary key")
	}
	if byID {
		return strconv.ParseInt(string(text), 10, 64)
	}
	block, place, ok := strings.Cut(strings.Trim(string(text), "()"), ",")
	high, errHigh := strconv.ParseUint(block, 10, 32)
	low, errLow := strconv.ParseUint(place, 10, 16)
	if !ok || errHigh != nil || errLow != nil {
		return 0, fmt.Errorf("PostgreSQL says that a row lies at %q", text)
	}
	return int64(high<<16 | low), nil
}

// readSome reads the rows of those ids, of which there may be none, and asks to be told when all was heard that was
// said before.
func (p *postgres) readSome(ctx context.Context, ids []int64) ([]enforcer.Row, error) {
	p.ears.returned = false
	r := newReader(p.source, content{})
	err := p.inSnapshot(ctx, func(tx pgx.Tx) error {
		query := "SELECT " + p.layout.columns + " FROM " + p.quoted + ` AS t WHERE t."id" = ANY($1) ORDER BY ` + p.layout.key
		if err := p.scan(ctx, tx, r, query, ids); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "SELECT pg_catalog.pg_notify($1, '')", p.ears.marker)
		return err
	})
	return r.rows, err
}

// explain makes an error of the driver one for operators, and leaves those of this package as they are.
func (p *postgres) explain(err error) error {
	var row *policy.Finding
	if errors.As(err, &row) {
		return row
	}
	var large *pgproto3.ExceededMaxBodyLenErr
	if errors.As(err, &large) {
		return fmt.Errorf("reading the table: a row has more than %d bytes", maxMessage)
	}
	var refused *pgconn.PgError
	var dead net.Error
	if errors.As(err, &refused) || errors.As(err, &dead) || p.conn.IsClosed() {
		return p.scrub("reading the table", err)
	}
	return err
}
