package model

import (
	"strings"
)

// Casbin reads a model in pieces of 4096 bytes, the line's end included, and takes each piece for a line.
const (
	maxModelLine = 4000
	maxModelSize = 1 << 20
)

// Definition is one "key = value" of a model. Its value is what Casbin reads: continuations joined,
// comments and the space around it cut off.
type Definition struct {
	section, Key, Value string
	At                  Place
	stretches           []stretch
}

// stretch says where a part of a value that stands on one line begins, in the value and in the text.
type stretch struct {
	offset int
	at     Place
}

// Place returns where the byte at that offset of the value stands.
func (d *Definition) Place(offset int) Place {
	found := d.At
	for _, s := range d.stretches {
		if s.offset > offset {
			break
		}
		found = Place{s.at.Line, s.at.Column + offset - s.offset}
	}
	return found
}

// definitionReader reads a model as Casbin's package config does, line by line.
type definitionReader struct {
	report      *Report
	definitions []Definition
	section     string
	inSection   bool

	text      strings.Builder // of the definition that is being read
	stretches []stretch
	continued bool // its last line ended with a backslash
}

// readDefinitions returns the definitions of a model. What it does not report, Casbin reads in the same way.
func readDefinitions(text []byte, r *Report) []Definition {
	if len(text) > maxModelSize {
		r.Errorf(Place{1, 1}, "the model has %d bytes; at most %d are read", len(text), maxModelSize)
		return nil
	}
	reader := definitionReader{report: r}
	number := 0
	for line := range strings.SplitSeq(string(text), "\n") {
		number++
		line = strings.TrimSuffix(line, "\r")
		if r.checkLine(line, number, maxModelLine) {
			reader.line(line, number)
		}
	}
	if reader.continued {
		r.Errorf(Place{number, 1}, "the model ends where a line ending with \\ is to be continued")
	}
	reader.flush()
	return reader.definitions
}

func (d *definitionReader) line(line string, number int) {
	text := strings.TrimSpace(line)
	at := Place{number, strings.Index(line, text) + 1}
	isSection := strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]")
	if text != "" && text[0] != '#' && text[0] != ';' && !isSection {
		d.content(text, at)
		return
	}
	if d.continued {
		d.report.Errorf(at, "the line above ends with \\, so this one must continue its definition")
	}
	d.flush()
	if isSection {
		d.section, d.inSection = text[1:len(text)-1], true
		if _, ok := sectionKeys[d.section]; !ok {
			d.report.Errorf(at, "unknown section [%s]; the sections are %s", d.section, sectionNames)
		}
	}
}

// content takes one line of a definition.
func (d *definitionReader) content(text string, at Place) {
	whole := text
	rest, continued := strings.CutSuffix(text, `\`)
	if continued {
		text = strings.TrimSpace(rest) + " "
	}
	if comment := strings.IndexAny(text, "#;"); comment >= 0 {
		where := Place{at.Line, at.Column + comment}
		text = text[:comment]
		switch {
		case strings.Count(d.text.String()+text, `"`)%2 == 1 || strings.Count(d.text.String()+text, "'")%2 == 1:
			d.report.Errorf(where, "Casbin takes %q for the beginning of a comment, inside a string too", whole[comment])
		case continued:
			d.report.Errorf(where, "the comment ends with \\, which continues the definition on the next line")
		}
	}
	d.stretches = append(d.stretches, stretch{d.text.Len(), at})
	d.text.WriteString(text)
	d.continued = continued
	if !continued {
		d.flush()
	}
}

// flush ends the definition that is being read.
func (d *definitionReader) flush() {
	text, stretches := d.text.String(), d.stretches
	d.text.Reset()
	d.stretches, d.continued = nil, false
	if text == "" {
		return
	}
	at := stretches[0].at
	before, after, ok := strings.Cut(text, "=")
	switch {
	case !ok:
		d.report.Errorf(at, "neither a [section] nor a definition such as r = sub, obj, act")
		return
	case !d.inSection:
		d.report.Errorf(at, "a definition before the first [section]")
		return
	}
	value := strings.TrimSpace(after)
	start := len(before) + 1 + strings.Index(after, value)
	d.definitions = append(d.definitions, Definition{
		section: d.section, Key: strings.TrimSpace(before), Value: value, At: at,
		stretches: shift(stretches, start),
	})
}

// shift makes the stretches of a whole definition those of the part of it that begins at start.
func shift(stretches []stretch, start int) []stretch {
	shifted := make([]stretch, 0, len(stretches))
	for i, s := range stretches {
		switch {
		case s.offset >= start:
			shifted = append(shifted, stretch{s.offset - start, s.at})
		case i+1 == len(stretches) || stretches[i+1].offset > start:
			shifted = append(shifted, stretch{0, Place{s.at.Line, s.at.Column + start - s.offset}})
		}
	}
	return shifted
}
