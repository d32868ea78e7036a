package enforcer

import "strings"

// maxSegments is the most segments of a pattern that is taken apart.
const maxSegments = 64

// usualKey is how long the keys of nearly all texts are, in bytes.
const usualKey = 256

// segments is a pattern of whole segments: each is a text, a name, or, at the end, everything. It is what paths
// are, and needs no regular expression.
type segments struct {
	count int
	names uint64 // bit i: segment i is a name
	rest  bool   // what follows the segments is any text behind a slash
	key   string // the texts; patterns of one shape match the same where they have the same key
}

// newSegments takes a pattern apart. It returns false for a pattern that holds anything else.
func newSegments(function, pattern string) (segments, bool) {
	if function != "keyMatch2" && function != "keyMatch3" && function != "keyMatch4" && function != "keyMatch5" {
		return segments{}, false
	}
	parts := strings.Split(pattern, "/")
	var s segments
	if last := len(parts) - 1; last > 0 && parts[last] == "*" {
		s.rest, parts = true, parts[:last]
	}
	if len(parts) > maxSegments {
		return segments{}, false
	}
	s.count = len(parts)
	var key strings.Builder
	for i, part := range parts {
		switch {
		case isName(function, part):
			s.names |= 1 << i
			key.WriteString(":/")
		case strings.Trim(part, ordinary) == "":
			key.WriteString("=" + part + "/")
		default:
			return segments{}, false
		}
	}
	s.key = key.String()
	return s, true
}

// isName reports whether a segment of a pattern matches any segment.
func isName(function, segment string) bool {
	if function == "keyMatch2" {
		return len(segment) > 1 && segment[0] == ':'
	}
	return len(segment) > 2 && segment[0] == '{' && strings.IndexByte(segment, '}') == len(segment)-1
}

// keyOf appends what the key of a pattern would have to be to match the text, as far as there are segments.
func (s *segments) keyOf(text string, key []byte) ([]byte, bool) {
	for i := range s.count {
		segment, rest, _ := strings.Cut(text, "/")
		text = rest
		if s.names&(1<<i) == 0 {
			key = append(append(append(key, '='), segment...), '/')
			continue
		}
		if segment == "" {
			return nil, false
		}
		key = append(key, ':', '/')
	}
	return key, true
}

// fits reports whether a text of that many segments can match.
func (s *segments) fits(count int) bool { return s.count <= count && s.rest == (s.count < count) }

// segmentsMatch is a pattern of whole segments.
type segmentsMatch struct {
	segments
	query bool // what stands behind a question mark does not count
}

func (m *segmentsMatch) match(key string) (bool, error) {
	if m.query {
		key, _, _ = strings.Cut(key, "?")
	}
	if !m.fits(strings.Count(key, "/") + 1) {
		return false, nil
	}
	var buffer [usualKey]byte
	looked, ok := m.keyOf(key, buffer[:0])
	if !ok || string(looked) != m.key {
		return false, nil
	}
	return !m.rest || strings.IndexByte(behind(key, m.count), '\n') < 0, nil // which .* does not match
}

// behind returns what stands behind that many segments.
func behind(text string, segments int) string {
	for range segments {
		_, text, _ = strings.Cut(text, "/")
	}
	return text
}
