package enforcer

import (
	"encoding/csv"
	"errors"
	"strings"
	"unicode"
	"unsafe"
)

// maxRuleLine is the longest line of a policy, in bytes. Casbin stops at 65,536.
const maxRuleLine = 32 << 10

// rule is one line of a policy.
type rule struct {
	// row is the rule as Casbin loads it: its type, then its fields. Once a rule of a text is indexed it is nil, and
	// split again where somebody asks.
	row    []string
	text   string // the line as it was written, without the space around it
	line   int
	column int // where the text begins in its line, counted in bytes from 1; zero where that is not known
}

func (r *rule) ptype() string    { return r.split()[0] }
func (r *rule) fields() []string { return r.split()[1:] }

func (r *rule) split() []string {
	if r.row != nil {
		return r.row
	}
	row, err := splitLine(r.text)
	if err != nil {
		return []string{""} // cannot be, for a text that was split before
	}
	return row
}

// place returns where a part of the row begins.
func (r *rule) place(i int) place {
	if r.column == 0 {
		return place{line: r.line}
	}
	if !strings.Contains(r.text, `"`) {
		return place{r.line, r.column + plainOffset(r.text, i)}
	}
	reader := newLineReader(r.text)
	if _, err := reader.Read(); err != nil {
		return place{r.line, r.column} // cannot be, for a row that was read from this text
	}
	_, column := reader.FieldPos(i)
	return place{r.line, r.column + column - 1}
}

// plainOffset returns where the field with that number begins in a line without quotes.
func plainOffset(line string, number int) int {
	offset := 0
	for part := range strings.SplitSeq(line, ",") {
		if number == 0 {
			return offset + len(part) - len(strings.TrimLeftFunc(part, unicode.IsSpace))
		}
		number--
		offset += len(part) + 1
	}
	return offset
}

// readRules returns the rules of a policy. Each line that it does not report gives the rule that Casbin's
// file adapter would load from it: the line is trimmed, an empty one or one that begins with # is skipped,
// and the rest is one record of CSV whose fields lose the space before them.
func readRules(text []byte, r *report) []rule {
	var rules []rule
	number := 0
	whole := unsafe.String(unsafe.SliceData(text), len(text)) //nolint:gosec // nobody changes it (Config)
	for line := range strings.SplitSeq(whole, "\n") {
		number++
		line = strings.TrimSuffix(line, "\r")
		if !r.checkLine(line, number, maxRuleLine) {
			continue
		}
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		indent := strings.Index(line, trimmed)
		row, err := splitLine(trimmed)
		if err != nil {
			column := indent + 1
			var syntax *csv.ParseError
			if errors.As(err, &syntax) {
				column, err = indent+syntax.Column, syntax.Err
			}
			r.errorf(place{number, column}, "quotes that are not balanced, or stand inside a field: %v; a quoted field is \"…\" from comma to comma, a quote in it is doubled", err)
			continue
		}
		rules = append(rules, rule{row: row, text: trimmed, line: number, column: indent + 1})
	}
	return rules
}

// readRows returns the rules of a table's rows. Their columns are not known, so that findings name the row only.
func readRows(rows []Row, r *report) []rule {
	rules := make([]rule, 0, len(rows))
	for i := range rows {
		rule := newRowRule(&rows[i])
		at := place{line: rule.line}
		if len(rule.row) == 0 {
			r.errorf(at, "the row has no field")
			continue
		}
		if r.checkText(rule.text, at) {
			rules = append(rules, rule)
		}
	}
	return rules
}

func newRowRule(row *Row) rule {
	return rule{row: row.Fields, text: strings.Join(row.Fields, ", "), line: int(row.ID)}
}

// splitLine returns the fields of a line.
func splitLine(line string) ([]string, error) {
	if strings.Contains(line, `"`) {
		return newLineReader(line).Read()
	}
	row := make([]string, 0, strings.Count(line, ",")+1)
	for part := range strings.SplitSeq(line, ",") {
		row = append(row, strings.TrimLeftFunc(part, unicode.IsSpace))
	}
	return row, nil
}

// newLineReader reads one line as Casbin's file adapter does.
func newLineReader(line string) *csv.Reader {
	reader := csv.NewReader(strings.NewReader(line))
	reader.Comment = '#'
	reader.TrimLeadingSpace = true
	return reader
}

// Row is one row of a table of rules, as Casbin's adapters for databases write them.
type Row struct {
	// ID names the row in findings and stands for the line in the rule of an outcome.
	ID int64
	// Fields are the rule's type, then its fields, without the empty columns at the end. They may hold what
	// the lines of a text cannot: commas, quotes, space.
	Fields []string
}
