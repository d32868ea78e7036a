package pattern

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/casbin/casbin/v2/util"
)

// Fault is what was found of a pattern: an error, a warning, or neither.
type Fault struct {
	Err     error
	Warning string
}

// Examine returns what is wrong with a pattern that the function is given.
func Examine(function, text string) Fault {
	if _, plain := ParseSegments(function, text); plain {
		return Fault{}
	}
	if err := tryPattern(function, text); err != nil {
		return Fault{Err: fmt.Errorf("%q is no pattern for %s: %w", text, function, err)}
	}
	switch function {
	case "regexMatch":
		if !anchored(text) {
			return Fault{Warning: fmt.Sprintf("the regular expression %q is not anchored, so that it matches inside longer text; write ^…$", text)}
		}
	case "keyMatch":
		star := strings.IndexByte(text, '*')
		if star > 0 && text[star-1] != '/' {
			return Fault{Warning: fmt.Sprintf("%q matches everything that begins with %q, as %q; a * belongs behind a slash", text, text[:star], text[:star]+"x")}
		}
		if star >= 0 && star < len(text)-1 {
			return Fault{Warning: fmt.Sprintf("keyMatch ignores what stands behind the first * of %q", text)}
		}
	case "keyMatch2", "keyMatch3", "keyMatch4", "keyMatch5":
		if strings.Contains(strings.ReplaceAll(text, "/*", ""), "*") {
			return Fault{Warning: fmt.Sprintf("a * of %q that is not behind a slash repeats the character before it, as in a regular expression", text)}
		}
	}
	return Fault{}
}

// anchored reports whether the expression matches whole texts only.
func anchored(text string) bool {
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return false
	}
	return anchoredAt(parsed, syntax.OpBeginText, first) && anchoredAt(parsed, syntax.OpEndText, last)
}

func first(parts []*syntax.Regexp) *syntax.Regexp { return parts[0] }
func last(parts []*syntax.Regexp) *syntax.Regexp  { return parts[len(parts)-1] }

func anchoredAt(e *syntax.Regexp, anchor syntax.Op, end func([]*syntax.Regexp) *syntax.Regexp) bool {
	switch e.Op {
	case anchor:
		return true
	case syntax.OpConcat, syntax.OpCapture:
		return len(e.Sub) > 0 && anchoredAt(end(e.Sub), anchor, end)
	case syntax.OpAlternate:
		for _, part := range e.Sub {
			if !anchoredAt(part, anchor, end) {
				return false
			}
		}
		return true
	case syntax.OpNoMatch:
		return true
	case syntax.OpStar: // .* at an end is as good as an anchor there: the author means any text
		return e.Sub[0].Op == syntax.OpAnyChar || e.Sub[0].Op == syntax.OpAnyCharNotNL
	default:
		return false
	}
}

var keyMatch4Token = regexp.MustCompile(`{([^/]+)}`)

// checkKeyMatch4 finds patterns with groups of their own, at which Casbin panics once they match.
func checkKeyMatch4(text string) error {
	tokens := len(keyMatch4Token.FindAllString(text, -1))
	compiled, err := regexp.Compile("^" + keyMatch4Token.ReplaceAllString(strings.ReplaceAll(text, "/*", "/.*"), "([^/]+)") + "$")
	if err != nil {
		return err
	}
	if compiled.NumSubexp() != tokens {
		return fmt.Errorf("it holds parentheses; only {names} may group")
	}
	return nil
}

// tryPattern returns what is wrong with a pattern that one of Casbin's functions is given.
func tryPattern(function, text string) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("casbin panics: %v", v)
		}
	}()
	switch function {
	case "regexMatch":
		_, err = regexp.Compile(text)
	case "keyMatch2":
		util.KeyMatch2("", text)
	case "keyMatch3":
		util.KeyMatch3("", text)
	case "keyMatch4":
		err = checkKeyMatch4(text)
	case "keyMatch5":
		util.KeyMatch5("", text)
	case "keyGet2":
		util.KeyGet2("", text, "")
	case "keyGet3":
		util.KeyGet3("", text, "")
	case "ipMatch":
		if _, _, cidr := net.ParseCIDR(text); cidr != nil && net.ParseIP(text) == nil {
			err = errors.New("it is neither an IP address nor a CIDR block")
		}
	case "globMatch":
		if !doublestar.ValidatePattern(text) {
			err = doublestar.ErrBadPattern
		}
	}
	return err
}
