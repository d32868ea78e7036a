package expression

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of a query that an expression asks for. A longer one is an error.
const (
	maxQuery      = 64 << 10 // bytes
	maxParameters = 256
)

var (
	errQuerySize      = readingError(fmt.Sprintf("the query is longer than %d bytes or %d parameters", maxQuery, maxParameters))
	errQuerySemicolon = readingError("the query holds a semicolon, which some readers take for the end of a parameter")
	errQueryEscape    = readingError("the query holds a percent sign that two hexadecimal digits do not follow")
	errQueryControl   = readingError("the query holds a control character")
)

// parameter returns the one value of a query parameter. The whole query is checked, for a fault in another
// place may be what hides the parameter from us and not from the next reader.
func parameter(s scope, key string) (string, bool, error) {
	value, count := "", 0
	err := eachParameter(s.req.Query, func(name, raw string) error {
		if name != key {
			return nil
		}
		count++
		var err error
		value, err = unescape(raw)
		return err
	})
	switch {
	case err != nil:
		return "", false, err
	case count > 1:
		return "", true, readingError(fmt.Sprintf("query parameter %q is repeated", key))
	}
	return value, count == 1, nil
}

func parameterNames(s scope) ([]string, error) {
	var names []string
	err := eachParameter(s.req.Query, func(name, _ string) error {
		names = append(names, name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// eachParameter calls visit with each parameter's decoded name and its raw value, as HTML forms write them
// (WHATWG URL, section 5.1), until it returns an error. Malformed names and values are errors too.
func eachParameter(query string, visit func(name, raw string) error) error {
	if len(query) > maxQuery || strings.Count(query, "&") >= maxParameters {
		return errQuerySize
	}
	if strings.IndexByte(query, ';') >= 0 {
		return errQuerySemicolon
	}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		rawName, raw, _ := strings.Cut(pair, "=")
		name, err := unescape(rawName)
		if err != nil {
			return err
		}
		if _, err := unescape(raw); err != nil {
			return err
		}
		if err := visit(name, raw); err != nil {
			return err
		}
	}
	return nil
}

// unescape decodes percent signs and plus signs once. It copies only what has some.
func unescape(text string) (string, error) {
	if strings.IndexByte(text, '%') >= 0 || strings.IndexByte(text, '+') >= 0 {
		decoded := make([]byte, 0, len(text))
		for i := 0; i < len(text); i++ {
			switch c := text[i]; c {
			case '+':
				decoded = append(decoded, ' ')
			case '%':
				if i+2 >= len(text) || hex(text[i+1]) < 0 || hex(text[i+2]) < 0 {
					return "", errQueryEscape
				}
				decoded = append(decoded, byte(hex(text[i+1])<<4|hex(text[i+2])))
				i += 2
			default:
				decoded = append(decoded, c)
			}
		}
		text = string(decoded)
	}
	for i := range len(text) {
		if text[i] < 0x20 || text[i] == 0x7f {
			return "", errQueryControl
		}
	}
	if !utf8.ValidString(text) {
		return "", errNotUTF8
	}
	return text, nil
}

// hex returns the value of a hexadecimal digit, -1 for what is none.
func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
