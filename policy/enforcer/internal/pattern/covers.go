package pattern

import (
	"net"
	"regexp/syntax"
	"slices"
	"strings"
)

// Covers reports whether the one pattern matches every text that the other matches, as far as that can be told. The
// texts are those of a request: they hold no control characters.
func Covers(function, wide, narrow string) bool {
	if wide == narrow {
		return true
	}
	switch function {
	case "keyMatch":
		return coversPrefix(wide, narrow)
	case "keyMatch2", "keyMatch3", "keyMatch4", "keyMatch5":
		return coversPath(function, wide, narrow)
	case "ipMatch":
		return coversAddress(wide, narrow)
	case "regexMatch":
		if slices.Contains([]string{"", ".*", "^.*", ".*$", "^.*$"}, wide) {
			return true
		}
	case "globMatch":
		if wide == "**" {
			return true
		}
	}
	texts, ok := Texts(function, narrow)
	return ok && matchesAll(function, wide, texts)
}

func coversPrefix(wide, narrow string) bool {
	prefix, _, open := strings.Cut(wide, "*")
	least, _, _ := strings.Cut(narrow, "*")
	return open && strings.HasPrefix(least, prefix)
}

// coversPath compares patterns segment by segment.
func coversPath(function, wide, narrow string) bool {
	w, ok := ParseSegments(function, wide)
	if !ok || function == "keyMatch4" && repeatsName(wide) {
		texts, exact := Texts(function, narrow)
		return exact && matchesAll(function, wide, texts)
	}
	n, ok := ParseSegments(function, narrow)
	if !ok {
		return w.Rest && w.Names == 0 && strings.HasPrefix(LiteralPrefix(Expression(function, narrow)), strings.TrimSuffix(wide, "*"))
	}
	if !w.Rest && (n.Rest || n.Count != w.Count) || w.Rest && n.Count <= w.Count && !(n.Rest && n.Count == w.Count) {
		return false
	}
	wideParts, narrowParts := strings.Split(w.Key, "/"), strings.Split(n.Key, "/")
	for i := range w.Count {
		if wideParts[i] != narrowParts[i] && (wideParts[i] != ":" || narrowParts[i] == "=") {
			return false // "=" is an empty segment, which no name matches
		}
	}
	return true
}

// repeatsName reports whether a name stands twice in a pattern for keyMatch4, and so for the same text.
func repeatsName(pattern string) bool {
	names := keyMatch4Token.FindAllString(pattern, -1)
	slices.Sort(names)
	return len(slices.Compact(slices.Clone(names))) < len(names)
}

func coversAddress(wide, narrow string) bool {
	_, block, err := net.ParseCIDR(wide)
	if err != nil {
		block = nil
	}
	_, within, err := net.ParseCIDR(narrow)
	if err != nil {
		return net.ParseIP(narrow) != nil && matchesAll("ipMatch", wide, []string{narrow})
	}
	if block == nil || len(block.Mask) != len(within.Mask) {
		return false
	}
	most, _ := block.Mask.Size()
	least, _ := within.Mask.Size()
	return most <= least && block.Contains(within.IP)
}

func matchesAll(function, pattern string, texts []string) bool {
	compiled, err := New(function, pattern)
	if err != nil || compiled == nil {
		return false
	}
	for _, text := range texts {
		if holds, err := compiled.Match(text); err != nil || !holds {
			return false
		}
	}
	return true
}

// maxTexts bounds the texts that a pattern is taken to be a list of.
const maxTexts = 16

// Texts returns the texts that the pattern matches, where these are a few. A pattern for keyMatch5 also matches them
// with a query behind, as every such pattern does.
func Texts(function, pattern string) ([]string, bool) {
	switch function {
	case "keyMatch":
		return []string{pattern}, !strings.Contains(pattern, "*")
	case "ipMatch":
		return []string{pattern}, net.ParseIP(pattern) != nil
	case "globMatch":
		return []string{pattern}, strings.Trim(pattern, Ordinary) == ""
	case "regexMatch":
		parsed, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil || parsed.Op != syntax.OpConcat || len(parsed.Sub) < 2 {
			return nil, false
		}
		last := len(parsed.Sub) - 1
		if parsed.Sub[0].Op != syntax.OpBeginText || parsed.Sub[last].Op != syntax.OpEndText {
			return nil, false
		}
		return product(parsed.Sub[1:last])
	}
	s, ok := ParseSegments(function, pattern)
	return []string{pattern}, ok && s.Names == 0 && !s.Rest
}

// product returns the texts that a list of expressions matches one behind the other.
func product(parts []*syntax.Regexp) ([]string, bool) {
	texts := []string{""}
	for _, part := range parts {
		ends, ok := expressionTexts(part)
		if !ok || len(texts)*len(ends) > maxTexts {
			return nil, false
		}
		var longer []string
		for _, begin := range texts {
			for _, end := range ends {
				longer = append(longer, begin+end)
			}
		}
		texts = longer
	}
	return texts, true
}

func expressionTexts(e *syntax.Regexp) ([]string, bool) {
	switch e.Op {
	case syntax.OpEmptyMatch:
		return []string{""}, true
	case syntax.OpLiteral:
		text := string(e.Rune)
		return []string{text}, e.Flags&syntax.FoldCase == 0 && !strings.ContainsRune(text, '\ufffd')
	case syntax.OpCapture, syntax.OpConcat:
		return product(e.Sub)
	case syntax.OpCharClass:
		var texts []string
		for i := 0; i+1 < len(e.Rune); i += 2 {
			for c := e.Rune[i]; c <= e.Rune[i+1]; c++ {
				if texts = append(texts, string(c)); len(texts) > maxTexts || c == '\ufffd' {
					return nil, false
				}
			}
		}
		return texts, true
	case syntax.OpAlternate:
		var texts []string
		for _, part := range e.Sub {
			more, ok := expressionTexts(part)
			if texts = append(texts, more...); !ok || len(texts) > maxTexts {
				return nil, false
			}
		}
		return texts, true
	default:
		return nil, false
	}
}
