package pattern

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

// Matcher is one pattern of one of Casbin's functions, compiled.
type Matcher interface {
	Match(key string) (bool, error)
}

// New compiles a pattern of that function. It is nil for a function that matches nothing, such as keyGet.
func New(function, pattern string) (Matcher, error) {
	if s, ok := ParseSegments(function, pattern); ok && function != "keyMatch4" {
		return &segmentsMatch{Segments: s, query: function == "keyMatch5"}, nil
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

func (m keyMatch) Match(key string) (bool, error) { return util.KeyMatch(key, string(m)), nil }

type globMatch string

func (m globMatch) Match(key string) (bool, error) { return doublestar.Match(string(m), key) }

// expressionMatch is a function that Casbin answers by a regular expression.
type expressionMatch struct {
	compiled *regexp.Regexp
	path     bool // what stands behind a question mark does not count
}

func newExpressionMatch(function, pattern string) (Matcher, error) {
	compiled, err := regexp.Compile(Expression(function, pattern))
	if err != nil {
		return nil, err
	}
	return &expressionMatch{compiled: compiled, path: function == "keyMatch5"}, nil
}

var (
	colonName = regexp.MustCompile(`:[^/]+`)
	braceName = regexp.MustCompile(`\{[^/]+\}`)
)

// Expression returns the regular expression that Casbin makes of a pattern.
func Expression(function, pattern string) string {
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

func (m *expressionMatch) Match(key string) (bool, error) {
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

func newKeyMatch4(pattern string) (Matcher, error) {
	compiled, err := regexp.Compile(Expression("keyMatch4", pattern))
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

func (m *keyMatch4) Match(key string) (bool, error) {
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

// IPMatch is an address, or a block of them.
type IPMatch struct {
	Address net.IP
	Block   *net.IPNet
}

var errAddress = errors.New("ipMatch is given what is no IP address")

func newIPMatch(pattern string) (Matcher, error) {
	if _, block, err := net.ParseCIDR(pattern); err == nil {
		return &IPMatch{Block: block}, nil
	}
	address := net.ParseIP(pattern)
	if address == nil {
		return nil, errAddress
	}
	return &IPMatch{Address: address}, nil
}

// Match reports whether the text is the address, or one of the block. It is an error where it is no address.
func (m *IPMatch) Match(key string) (bool, error) {
	address := net.ParseIP(key)
	switch {
	case address == nil:
		return false, errAddress
	case m.Block != nil:
		return m.Block.Contains(address), nil
	}
	return m.Address.Equal(address), nil
}

// Ordinary are characters that stand for themselves in every kind of pattern.
const Ordinary = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-_~%@=,;&!"

// LiteralPrefix returns a text that whatever matches the expression begins with.
func LiteralPrefix(expression string) string {
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
