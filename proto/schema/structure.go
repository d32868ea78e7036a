package schema

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/bits"
	"unicode/utf8"
)

// Limits bounds the structure of JSON. Each must be greater than zero; lengths are in bytes, as they are written.
type Limits struct {
	Depth    int // of objects and lists in each other, at most 256
	Members  int // of one object
	Elements int // of one list
	Values   int // members and elements of all of them together
	String   int // one string, between its quotes
	Name     int // one member's name, likewise
	Number   int // one number
}

// maxNesting is the deepest that Limits may allow.
const maxNesting = 256

// A defect is what is wrong with the structure of a body. It quotes nothing of it.
type defect struct {
	rule string
	at   int // the byte, from 0
	what string
}

func (d *defect) message() string { return fmt.Sprintf("at byte %d: %s", d.at, d.what) }

// container is one object or list that is open.
type container struct {
	object bool
	serial uint32 // of an object: no two have the same
	count  int
}

// structure is one pass over a text of JSON (RFC 8259). It builds nothing of what it reads: its memory is the open objects
// and lists, of which there are 256 at most, and 64 bytes at most for each name of those objects that have more than a few, of which there
// are Limits.Values at most.
type structure struct {
	text    []byte
	at      int
	limits  *Limits
	values  int
	objects uint32
	depth   int
	open    [maxNesting]container
	names   names
}

// checkJSON returns how many members and elements a text of JSON has, or what is wrong with its structure. Two names of one object are taken
// for the same when their hashes under the seed are, which nobody can provoke who does not know it.
func checkJSON(text []byte, limits *Limits, seed maphash.Seed) (values int, d *defect) {
	s := structure{text: text, limits: limits}
	var few [64]uint64
	s.names.seed, s.names.stack = seed, few[:0]
	d = s.document()
	return s.values, d
}

// What the text goes on with.
const (
	value = iota
	firstValue
	firstName
	name
	after
)

func (s *structure) document() *defect {
	next := value
	for {
		if s.at < len(s.text) && s.text[s.at] <= ' ' {
			s.space()
		}
		if next == after && s.depth == 0 {
			if s.at < len(s.text) {
				return s.wrong("json.trailing", "something stands behind the value")
			}
			return nil
		}
		if s.at == len(s.text) {
			return s.wrong("json.syntax", "the text ends before its value does")
		}
		var d *defect
		c := s.text[s.at]
		switch {
		case next == after:
			next, d = s.behind(c)
		case next == firstName && c == '}', next == firstValue && c == ']':
			next, d = s.leave(), nil
		case next == firstName || next == name:
			next, d = value, s.member(c)
		default:
			next, d = s.value(c, next == firstValue)
		}
		if d != nil {
			return d
		}
	}
}

func (s *structure) wrong(rule, what string) *defect { return &defect{rule, s.at, what} }

func (s *structure) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\n', '\r', '\t':
			s.at++
		default:
			return
		}
	}
}

// behind reads what stands behind a value in a list or an object.
func (s *structure) behind(c byte) (next int, d *defect) {
	top := &s.open[s.depth-1]
	switch {
	case c == ',' && top.object:
		s.at++
		return name, nil
	case c == ',':
		s.at++
		return value, s.element(top)
	case c == '}' && top.object, c == ']' && !top.object:
		return s.leave(), nil
	}
	return 0, s.wrong("json.syntax", "a comma or the end of the object or list is missing")
}

func (s *structure) enter(object bool) *defect {
	if s.depth >= s.limits.Depth || s.depth >= maxNesting {
		return s.wrong("json.max_depth", fmt.Sprintf("objects and lists are nested deeper than %d", s.limits.Depth))
	}
	s.objects++
	s.open[s.depth] = container{object: object, serial: s.objects}
	s.depth++
	s.at++
	return nil
}

func (s *structure) leave() int {
	s.depth--
	if top := &s.open[s.depth]; top.object {
		s.names.leave(top)
	}
	s.at++
	return after
}

func (s *structure) count() *defect {
	if s.values++; s.values > s.limits.Values {
		return s.wrong("json.max_values", fmt.Sprintf("there are more than %d members and elements", s.limits.Values))
	}
	return nil
}

func (s *structure) element(list *container) *defect {
	if list.count++; list.count > s.limits.Elements {
		return s.wrong("json.max_elements", fmt.Sprintf("a list has more than %d elements", s.limits.Elements))
	}
	return s.count()
}

// member reads a name and the colon behind it.
func (s *structure) member(c byte) *defect {
	if c != '"' {
		return s.wrong("json.syntax", "the name of a member is missing")
	}
	object := &s.open[s.depth-1]
	if object.count++; object.count > s.limits.Members {
		return s.wrong("json.max_members", fmt.Sprintf("an object has more than %d members", s.limits.Members))
	}
	if d := s.count(); d != nil {
		return d
	}
	start := s.at
	written, escaped, d := s.quoted(s.limits.Name, "json.max_name_bytes", "a name is longer than %d bytes")
	if d != nil {
		return d
	}
	if !s.names.add(object, written, escaped) {
		return &defect{"json.duplicate_name", start, "an object has a second member of this name"}
	}
	if s.at < len(s.text) && s.text[s.at] <= ' ' {
		s.space()
	}
	if s.at == len(s.text) || s.text[s.at] != ':' {
		return s.wrong("json.syntax", "the colon behind a name is missing")
	}
	s.at++
	return nil
}

