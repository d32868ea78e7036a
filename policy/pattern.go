package policy

import (
	"fmt"
	"slices"
	"strings"
)

// A pattern is a Match, parsed. Its path follows the grammar of Go's net/http (ServeMux, "Patterns").
type pattern struct {
	host     string
	methods  []string
	segments []segment // of the path, without its leading slash
	text     string    // as written, for messages
	where    string
}

type segment struct {
	kind kind
	text string // the literal, or the wildcard's name
}

type kind uint8

const (
	literal  kind = iota // "orders"; "" is the end of a path that ends with a slash
	wildcard             // "{id}": one segment that is not empty
	rest                 // "{rest...}", or a slash at the end: everything that follows
)

func newPattern(m Match) (pattern, error) {
	p := pattern{host: m.Host, methods: slices.Sorted(slices.Values(m.Methods)), text: describe(m)}
	path := m.Path
	if path == "" {
		path = "/"
	}
	if path[0] != '/' {
		return pattern{}, fmt.Errorf("path %q does not begin with a slash", path)
	}
	names := map[string]bool{}
	parts := strings.Split(path[1:], "/")
	for i, part := range parts {
		last := i == len(parts)-1
		s, err := newSegment(part, last)
		if err != nil {
			return pattern{}, fmt.Errorf("path %q: %w", path, err)
		}
		if s.kind != literal && s.text != "" {
			if names[s.text] {
				return pattern{}, fmt.Errorf("path %q: two wildcards are named %q", path, s.text)
			}
			names[s.text] = true
		}
		p.segments = append(p.segments, s)
	}
	return p, nil
}

func newSegment(part string, last bool) (segment, error) {
	switch {
	case part == "" && last:
		return segment{kind: rest}, nil
	case part == "":
		return segment{}, fmt.Errorf("an empty segment (//) never matches, because such a path is refused")
	case part == "." || part == "..":
		return segment{}, fmt.Errorf("a segment %q never matches, because such a path is refused", part)
	case part == "{$}" && last:
		return segment{kind: literal}, nil
	case !strings.ContainsAny(part, "{}"):
		return segment{kind: literal, text: part}, nil
	}
	name, opened := strings.CutPrefix(part, "{")
	name, closed := strings.CutSuffix(name, "}")
	if !opened || !closed || strings.ContainsAny(name, "{}") {
		return segment{}, fmt.Errorf("segment %q: a wildcard is a whole segment, as in {id}", part)
	}
	name, all := strings.CutSuffix(name, "...")
	if all && !last {
		return segment{}, fmt.Errorf("segment %q: only the last segment can take all that follows", part)
	}
	if !identifier(name) {
		return segment{}, fmt.Errorf("segment %q: %q is not a name; a name is letters, digits and _, and begins with no digit", part, name)
	}
	if all {
		return segment{rest, name}, nil
	}
	return segment{wildcard, name}, nil
}

func identifier(name string) bool {
	for i, c := range name {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

func describe(m Match) string {
	path := m.Path
	if path == "" {
		path = "/"
	}
	text := m.Host + path
	if len(m.Methods) > 0 {
		text = strings.Join(m.Methods, ",") + " " + text
	}
	return text
}

// relation is how the requests of one pattern lie to those of another.
type relation uint8

const (
	disjoint relation = iota
	equal
	narrower // a strict subset
	wider    // a strict superset
	crossing // neither, and not disjoint
)

// conflicts reports whether some request matches both patterns and neither is more specific.
func (p *pattern) conflicts(other *pattern) bool {
	if p.host != other.host {
		return false // nested or disjoint, and the longer host is always asked first
	}
	switch combine(compareMethods(p.methods, other.methods), comparePaths(p.segments, other.segments)) {
	case equal, crossing:
		return true
	case disjoint, narrower, wider:
	}
	return false
}

// combine is the relation of pairs whose two parts relate so.
func combine(a, b relation) relation {
	switch {
	case a == disjoint || b == disjoint:
		return disjoint
	case a == equal:
		return b
	case b == equal || a == b:
		return a
	}
	return crossing
}

func compareMethods(a, b []string) relation {
	switch {
	case len(a) == 0 && len(b) == 0:
		return equal
	case len(a) == 0:
		return wider
	case len(b) == 0:
		return narrower
	}
	shared := 0
	for _, m := range a {
		if slices.Contains(b, m) {
			shared++
		}
	}
	switch {
	case shared == 0:
		return disjoint
	case shared == len(a) && shared == len(b):
		return equal
	case shared == len(a):
		return narrower
	case shared == len(b):
		return wider
	}
	return crossing
}

func comparePaths(a, b []segment) relation {
	result := equal
	for i := 0; ; i++ {
		switch {
		case i == len(a) && i == len(b):
			return result
		case i == len(a) || i == len(b):
			return disjoint // a path of exactly i segments against a longer one
		case a[i].kind == rest && b[i].kind == rest:
			return result
		case a[i].kind == rest:
			return combine(result, wider)
		case b[i].kind == rest:
			return combine(result, narrower)
		}
		result = combine(result, compareSegments(a[i], b[i]))
		if result == disjoint {
			return disjoint
		}
	}
}

func compareSegments(a, b segment) relation {
	switch {
	case a.kind == literal && b.kind == literal:
		if a.text == b.text {
			return equal
		}
		return disjoint
	case a.kind == wildcard && b.kind == wildcard:
		return equal
	case a.kind == literal: // "" is the end of the path, which no wildcard stands for
		if a.text == "" {
			return disjoint
		}
		return narrower
	}
	if b.text == "" {
		return disjoint
	}
	return wider
}
