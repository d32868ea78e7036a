package expression

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"cel.dev/cel-go/cel"
)

// SyntaxError is what is wrong with an expression's text. Line and Column count from 1, columns in code
// points; 0 is unknown.
type SyntaxError struct {
	Line, Column int
	// Message says what is wrong, and names the variable that was probably meant where one is near.
	Message string
}

// Error returns "line:column: message".
func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
}

// readingError is an evaluation's error in our own words, which hold nothing of the request but the names of
// headers and parameters.
type readingError string

// Error returns the words.
func (e readingError) Error() string { return string(e) }

const (
	errNotUTF8 = readingError("a string is not valid UTF-8")
	errListKey = readingError("a list has no keys")
	errNumber  = readingError("a number is too large for a double")
	errNoBody  = readingError("the request has no body that was found valid")
	errNoTable = readingError("a map of the request can only be asked for its keys")
)

// noSuchKey begins CEL's error for a key that a map does not have, which has no type to know it by.
const noSuchKey = "no such key: "

func missingKey(key string) error { return errors.New(noSuchKey + key) }

func isMissing(err error) bool { return err != nil && strings.HasPrefix(err.Error(), noSuchKey) }

// harmless are CEL's own errors that quote nothing of what was evaluated, by how they begin.
var harmless = []string{
	"no such overload", "division by zero", "modulus by zero", "integer overflow", "unsigned integer overflow",
	"duration overflow", "timestamp overflow", "index out of bounds", "operation cancelled", "unsupported index type",
}

// fault returns the error of an evaluation as it may be logged. CEL's errors quote the value that would not
// convert, and that value may be a credential; only what cannot quote one is passed on.
func (e *Expression) fault(err error) error {
	var ours readingError
	switch {
	case errors.As(err, &ours):
		return fmt.Errorf("%s: %w", e.source, ours)
	case isMissing(err):
		key := strings.TrimPrefix(err.Error(), noSuchKey)
		if strings.Contains(e.source, key) {
			return fmt.Errorf("%s: no such key: %s", e.source, key)
		}
		return fmt.Errorf("%s: no such key", e.source)
	}
	for _, beginning := range harmless {
		if strings.HasPrefix(err.Error(), beginning) {
			return fmt.Errorf("%s: %w", e.source, err)
		}
	}
	return fmt.Errorf("%s: a value does not have the form that the expression needs", e.source)
}

// syntaxError returns the first of the issues, in our words where the operator most likely mistyped a name.
func syntaxError(source string, issues *cel.Issues) error {
	first := issues.Errors()[0]
	e := &SyntaxError{Message: strings.TrimSuffix(first.Message, " (in container '')")}
	if line := first.Location.Line(); line > 0 {
		e.Line, e.Column = line, max(first.Location.Column()+1, 1)
	}
	if strings.HasPrefix(e.Message, "undeclared reference to ") {
		name, column := nameAt(source, e.Line, e.Column)
		if better := unknownName(name); better != "" {
			e.Column, e.Message = column, better
		}
	}
	return e
}

// nameAt returns the dotted name around a place of the source, "(" behind it where it is called, and the
// column where the name begins. CEL points at a name's first letter, at a dot in it, or at the parenthesis.
func nameAt(source string, line, column int) (name string, start int) {
	lines := strings.Split(source, "\n")
	if line < 1 || line > len(lines) {
		return "", column
	}
	text := []rune(lines[line-1])
	start = min(column-1, len(text))
	end := start
	for start > 0 && inName(text[start-1]) {
		start--
	}
	for end < len(text) && inName(text[end]) {
		end++
	}
	name = string(text[start:end])
	if end < len(text) && text[end] == '(' && !strings.Contains(name, ".") {
		name += "("
	}
	return name, start + 1
}

func inName(r rune) bool {
	return r == '.' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

func unknownName(name string) string {
	if called, ok := strings.CutSuffix(name, "("); ok {
		return fmt.Sprintf("unknown function %q", called)
	}
	if name == "" {
		return ""
	}
	parts := strings.SplitN(name, ".", 3)
	if len(parts) == 1 {
		for _, v := range variables {
			if strings.HasPrefix(v.name, name+".") {
				return fmt.Sprintf("%q alone is no value; name one of its fields, as in %s", name, v.name)
			}
		}
	}
	known := strings.Join(parts[:min(2, len(parts))], ".")
	if near := nearest(known); near != "" {
		return fmt.Sprintf("unknown variable %q; did you mean %s?", known, near)
	}
	return fmt.Sprintf("unknown variable %q", known)
}

// nearest returns the variable whose name, or whose last part, takes the fewest changes to become name;
// empty when even that one is far off. A name whose first part is right is held against its siblings only.
func nearest(name string) string {
	first, _, _ := strings.Cut(name, ".")
	siblings := slices.ContainsFunc(variables, func(v variable) bool { return strings.HasPrefix(v.name, first+".") })
	best, changes := "", len(name)/3+2
	for _, v := range variables {
		last := v.name[strings.LastIndexByte(v.name, '.')+1:]
		near := distance(name, v.name)
		if !siblings {
			near = min(near, distance(first, last))
		} else if !strings.HasPrefix(v.name, first+".") {
			continue
		}
		if near < changes {
			best, changes = v.name, near
		}
	}
	return best
}

// distance is Levenshtein's: how many letters must be changed, added or dropped.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