// value reads a value; of an object or list, its beginning.
func (s *structure) value(c byte, first bool) (next int, d *defect) {
	if first {
		if d := s.element(&s.open[s.depth-1]); d != nil {
			return 0, d
		}
	}
	switch c {
	case '{':
		return firstName, s.enter(true)
	case '[':
		return firstValue, s.enter(false)
	case '"':
		_, _, d := s.quoted(s.limits.String, "json.max_string_bytes", "a string is longer than %d bytes")
		return after, d
	case 't':
		return after, s.literal("true")
	case 'f':
		return after, s.literal("false")
	case 'n':
		return after, s.literal("null")
	}
	return after, s.number()
}

func (s *structure) literal(word string) *defect {
	if len(s.text)-s.at < len(word) || string(s.text[s.at:s.at+len(word)]) != word {
		return s.wrong("json.syntax", "this is no value")
	}
	s.at += len(word)
	return nil
}

func (s *structure) number() *defect {
	start, text := s.at, s.text
	at := start
	if text[at] == '-' {
		at++
	}
	whole := at
	if at = digits(text, at); at == whole {
		return s.wrong("json.syntax", "this is no value")
	}
	if text[whole] == '0' {
		at = whole + 1 // digits behind it are no part of the number
	}
	if at < len(text) && text[at] == '.' {
		fraction := at + 1
		if at = digits(text, fraction); at == fraction {
			return s.wrong("json.syntax", "this is no number")
		}
	}
	if at < len(text) && text[at]|0x20 == 'e' {
		at++
		if at < len(text) && (text[at] == '+' || text[at] == '-') {
			at++
		}
		exponent := at
		if at = digits(text, at); at == exponent {
			return s.wrong("json.syntax", "this is no number")
		}
	}
	if at-start > s.limits.Number {
		return s.wrong("json.max_number_bytes", fmt.Sprintf("a number is longer than %d bytes", s.limits.Number))
	}
	s.at = at
	return nil
}

// digits returns where the digits that begin at a place end.
func digits(text []byte, at int) int {
	for at < len(text) && text[at]-'0' <= 9 {
		at++
	}
	return at
}

// quoted reads a string, and returns what is written between its quotes, and whether that has escapes.
func (s *structure) quoted(limit int, rule, what string) (written []byte, escaped bool, d *defect) {
	start := s.at + 1
	at, ascii := start, true
	for {
		skipped, plain := skipPlain(s.text[at:])
		at, ascii = at+skipped, ascii && plain
		if at-start > limit {
			return nil, false, s.wrong(rule, fmt.Sprintf(what, limit))
		}
		if at == len(s.text) {
			s.at = at
			return nil, false, s.wrong("json.syntax", "a string has no end")
		}
		switch c := s.text[at]; {
		case c == '"':
			written = s.text[start:at]
			if !ascii && !utf8.Valid(written) {
				return nil, false, s.wrong("json.utf8", "a string is not valid UTF-8")
			}
			s.at = at + 1
			return written, escaped, nil
		case c == '\\':
			length, d := escape(s.text[at:], at)
			if d != nil {
				return nil, false, d
			}
			at, escaped = at+length, true
		case c < 0x20:
			s.at = at
			return nil, false, s.wrong("json.syntax", "a string holds a control character")
		default:
			at, ascii = at+1, ascii && c < 0x80
		}
	}
}

// skipPlain returns how many bytes of text, in steps of eight, are neither a quote, a backslash nor a control character, and
// whether they are ASCII.
func skipPlain(text []byte) (length int, ascii bool) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	high := uint64(0)
	for len(text)-length >= 8 {
		word := binary.LittleEndian.Uint64(text[length:])
		quote, backslash := word^(ones*'"'), word^(ones*'\\')
		// The top bit of a byte is set where it is special. Of bytes behind the first that is, it may be set wrongly.
		special := ((quote - ones) &^ quote) | ((backslash - ones) &^ backslash) | ((word - ones*0x20) &^ word)
		if special &= tops; special != 0 {
			before := bits.TrailingZeros64(special) / 8
			high |= word & (1<<(8*before) - 1)
			return length + before, high&tops == 0
		}
		high |= word
		length += 8
	}
	return length, high&tops == 0
}

// escape returns the length of the escape that a text begins with, a surrogate pair being one.
func escape(text []byte, at int) (length int, d *defect) {
	if len(text) < 2 {
		return 0, &defect{"json.syntax", at, "a string has no end"}
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, nil
	}
	first, ok := codeUnit(text)
	switch {
	case !ok:
		return 0, &defect{"json.syntax", at, "this is no escape"}
	case first < 0xd800 || first > 0xdfff:
		return 6, nil
	}
	if second, ok := codeUnit(text[6:]); ok && first < 0xdc00 && second >= 0xdc00 && second <= 0xdfff {
		return 12, nil
	}
	return 0, &defect{"json.surrogate", at, "half of a surrogate pair stands alone"}
}

// codeUnit returns the UTF-16 code unit of \uXXXX.
func codeUnit(text []byte) (unit rune, ok bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	for _, c := range text[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		unit = unit<<4 | rune(c)
	}
	return unit, true
}
