package enforcer

import (
	"encoding/csv"
	"errors"
	"strings"
	"unicode"
)

// maxRuleLine is the longest line of a policy, in bytes. Casbin stops at 65,536.
const maxRuleLine = 32 << 10

// rule is one line of a policy.
type rule struct {
	// row is the rule as Casbin loads it: its type, then its fields.
	row     []string
	text    string // the line as it was written
	line    int
	columns []int // where each of row begins, counted in bytes from 1
}

func (r *rule) ptype() string    { return r.row[0] }
func (r *rule) fields() []string { return r.row[1:] }
func (r *rule) place(i int) place {
	return place{r.line, r.columns[i]}
}

// readRules returns the rules of a policy. Each line that it does not report gives the rule that Casbin's
// file adapter would load from it: the line is trimmed, an empty one or one that begins with # is skipped,
// and the rest is one record of CSV whose fields lose the space before them.
func readRules(text []byte, r *report) []rule {
	var rules []rule
	number := 0
	for line := range strings.SplitSeq(string(text), "\n") {
		number++
		line = strings.TrimSuffix(line, "\r")
		if !r.checkLine(line, number, maxRuleLine) {
			continue
		}
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		record := rule{text: trimmed, line: number}
		indent := strings.Index(line, trimmed)
		if err := record.split(trimmed, indent); err != nil {
			column := indent + 1
			var syntax *csv.ParseError
			if errors.As(err, &syntax) {
				column, err = indent+syntax.Column, syntax.Err
			}
			r.errorf(place{number, column}, "quotes that are not balanced, or stand inside a field: %v; a quoted field is \"…\" from comma to comma, a quote in it is doubled", err)
			continue
		}
		rules = append(rules, record)
	}
	return rules
}

// readRows returns the rules of a table's rows. Their columns are not known, so that findings name the row only.
func readRows(rows []Row, r *report) []rule {
	rules := make([]rule, 0, len(rows))
	for i := range rows {
		row := &rows[i]
		at := place{line: int(row.ID)}
		if len(row.Fields) == 0 {
			r.errorf(at, "the row has no field")
			continue
		}
		text := strings.Join(row.Fields, ", ")
		if !r.checkText(text, at) {
			continue
		}
		rules = append(rules, rule{row: row.Fields, text: text, line: int(row.ID), columns: make([]int, len(row.Fields))})
	}
	return rules
}

// split fills in the fields of a line and where they begin.
func (r *rule) split(line string, indent int) error {
	if !strings.Contains(line, `"`) {
		r.splitPlain(line, indent)
		return nil
	}
	reader := csv.NewReader(strings.NewReader(line))
	reader.Comment = '#'
	reader.TrimLeadingSpace = true
	row, err := reader.Read()
	if err != nil {
		return err
	}
	r.row = row
	r.columns = make([]int, len(row))
	for i := range row {
		_, column := reader.FieldPos(i)
		r.columns[i] = indent + column
	}
	return nil
}

// splitPlain is split for a line without quotes. It takes no copy of the line, and no buffer.
func (r *rule) splitPlain(line string, indent int) {
	count := strings.Count(line, ",") + 1
	r.row, r.columns = make([]string, 0, count), make([]int, 0, count)
	offset := 0
	for part := range strings.SplitSeq(line, ",") {
		field := strings.TrimLeftFunc(part, unicode.IsSpace)
		r.row = append(r.row, field)
		r.columns = append(r.columns, indent+offset+len(part)-len(field)+1)
		offset += len(part) + 1
	}
}
