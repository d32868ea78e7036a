package keys

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// decodeObject reads text as exactly one JSON object (RFC 8259) that every reader reads alike: valid UTF-8,
// no member name twice at any level, no lone surrogate, no number out of the range of a float64, nothing
// but white space around it, and at most depth objects and arrays inside one another.
//
// Values are those of encoding/json, with one exception: a number is a float64, but an integer beyond 2^53,
// which a float64 would round, is a json.Number, so that two of them that differ never become equal.
// The strings share text's memory.
func decodeObject(text string, depth int) (map[string]any, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("text that is not UTF-8")
	}
	d := decoder{text: text, depth: depth}
	d.space()
	if d.peek() != '{' {
		return nil, d.fault("no object")
	}
	object, err := d.object()
	if err != nil {
		return nil, err
	}
	d.space()
	if d.at != len(text) {
		return nil, d.fault("more than one object")
	}
	return object, nil
}

// decoder reads text from at on. Every method leaves at behind what it read.
type decoder struct {
	text  string
	at    int
	depth int // how many more objects and arrays may be opened
}

func (d *decoder) fault(what string) error { return fmt.Errorf("%s at byte %d", what, d.at) }

// peek returns the next byte, or 0 at the end; a 0 byte in the text is no part of any JSON either.
func (d *decoder) peek() byte {
	if d.at < len(d.text) {
		return d.text[d.at]
	}
	return 0
}

func (d *decoder) space() {
	for d.at < len(d.text) {
		switch d.text[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

func (d *decoder) value() (any, error) {
	switch c := d.peek(); {
	case c == '{':
		return d.object()
	case c == '[':
		return d.array()
	case c == '"':
		return d.string()
	case c == '-' || isDigit(c):
		return d.number()
	case d.word("true"):
		return true, nil
	case d.word("false"):
		return false, nil
	case d.word("null"):
		return nil, nil
	}
	return nil, d.fault("no value")
}

func (d *decoder) word(word string) bool {
	if !strings.HasPrefix(d.text[d.at:], word) {
		return false
	}
	d.at += len(word)
	return true
}

func (d *decoder) open() error {
	if d.depth == 0 {
		return d.fault("too many levels")
	}
	d.depth--
	d.at++
	d.space()
	return nil
}

// next steps over the comma behind an element. more is false when the closing byte was there instead.
func (d *decoder) next(closing byte) (more bool, err error) {
	d.space()
	switch d.peek() {
	case closing:
		d.at++
		d.depth++
		return false, nil
	case ',':
		d.at++
		d.space()
		return true, nil
	}
	return false, d.fault("no comma or end of the list")
}

func (d *decoder) object() (map[string]any, error) {
	if err := d.open(); err != nil {
		return nil, err
	}
	object := map[string]any{}
	if d.peek() == '}' {
		d.at++
		d.depth++
		return object, nil
	}
	for {
		if err := d.member(object); err != nil {
			return nil, err
		}
		more, err := d.next('}')
		if err != nil {
			return nil, err
		}
		if !more {
			return object, nil
		}
	}
}

func (d *decoder) member(object map[string]any) error {
	if d.peek() != '"' {
		return d.fault("no member name")
	}
	name, err := d.string()
	if err != nil {
		return err
	}
	if _, twice := object[name]; twice {
		return d.fault("a member name that was there before")
	}
	d.space()
	if d.peek() != ':' {
		return d.fault("no colon")
	}
	d.at++
	d.space()
	object[name], err = d.value()
	return err
}

func (d *decoder) array() ([]any, error) {
	if err := d.open(); err != nil {
		return nil, err
	}
	array := []any{}
	if d.peek() == ']' {
		d.at++
		d.depth++
		return array, nil
	}
	for {
		value, err := d.value()
		if err != nil {
			return nil, err
		}
		array = append(array, value)
		more, err := d.next(']')
		if err != nil {
			return nil, err
		}
		if !more {
			return array, nil
		}
	}
}

// string reads a string. One without escapes, which is nearly every one, is a part of the text.
func (d *decoder) string() (string, error) {
	d.at++
	for start := d.at; d.at < len(d.text); d.at++ {
		switch c := d.text[d.at]; {
		case c == '"':
			d.at++
			return d.text[start : d.at-1], nil
		case c == '\\':
			return d.escaped(start)
		case c < 0x20:
			return "", d.fault("a control character in a string")
		}
	}
	return "", d.fault("a string without an end")
}

// escaped reads on in a string that began at start and has its first backslash here.
func (d *decoder) escaped(start int) (string, error) {
	text := []byte(d.text[start:d.at])
	for d.at < len(d.text) {
		switch c := d.text[d.at]; {
		case c == '"':
			d.at++
			return string(text), nil
		case c < 0x20:
			return "", d.fault("a control character in a string")
		case c != '\\':
			text = append(text, c)
			d.at++
		default:
			var err error
			if text, err = d.escape(text); err != nil {
				return "", err
			}
		}
	}
	return "", d.fault("a string without an end")
}

// escapes are the letters that may follow a backslash, and what they stand for; u is read by escape itself.
var escapes = [256]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

func (d *decoder) escape(text []byte) ([]byte, error) {
	d.at++
	if c := d.peek(); c != 'u' {
		if escapes[c] == 0 {
			return nil, d.fault("an unknown escape")
		}
		d.at++
		return append(text, escapes[c]), nil
	}
	d.at++
	r, ok := d.hex()
	if ok && utf16.IsSurrogate(r) {
		low := rune(-1)
		if d.word(`\u`) {
			low, ok = d.hex()
		}
		r = utf16.DecodeRune(r, low)
		ok = ok && r != utf8.RuneError
	}
	if !ok {
		return nil, d.fault("an escape that is no character")
	}
	return utf8.AppendRune(text, r), nil
}

// hex reads four hexadecimal digits.
func (d *decoder) hex() (rune, bool) {
	if len(d.text)-d.at < 4 {
		return 0, false
	}
	var r rune
	for range 4 {
		c := d.text[d.at]
		switch {
		case isDigit(c):
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
		d.at++
	}
	return r, true
}

func (d *decoder) number() (any, error) {
	start := d.at
	if d.peek() == '-' {
		d.at++
	}
	if d.peek() == '0' {
		d.at++ // no digit may follow a leading zero
	} else if !d.digits() {
		return nil, d.fault("no digit")
	}
	integer := true
	if d.peek() == '.' {
		d.at++
		integer = false
		if !d.digits() {
			return nil, d.fault("no digit")
		}
	}
	if d.peek()|0x20 == 'e' {
		d.at++
		integer = false
		if c := d.peek(); c == '+' || c == '-' {
			d.at++
		}
		if !d.digits() {
			return nil, d.fault("no digit")
		}
	}
	literal := d.text[start:d.at]
	number, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return nil, d.fault("a number that is out of range")
	}
	if integer && math.Abs(number) >= exactIntegers {
		return json.Number(literal), nil
	}
	return number, nil
}

// exactIntegers is 2^53: below it a float64 holds every integer.
const exactIntegers = 1 << 53

// digits reads one digit or more.
func (d *decoder) digits() bool {
	start := d.at
	for isDigit(d.peek()) {
		d.at++
	}
	return d.at > start
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
