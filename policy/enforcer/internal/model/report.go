package model

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/kasbah-authz/kasbah/policy"
)

// MaxFindings bounds how many findings of each level one text brings up, so that a file that is not what it
// should be at all does not fill the operator's screen, or memory.
const MaxFindings = 100

// Place is a position in the text that a report is about; both count from 1, the column in bytes.
type Place struct{ Line, Column int }

// Report collects the findings on one text.
type Report struct {
	File     string
	Findings policy.Findings
	Counts   [2]int // by level
}

// Errorf reports an error.
func (r *Report) Errorf(at Place, format string, args ...any) {
	r.add(policy.LevelError, at, format, args...)
}

// Warnf reports a warning.
func (r *Report) Warnf(at Place, format string, args ...any) {
	r.add(policy.LevelWarning, at, format, args...)
}

func (r *Report) add(level policy.Level, at Place, format string, args ...any) {
	r.Counts[level]++
	message := ""
	switch n := r.Counts[level]; {
	case n > MaxFindings:
		return
	case n == MaxFindings:
		message = "there are more findings of this level, which are not listed"
	default:
		message = fmt.Sprintf(format, args...)
	}
	r.Findings = append(r.Findings, &policy.Finding{Position: r.Position(at), Level: level, Message: message})
}

// Position returns the place with the name of the text.
func (r *Report) Position(at Place) policy.Position {
	return policy.Position{File: r.File, Line: at.Line, Column: at.Column}
}

// Failed reports whether there was an error.
func (r *Report) Failed() bool { return r.Counts[policy.LevelError] > 0 }

const byteOrderMark = "\ufeff"

// checkLine reports what must not stand in a line of either text, because an editor does not show it or
// because Casbin reads it as something else. The line comes without its end.
func (r *Report) checkLine(line string, number, limit int) bool {
	if len(line) > limit {
		r.Errorf(Place{number, limit}, "the line has %d bytes; at most %d are read", len(line), limit)
		return false
	}
	return r.CheckText(line, Place{number, 1})
}

// CheckText is checkLine for a text that begins at that place, or, where the column is 0, somewhere in it.
func (r *Report) CheckText(text string, start Place) bool {
	for i, c := range text {
		at := start
		if start.Column > 0 {
			at.Column += i
		}
		switch {
		case c >= ' ' && c < 0x7f || c == '\t':
			continue
		case c == utf8.RuneError && text[i] != "\ufffd"[0]:
			r.Errorf(at, "byte 0x%02x is not UTF-8", text[i])
		case string(c) == byteOrderMark:
			r.Errorf(at, "a byte-order mark; save the file as UTF-8 without one")
		case c == '\r':
			r.Errorf(at, "a carriage return that ends no line; lines end with LF or CR LF")
		case c == 0:
			r.Errorf(at, "a NUL character")
		case unicode.IsControl(c), c >= '\u2028' && c <= '\u202e', c >= '\u2066' && c <= '\u2069', c >= '\u200b' && c <= '\u200f':
			r.Errorf(at, "the invisible character %U", c)
		default:
			continue
		}
		return false
	}
	return true
}
