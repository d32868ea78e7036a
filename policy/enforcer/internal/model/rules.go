package model

import (
	"encoding/csv"
	"errors"
	"strings"
	"unicode"
	"unsafe"
)

// MaxRuleLine is the longest line of a policy, in bytes. Casbin stops at 65,536.
const MaxRuleLine = 32 << 10

// Rule is one line of a policy.
type Rule struct {
	// row is the rule as Casbin loads it: its type, then its fields. Once a rule of a text is indexed it is nil, and
	// split again where somebody asks.
	Row    []string
	Text   string // the line as it was written, without the space around it
	Line   int
	Column int // where the text begins in its line, counted in bytes from 1; zero where that is not known
}

// Type is the definition that the rule is of, such as p or g2.
func (r *Rule) Type() string { return r.split()[0] }

// Fields are what the definition names, without the type. They are not to be changed.
func (r *Rule) Fields() []string { return r.split()[1:] }

func (r *Rule) split() []string {
	if r.Row != nil {
		return r.Row
	}
	row, err := splitLine(r.Text)
	if err != nil {
		return []string{""} // cannot be, for a text that was split before
	}
	return row
}

// Place returns where a part of the row begins.
func (r *Rule) Place(i int) Place {
	if r.Column == 0 {
		return Place{Line: r.Line}
	}
	if !strings.Contains(r.Text, `"`) {
		return Place{r.Line, r.Column + plainOffset(r.Text, i)}
	}
	reader := newLineReader(r.Text)
	if _, err := reader.Read(); err != nil {
		return Place{r.Line, r.Column} // cannot be, for a row that was read from this text
	}
	_, column := reader.FieldPos(i)
	return Place{r.Line, r.Column + column - 1}
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

// ReadRules returns the rules of a policy. Each line that it does not report gives the rule that Casbin's
// file adapter would load from it: the line is trimmed, an empty one or one that begins with # is skipped,
// and the rest is one record of CSV whose fields lose the space before them.
func ReadRules(text []byte, r *Report) []Rule {
	var rules []Rule
	number := 0
	whole := unsafe.String(unsafe.SliceData(text), len(text)) //nolint:gosec // nobody changes it (Config)
	for line := range strings.SplitSeq(whole, "\n") {
		number++
		line = strings.TrimSuffix(line, "\r")
		if !r.checkLine(line, number, MaxRuleLine) {
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
			r.Errorf(Place{number, column}, "quotes that are not balanced, or stand inside a field: %v; a quoted field is \"…\" from comma to comma, a quote in it is doubled", err)
			continue
		}
		rules = append(rules, Rule{Row: row, Text: trimmed, Line: number, Column: indent + 1})
	}
	return rules
}

// ReadRows returns the rules of a table's rows. Their columns are not known, so that findings name the row only.
func ReadRows(rows []Row, r *Report) []Rule {
	rules := make([]Rule, 0, len(rows))
	for i := range rows {
		rule := NewRowRule(&rows[i])
		at := Place{Line: rule.Line}
		if len(rule.Row) == 0 {
			r.Errorf(at, "the row has no field")
			continue
		}
		if r.CheckText(rule.Text, at) {
			rules = append(rules, rule)
		}
	}
	return rules
}

// NewRowRule returns the rule that stands in a row.
func NewRowRule(row *Row) Rule {
	return Rule{Row: row.Fields, Text: strings.Join(row.Fields, ", "), Line: int(row.ID)}
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
