package enforcer

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/kasbah-authz/kasbah/policy"
)

// maxFindings bounds how many findings of each level one text brings up, so that a file that is not what it
// should be at all does not fill the operator's screen, or memory.
const maxFindings = 100

// place is a position in the text that a report is about; both count from 1, the column in bytes.
type place struct{ line, column int }

// report collects the findings on one text.
type report struct {
	file     string
	findings policy.Findings
	counts   [2]int // by level
}

func (r *report) errorf(at place, format string, args ...any) {
	r.add(policy.LevelError, at, format, args...)
}

func (r *report) warnf(at place, format string, args ...any) {
	r.add(policy.LevelWarning, at, format, args...)
}

func (r *report) add(level policy.Level, at place, format string, args ...any) {
	r.counts[level]++
	message := ""
	switch n := r.counts[level]; {
	case n > maxFindings:
		return
	case n == maxFindings:
		message = "there are more findings of this level, which are not listed"
	default:
		message = fmt.Sprintf(format, args...)
	}
	r.findings = append(r.findings, &policy.Finding{Position: r.position(at), Level: level, Message: message})
}

func (r *report) position(at place) policy.Position {
	return policy.Position{File: r.file, Line: at.line, Column: at.column}
}

func (r *report) failed() bool { return r.counts[policy.LevelError] > 0 }

const byteOrderMark = "\ufeff"

// checkLine reports what must not stand in a line of either text, because an editor does not show it or
// because Casbin reads it as something else. The line comes without its end.
func (r *report) checkLine(line string, number, limit int) bool {
	if len(line) > limit {
		r.errorf(place{number, limit}, "the line has %d bytes; at most %d are read", len(line), limit)
		return false
	}
	return r.checkText(line, place{number, 1})
}

// checkText is checkLine for a text that begins at that place, or, where the column is 0, somewhere in it.
func (r *report) checkText(text string, start place) bool {
	for i, c := range text {
		at := start
		if start.column > 0 {
			at.column += i
		}
		switch {
		case c >= ' ' && c < 0x7f || c == '\t':
			continue
		case c == utf8.RuneError && text[i] != "\ufffd"[0]:
			r.errorf(at, "byte 0x%02x is not UTF-8", text[i])
		case string(c) == byteOrderMark:
			r.errorf(at, "a byte-order mark; save the file as UTF-8 without one")
		case c == '\r':
			r.errorf(at, "a carriage return that ends no line; lines end with LF or CR LF")
		case c == 0:
			r.errorf(at, "a NUL character")
		case unicode.IsControl(c), c >= '\u2028' && c <= '\u202e', c >= '\u2066' && c <= '\u2069', c >= '\u200b' && c <= '\u200f':
			r.errorf(at, "the invisible character %U", c)
		default:
			continue
		}
		return false
	}
	return true
}
