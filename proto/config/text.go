package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxBytes is the longest configuration that is read. Policies, which may be large, are files of their own.
const maxBytes = 1 << 20

// parse returns the root of the one YAML document in data, nil after a finding.
func parse(r *report, data []byte, limit int) *yaml.Node {
	if len(data) > limit {
		r.errorf(0, 0, "the file is %d bytes long, and at most %d are read", len(data), limit)
		return nil
	}
	if !checkText(r, data) {
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	err := decoder.Decode(&first)
	if errors.Is(err, io.EOF) || err == nil && isNull(first.Content[0]) {
		r.errorf(0, 0, "the file is empty")
		return nil
	}
	if err == nil {
		err = decoder.Decode(&second)
		if err == nil {
			r.errorf(second.Line, second.Column, "a second document begins here; a file is one document")
			return nil
		}
	}
	if !errors.Is(err, io.EOF) {
		line, message := syntaxError(err)
		if at := tabbedLine(data, line); at != 0 && strings.Contains(message, "tab character") {
			line = at
		}
		last := bytes.Count(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) + 1 // the end of the file counts as one more
		r.errorf(min(line, last), 0, "%s", message)
		return nil
	}
	return first.Content[0]
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

// hidden reports whether editors do not show c for what it is: control characters, the line breaks that only some
// readers take for one, byte order marks, and what changes the direction of the text (Unicode TR 36, section 3.3).
func hidden(c rune) bool {
	return c < ' ' && c != '\t' && c != '\n' && c != '\r' || 0x7f <= c && c < 0xa0 ||
		0x2028 <= c && c <= 0x202e || 0x2066 <= c && c <= 0x2069 || c == 0xfeff
}

// checkText refuses what an editor does not show, or shows as something else than the parser reads: bytes that
// are not UTF-8, hidden characters, and line breaks other than LF and CRLF. The last would also let
// the parser's lines differ from everyone else's.
func checkText(r *report, data []byte) bool {
	line, column := 1, 1
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		switch {
		case c == utf8.RuneError && size == 1:
			r.errorf(line, column, "byte 0x%02x is not UTF-8", data[i])
			return false
		case c == '\r' && i+1 < len(data) && data[i+1] == '\n':
		case c == '\n':
			line, column = line+1, 0
		case c == '\r':
			r.errorf(line, column, "a carriage return (U+000D) without a line feed is not allowed")
			return false
		case hidden(c):
			r.errorf(line, column, "the character U+%04X is not allowed", c)
			return false
		}
		i += size
		column++
	}
	return true
}

var syntaxLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// zeroBased are the problems whose line the YAML package counts from 0. It counts the others from 1, and leaves
// out the line where it is its first.
var zeroBased = []string{
	"did not find expected key", "did not find expected '-' indicator", "did not find expected ',' or",
	"did not find expected node content", "did not find expected <", "found undefined tag handle", "found duplicate %",
	"found incompatible YAML document", "unknown anchor",
}

// syntaxError returns the line and the text of an error of the YAML package, which has no type for it.
func syntaxError(err error) (line int, message string) {
	text := err.Error()
	parts := syntaxLine.FindStringSubmatch(text)
	if parts == nil {
		return 1, text
	}
	message = text[len(parts[0]):]
	if parts[1] == "" {
		return 1, message
	}
	line, err = strconv.Atoi(parts[1])
	if err != nil {
		return 1, message
	}
	for _, problem := range zeroBased {
		if strings.HasPrefix(message, problem) {
			return line + 1, message
		}
	}
	return line, message
}

// tabbedLine returns the first line from that one on that is indented with a tab, 0 where there is none. The YAML
// package names the line on which the value before it began.
func tabbedLine(data []byte, from int) int {
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if number >= from && bytes.HasPrefix(bytes.TrimLeft(line, " "), []byte("\t")) {
			return number
		}
	}
	return 0
}
