package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a file that an operator edits. Line and Column count from 1; 0 is unknown.
type Position struct {
	File         string
	Line, Column int
}

// String returns "file:line:column", leaving out what is unknown.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Level says how grave a Finding is.
type Level uint8

// The levels. The zero Level is the gravest: a finding that nobody graded stops the load.
const (
	LevelError Level = iota
	LevelWarning
)

// String returns "error" or "warning".
func (l Level) String() string {
	if l == LevelWarning {
		return "warning"
	}
	return "error"
}

// Finding is what reading a configuration, a model or a policy brings up: where it is, and what is wrong.
// It is an error, so that a loader may return one.
type Finding struct {
	Position
	Level   Level
	Message string // lower case, no period: what is wrong, and what would be right
}

// Error returns "file:line:column: level: message".
func (f *Finding) Error() string {
	if f.File == "" {
		return f.Level.String() + ": " + f.Message
	}
	return f.Position.String() + ": " + f.Level.String() + ": " + f.Message
}

// Findings are all that one load brought up.
type Findings []*Finding

// Error returns one finding a line.
func (f Findings) Error() string {
	lines := make([]string, len(f))
	for i, finding := range f {
		lines[i] = finding.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns the findings as an error if one of them is of [LevelError], else nil.
func (f Findings) Err() error {
	for _, finding := range f {
		if finding.Level == LevelError {
			return f
		}
	}
	return nil
}

// Sort puts the findings in the order of the text, errors before warnings, and keeps the order of those at one place.
func (f Findings) Sort() {
	slices.SortStableFunc(f, func(a, b *Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Level, b.Level))
	})
}

// FieldError is what a constructor returns for a fault in one field of the message that it was given, so that
// its caller, who knows where the message stands in the file, can say where the field does.
type FieldError struct {
	// Field is the path from the message to the field: "jwt.audiences", "request[\"sub\"]", "match[2].path".
	Field string
	Err   error
}

// Error returns "field: what is wrong".
func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns what is wrong.
func (e *FieldError) Unwrap() error { return e.Err }
