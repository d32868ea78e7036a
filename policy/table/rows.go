package table

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

const (
	maxRows  = 5_000_000
	maxBytes = 256 << 20 // of all fields together, as of a policy file
	maxField = 32 << 10  // of one field, as of a line of a policy file
	// maxMessage is the most that a database may send at a time: all columns of one row, with room to spare, so that a
	// field that is too long is found out before it is in memory many times over.
	maxMessage = 4 << 20
	// columnCount is the number of columns that a rule may have: its type and six values.
	columnCount = 7
)

// content is a table with what bounds it.
type content struct {
	table *enforcer.Table
	bytes int // of all fields
}

// reader makes a content of rows that come in the order of their IDs. Where a row is as it was in the content known
// before, its Fields are shared.
type reader struct {
	name  string
	known []enforcer.Row
	next  int // of known: the first whose ID was not yet reached
	rows  []enforcer.Row
	bytes int
	fresh int // rows that are not as they were
}

func newReader(name string, known content) *reader {
	r := &reader{name: name}
	if known.table != nil {
		r.known = known.table.Rows
		r.rows = make([]enforcer.Row, 0, len(r.known)+len(r.known)/64+16) // with room to append
	}
	return r
}

// fault is a finding at one row.
func fault(name string, id int64, format string, args ...any) error {
	return &policy.Finding{Position: policy.Position{File: name, Line: int(id)}, Message: fmt.Sprintf(format, args...)}
}

// add takes the next row. A nil column is NULL. The columns are the database's and are not kept.
func (r *reader) add(id int64, columns [][]byte) error {
	if n := len(r.rows); n > 0 && r.rows[n-1].ID >= id {
		return fault(r.name, id, "two rows have this id; make the column id a primary key")
	}
	if len(r.rows) == maxRows {
		return fmt.Errorf("the table has more than %d rows, which is the most that is read", maxRows)
	}
	columns, size := trim(columns)
	for i, column := range columns {
		if len(column) > maxField {
			return fault(r.name, id, "%s has %d bytes; at most %d are read", columnName(i), len(column), maxField)
		}
	}
	if r.bytes += size; r.bytes > maxBytes {
		return fmt.Errorf("the table has more than %d bytes of text, which is the most that is read", maxBytes)
	}
	for r.next < len(r.known) && r.known[r.next].ID < id {
		r.next++
	}
	if r.next < len(r.known) && r.known[r.next].ID == id && same(r.known[r.next].Fields, columns) {
		r.rows = append(r.rows, r.known[r.next])
		return nil
	}
	r.fresh++
	r.rows = append(r.rows, enforcer.Row{ID: id, Fields: fields(columns, size)})
	return nil
}

// whole returns what was read, as the whole of the table. It is the content known before where nothing differs.
func (r *reader) whole(known content) content {
	if known.table != nil && r.fresh == 0 && len(r.rows) == len(r.known) {
		return known
	}
	return content{&enforcer.Table{Name: r.name, Rows: r.rows}, r.bytes}
}

// trim drops the empty columns at the end, as Casbin's adapters do, and returns the length of the others together.
func trim(columns [][]byte) (kept [][]byte, size int) {
	for len(columns) > 0 && len(columns[len(columns)-1]) == 0 {
		columns = columns[:len(columns)-1]
	}
	for _, column := range columns {
		size += len(column)
	}
	return columns, size
}

func same(fields []string, columns [][]byte) bool {
	if len(fields) != len(columns) {
		return false
	}
	for i, column := range columns {
		if fields[i] != string(column) {
			return false
		}
	}
	return true
}

// fields returns the columns as strings that share one allocation.
func fields(columns [][]byte, size int) []string {
	var text strings.Builder
	text.Grow(size)
	for _, column := range columns {
		text.Write(column)
	}
	rest := text.String()
	split := make([]string, len(columns))
	for i, column := range columns {
		split[i], rest = rest[:len(column)], rest[len(column):]
	}
	return split
}

func columnName(i int) string {
	if i == 0 {
		return "the rule's type"
	}
	return "v" + strconv.Itoa(i-1)
}

func compareID(row enforcer.Row, id int64) int {
	switch {
	case row.ID < id:
		return -1
	case row.ID > id:
		return 1
	}
	return 0
}

// overlay returns the content in which the rows of those ids are what was read, and absent where nothing was read for
// an id. The ids are sorted, each once. What it costs beyond the change is one copy of the rows' headers, and
// not even that where rows were only added at the end.
func overlay(known content, ids []int64, read []enforcer.Row) (content, error) {
	old := known.table.Rows
	if len(ids) > 0 && (len(old) == 0 || ids[0] > old[len(old)-1].ID) {
		return grown(known, old, read)
	}
	if unchanged(old, ids, read) {
		return known, nil
	}
	rows := make([]enforcer.Row, 0, len(old)+len(read)+16)
	bytes, from := known.bytes, 0
	for _, id := range ids {
		at, found := slices.BinarySearchFunc(old[from:], id, compareID)
		rows = append(rows, old[from:from+at]...)
		from += at
		var before []string
		if found {
			before = old[from].Fields
			bytes -= length(before)
			from++
		}
		if len(read) == 0 || read[0].ID != id {
			continue
		}
		row := read[0]
		read = read[1:]
		if found && slices.Equal(before, row.Fields) {
			row.Fields = before
		}
		bytes += length(row.Fields)
		rows = append(rows, row)
	}
	return bounded(known.table.Name, append(rows, old[from:]...), bytes)
}

// unchanged reports whether the rows of those ids are what was read.
func unchanged(old []enforcer.Row, ids []int64, read []enforcer.Row) bool {
	for _, id := range ids {
		at, found := slices.BinarySearchFunc(old, id, compareID)
		present := len(read) > 0 && read[0].ID == id
		if found != present || found && !slices.Equal(old[at].Fields, read[0].Fields) {
			return false
		}
		if present {
			read = read[1:]
		}
	}
	return true
}

// grown is overlay for rows behind the last one. They go into the array of the rows before them, where no Table that
// was handed out looks: each Table ends where its own rows end, and only the newest one is grown.
func grown(known content, old, read []enforcer.Row) (content, error) {
	if len(read) == 0 {
		return known, nil
	}
	bytes := known.bytes
	for _, row := range read {
		bytes += length(row.Fields)
	}
	return bounded(known.table.Name, append(old, read...), bytes)
}

func bounded(name string, rows []enforcer.Row, bytes int) (content, error) {
	if len(rows) > maxRows || bytes > maxBytes {
		return content{}, fmt.Errorf("the table has %d rows and %d bytes of text; at most %d and %d are read", len(rows), bytes, maxRows, maxBytes)
	}
	return content{&enforcer.Table{Name: name, Rows: rows}, bytes}, nil
}

func length(fields []string) int {
	n := 0
	for _, field := range fields {
		n += len(field)
	}
	return n
}
