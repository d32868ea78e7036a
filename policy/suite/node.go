package suite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/kasbah-authz/kasbah/policy"
)

// reader reads one suite. Its methods add findings and go on, so that an author sees all faults at once; what they
// return beside a finding is of no use.
type reader struct {
	file     string
	findings policy.Findings
	now      time.Time

	defaultPrincipal policy.Principal
	defaultRequest   policy.Request
	principals       map[string]*policy.Principal // as written; finished where they are used
	requests         map[string]*policy.Request
	names            map[string]policy.Position // of cases
}

func (r *reader) position(node *yaml.Node) policy.Position {
	return policy.Position{File: r.file, Line: node.Line, Column: node.Column}
}

func (r *reader) errorf(node *yaml.Node, format string, arguments ...any) {
	r.add(r.position(node), format, arguments...)
}

// full reports whether further findings would not be listed; what is expensive to word is then not worded.
func (r *reader) full() bool { return len(r.findings) >= maxFindings }

func (r *reader) add(at policy.Position, format string, arguments ...any) {
	switch n := len(r.findings); {
	case n < maxFindings-1:
		r.findings = append(r.findings, &policy.Finding{Position: at, Message: fmt.Sprintf(format, arguments...)})
	case n < maxFindings:
		r.findings = append(r.findings, &policy.Finding{Position: at, Message: "there are more findings, which are not listed"})
	}
}

// parse returns the root of the one YAML document in data, nil after a finding.
func (r *reader) parse(data []byte) *yaml.Node {
	at := policy.Position{File: r.file}
	if len(data) > maxBytes {
		r.add(at, "the file is %d bytes long, and at most %d are read", len(data), maxBytes)
		return nil
	}
	if !r.checkText(string(data)) {
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF), err == nil && isNull(document.Content[0]):
		r.add(at, "the file is empty; a suite needs an enforcer and cases")
		return nil
	case err != nil:
		r.syntaxError(err, data)
		return nil
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		r.errorf(&second, "a second document begins here; a suite is one document")
		return nil
	case !errors.Is(err, io.EOF):
		r.syntaxError(err, data)
		return nil
	}
	if root := document.Content[0]; r.plain(root, 0) {
		return root
	}
	return nil
}

var syntaxLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// zeroBased are the problems whose line the YAML package counts from 0. It counts the others from 1.
var zeroBased = []string{
	"did not find expected key", "did not find expected '-' indicator", "did not find expected ',' or",
	"did not find expected node content", "did not find expected <", "found undefined tag handle", "found duplicate %",
	"found incompatible YAML document", "unknown anchor",
}

// syntaxError reports an error of the YAML package, which has no type for it.
func (r *reader) syntaxError(err error, data []byte) {
	parts := syntaxLine.FindStringSubmatch(err.Error())
	message, line := err.Error(), 1
	if parts != nil {
		message = message[len(parts[0]):]
		if n, err := strconv.Atoi(parts[1]); err == nil {
			line = n
		}
		if slices.ContainsFunc(zeroBased, func(problem string) bool { return parts[1] != "" && strings.HasPrefix(message, problem) }) {
			line++
		}
	}
	last := bytes.Count(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) + 1
	r.add(policy.Position{File: r.file, Line: max(1, min(line, last))}, "%s", message)
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

// hidden reports whether editors do not show c for what it is: control characters, line breaks that only some readers
// take for one, byte-order marks, and what changes the direction of the text.
func hidden(c rune) bool {
	return c < ' ' && c != '\t' && c != '\n' && c != '\r' || 0x7f <= c && c < 0xa0 ||
		0x2028 <= c && c <= 0x202e || 0x2066 <= c && c <= 0x2069 || c == 0xfeff
}

// checkText refuses what would let the parser's lines and texts differ from those that the author sees.
func (r *reader) checkText(text string) bool {
	line, column := 1, 0
	for i, c := range text {
		column++
		at := policy.Position{File: r.file, Line: line, Column: column}
		switch {
		case c == utf8.RuneError && text[i] != "\ufffd"[0]:
			r.add(at, "byte 0x%02x is not UTF-8", text[i])
			return false
		case c == '\r' && !strings.HasPrefix(text[i:], "\r\n"):
			r.add(at, "a carriage return that ends no line; lines end with LF or CR LF")
			return false
		case hidden(c):
			r.add(at, "the character U+%04X is not allowed", c)
			return false
		case c == '\n':
			line, column = line+1, 0
		}
	}
	return true
}

// plain refuses aliases, tags and depth: each is a way to write something else than one seems to.
func (r *reader) plain(node *yaml.Node, depth int) bool {
	switch {
	case depth > maxDepth:
		r.errorf(node, "lists and mappings nest more than %d deep", maxDepth)
		return false
	case node.Kind == yaml.AliasNode || node.Anchor != "":
		r.errorf(node, "anchors and aliases are not read; give principals and requests a name, and say like: NAME")
		return false
	case node.Style&yaml.TaggedStyle != 0:
		r.errorf(node, "tags are not read")
		return false
	}
	for _, child := range node.Content {
		if !r.plain(child, depth+1) {
			return false
		}
	}
	return true
}

// fields returns the values of a mapping's fields. It reports fields that are not known, repeated or without a value; nil
// for what is no mapping.
func (r *reader) fields(node *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	found := map[string]*yaml.Node{}
	if !r.entries(node, what+" is written as a mapping", func(key, value *yaml.Node) {
		switch {
		case !slices.Contains(known, key.Value):
			r.errorf(key, "unknown field %s; %s has %s", quote(key.Value), what, strings.Join(known, ", "))
		case isNull(value):
			r.errorf(value, "there is no value here; leave %s out, or give it one", key.Value)
		default:
			found[key.Value] = value
		}
	}) {
		return nil
	}
	return found
}

// entries calls visit with each key and value of a mapping, and reports keys that come twice or are no texts.
func (r *reader) entries(node *yaml.Node, expected string, visit func(key, value *yaml.Node)) bool {
	if node.Kind != yaml.MappingNode {
		r.errorf(node, "%s, and this is %s", expected, kindOf(node))
		return false
	}
	seen := make(map[string]bool, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || isNull(key) || key.Tag == "!!merge":
			r.errorf(key, "a field's name is a text")
		case seen[key.Value]:
			r.errorf(key, "%s is there twice", quote(key.Value))
		default:
			seen[key.Value] = true
			visit(key, value)
		}
	}
	return true
}

