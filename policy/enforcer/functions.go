package enforcer

import (
	"errors"
	"net"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/casbin/casbin/v2/util"
)

// matcher is one pattern of one of Casbin's functions, compiled.
type matcher interface {
	match(key string) (bool, error)
}

// newMatcher compiles a pattern of that function. It is nil for a function that matches nothing, such as keyGet.
func newMatcher(function, pattern string) (matcher, error) {
	if s, ok := newSegments(function, pattern); ok && function != "keyMatch4" {
		return &segmentsMatch{segments: s, query: function == "keyMatch5"}, nil
	}
	switch function {
	case "keyMatch":
		return keyMatch(pattern), nil
	case "keyMatch2", "keyMatch3", "keyMatch5", "regexMatch":
		return newExpressionMatch(function, pattern)
	case "keyMatch4":
		return newKeyMatch4(pattern)
	case "ipMatch":
		return newIPMatch(pattern)
	case "globMatch":
		return globMatch(pattern), nil
	}
	return nil, nil
}

type keyMatch string

func (m keyMatch) match(key string) (bool, error) { return util.KeyMatch(key, string(m)), nil }

type globMatch string

func (m globMatch) match(key string) (bool, error) { return doublestar.Match(string(m), key) }

// expressionMatch is a function that Casbin answers by a regular expression.
type expressionMatch struct {
	compiled *regexp.Regexp
	path     bool // what stands behind a question mark does not count
}

func newExpressionMatch(function, pattern string) (matcher, error) {
	compiled, err := regexp.Compile(expressionOf(function, pattern))
	if err != nil {
		return nil, err
	}
	return &expressionMatch{compiled: compiled, path: function == "keyMatch5"}, nil
}

var (
	colonName = regexp.MustCompile(`:[^/]+`)
	braceName = regexp.MustCompile(`\{[^/]+\}`)
)

// expressionOf returns the regular expression that Casbin makes of a pattern.
func expressionOf(function, pattern string) string {
	if function == "regexMatch" {
		return pattern
	}
	pattern = strings.ReplaceAll(pattern, "/*", "/.*")
	switch function {
	case "keyMatch2":
		pattern = colonName.ReplaceAllLiteralString(pattern, "[^/]+")
	case "keyMatch3", "keyMatch5":
		pattern = braceName.ReplaceAllLiteralString(pattern, "[^/]+")
	case "keyMatch4":
		pattern = keyMatch4Token.ReplaceAllLiteralString(pattern, "([^/]+)")
	}
	return "^" + pattern + "$"
}

func (m *expressionMatch) match(key string) (bool, error) {
	if m.path {
		key, _, _ = strings.Cut(key, "?")
	}
	return m.compiled.MatchString(key), nil
}

// keyMatch4 also holds that equal names stand for equal parts.
type keyMatch4 struct {
	compiled *regexp.Regexp
	names    []string
}

func newKeyMatch4(pattern string) (matcher, error) {
	compiled, err := regexp.Compile(expressionOf("keyMatch4", pattern))
	if err != nil {
		return nil, err
	}
	m := &keyMatch4{compiled: compiled}
	for _, token := range keyMatch4Token.FindAllString(strings.ReplaceAll(pattern, "/*", "/.*"), -1) {
		m.names = append(m.names, token[1:len(token)-1])
	}
	return m, nil
}

var errGroups = errors.New("keyMatch4 takes no pattern with groups of its own")

func (m *keyMatch4) match(key string) (bool, error) {
	parts := m.compiled.FindStringSubmatch(key)
	if parts == nil {
		return false, nil
	}
	parts = parts[1:]
	if len(parts) != len(m.names) {
		return false, errGroups
	}
	for i, name := range m.names {
		if parts[slices.Index(m.names, name)] != parts[i] {
			return false, nil
		}
	}
	return true, nil
}

// ipMatch is an address, or a block of them.
type ipMatch struct {
	address net.IP
	block   *net.IPNet
}

var errAddress = errors.New("ipMatch is given what is no IP address")

func newIPMatch(pattern string) (matcher, error) {
	if _, block, err := net.ParseCIDR(pattern); err == nil {
		return &ipMatch{block: block}, nil
	}
	address := net.ParseIP(pattern)
	if address == nil {
		return nil, errAddress
	}
	return &ipMatch{address: address}, nil
}

func (m *ipMatch) match(key string) (bool, error) {
	address := net.ParseIP(key)
	switch {
	case address == nil:
		return false, errAddress
	case m.block != nil:
		return m.block.Contains(address), nil
	}
	return m.address.Equal(address), nil
}

// ordinary are characters that stand for themselves in every kind of pattern.
const ordinary = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-_~%@=,;&!"

// literalPrefix returns a text that whatever matches the expression begins with.
func literalPrefix(expression string) string {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return ""
	}
	parsed = parsed.Simplify()
	if parsed.Op != syntax.OpConcat || len(parsed.Sub) < 2 || parsed.Sub[0].Op != syntax.OpBeginText {
		return ""
	}
	literal := parsed.Sub[1]
	if literal.Op != syntax.OpLiteral || literal.Flags&syntax.FoldCase != 0 {
		return ""
	}
	prefix, _, _ := strings.Cut(string(literal.Rune), string(utf8.RuneError)) // which also stands for a byte that is not UTF-8
	return prefix
}
