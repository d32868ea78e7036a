package pattern

import "strings"

// maxSegments is the most segments of a pattern that is taken apart.
const maxSegments = 64

// usualKey is how long the keys of nearly all texts are, in bytes.
const usualKey = 256

// Segments is a pattern of whole segments: each is a text, a name, or, at the end, everything. It is what paths
// are, and needs no regular expression.
type Segments struct {
	Count int
	Names uint64 // bit i: segment i is a name
	Rest  bool   // what follows the segments is any text behind a slash
	Key   string // the texts; patterns of one shape match the same where they have the same key
}

// ParseSegments takes a pattern apart. It returns false for a pattern that holds anything else.
func ParseSegments(function, pattern string) (Segments, bool) {
	if function != "keyMatch2" && function != "keyMatch3" && function != "keyMatch4" && function != "keyMatch5" {
		return Segments{}, false
	}
	parts := strings.Split(pattern, "/")
	var s Segments
	if last := len(parts) - 1; last > 0 && parts[last] == "*" {
		s.Rest, parts = true, parts[:last]
	}
	if len(parts) > maxSegments {
		return Segments{}, false
	}
	s.Count = len(parts)
	var key strings.Builder
	for i, part := range parts {
		switch {
		case isName(function, part):
			s.Names |= 1 << i
			key.WriteString(":/")
		case strings.Trim(part, Ordinary) == "":
			key.WriteString("=" + part + "/")
		default:
			return Segments{}, false
		}
	}
	s.Key = key.String()
	return s, true
}

// isName reports whether a segment of a pattern matches any segment.
func isName(function, segment string) bool {
	if function == "keyMatch2" {
		return len(segment) > 1 && segment[0] == ':'
	}
	return len(segment) > 2 && segment[0] == '{' && strings.IndexByte(segment, '}') == len(segment)-1
}

// KeyOf appends what the key of a pattern would have to be to match the text, as far as there are segments.
func (s *Segments) KeyOf(text string, key []byte) ([]byte, bool) {
	for i := range s.Count {
		segment, rest, _ := strings.Cut(text, "/")
		text = rest
		if s.Names&(1<<i) == 0 {
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

// Fits reports whether a text of that many segments can match.
func (s *Segments) Fits(count int) bool { return s.Count <= count && s.Rest == (s.Count < count) }

// segmentsMatch is a pattern of whole segments.
type segmentsMatch struct {
	Segments
	query bool // what stands behind a question mark does not count
}

func (m *segmentsMatch) Match(key string) (bool, error) {
	if m.query {
		key, _, _ = strings.Cut(key, "?")
	}
	if !m.Fits(strings.Count(key, "/") + 1) {
		return false, nil
	}
	var buffer [usualKey]byte
	looked, ok := m.KeyOf(key, buffer[:0])
	if !ok || string(looked) != m.Key {
		return false, nil
	}
	return !m.Rest || strings.IndexByte(behind(key, m.Count), '\n') < 0, nil // which .* does not match
}

// behind returns what stands behind that many segments.
func behind(text string, segments int) string {
	for range segments {
		_, text, _ = strings.Cut(text, "/")
	}
	return text
}