// items returns the elements of a list.
func (r *reader) items(node *yaml.Node) []*yaml.Node {
	if node.Kind != yaml.SequenceNode {
		r.errorf(node, "expected a list, and this is %s", kindOf(node))
		return nil
	}
	return node.Content
}

// text returns a scalar as it is written.
func (r *reader) text(node *yaml.Node) string {
	if node.Kind != yaml.ScalarNode || isNull(node) {
		r.errorf(node, "expected a text, and this is %s", kindOf(node))
		return ""
	}
	if i := strings.IndexAny(node.Value, "\r\n\x00"); i >= 0 {
		r.errorf(node, "the text holds the character U+%04X, which no request carries", node.Value[i])
	}
	return node.Value
}

// name returns a text that is printed: not empty, not long, and every character to be seen.
func (r *reader) name(node *yaml.Node) string {
	text := r.text(node)
	switch {
	case text == "":
		if node.Kind == yaml.ScalarNode && !isNull(node) {
			r.errorf(node, "the text is empty")
		}
	case len(text) > maxName:
		r.errorf(node, "the text is %d bytes long, and at most %d are read", len(text), maxName)
	case strings.ContainsFunc(text, hidden) || strings.TrimSpace(text) != text:
		r.errorf(node, "the text begins or ends with white space, or holds a character that is not to be seen")
	}
	return text
}

func (r *reader) texts(node *yaml.Node) []string {
	items := r.items(node)
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = r.text(item)
	}
	return texts
}

func (r *reader) time(node *yaml.Node) time.Time {
	t, err := time.Parse(time.RFC3339Nano, r.text(node))
	if err != nil && node.Kind == yaml.ScalarNode {
		r.errorf(node, "%s is no time; write it as in 2026-01-02T15:04:05Z (RFC 3339)", quote(node.Value))
	}
	return t
}

// whole returns a whole number between those two.
func (r *reader) whole(node *yaml.Node, least, most int64) int64 {
	n, err := strconv.ParseInt(r.text(node), 10, 64)
	if node.Kind == yaml.ScalarNode && (err != nil || n < least || n > most || strconv.FormatInt(n, 10) != node.Value) {
		r.errorf(node, "%s is no whole number from %d to %d", quote(node.Value), least, most)
	}
	return n
}

// value returns what a claim or metadata holds, as it would come out of JSON.
func (r *reader) value(node *yaml.Node) any {
	switch node.Kind {
	case yaml.MappingNode:
		values := make(map[string]any, len(node.Content)/2)
		r.entries(node, "", func(key, value *yaml.Node) { values[key.Value] = r.value(value) })
		return values
	case yaml.SequenceNode:
		values := make([]any, len(node.Content))
		for i, item := range node.Content {
			values[i] = r.value(item)
		}
		return values
	default: // a scalar; there are no aliases
	}
	switch node.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return node.Value == "true" || node.Value == "True" || node.Value == "TRUE"
	case "!!int", "!!float":
		if !json.Valid([]byte(node.Value)) {
			r.errorf(node, "%s is no number that JSON has; write it so, or in quotes if it is a text", quote(node.Value))
		}
		return json.Number(node.Value)
	}
	return node.Value // texts, and times, which JSON writes as texts
}

func kindOf(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.MappingNode:
		return "a mapping"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(node):
		return "nothing"
	case node.Tag == "!!int" || node.Tag == "!!float":
		return "the number " + quote(node.Value)
	case node.Tag == "!!bool":
		return node.Value
	}
	return "the text " + quote(node.Value)
}

// quote returns text as a finding shows it: bounded, and escaped.
func quote(text string) string {
	const most = 100
	if len(text) > most {
		return strconv.Quote(strings.ToValidUTF8(text[:most], "")) + "…"
	}
	return strconv.Quote(text)
}

// among returns the end of a finding about a name that is not known.
func among(names []string) string {
	const shown = 10
	switch names = slices.Sorted(slices.Values(names)); {
	case len(names) == 0:
		return "; there is none"
	case len(names) > shown:
		return fmt.Sprintf("; there are %s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
	}
	return "; there is " + strings.Join(names, ", ")
}
