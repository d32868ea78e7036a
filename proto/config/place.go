package config

import (
	"cmp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// place is where one value stands in the file: a node of a tree with the shape of the message.
type place struct {
	line, column       int // of the value
	keyLine, keyColumn int // of its name, where it has one
	parent             *place
	fields             map[string]*place // by field name, or by map key
	items              []*place
	// tainted says that something in this value is wrong, and broken that the value itself is. What a constraint
	// says about either is most often the consequence of a finding that is there already.
	tainted, broken bool
}

func newPlace(parent *place, key, value *yaml.Node) *place {
	p := &place{parent: parent, line: value.Line, column: value.Column}
	if key != nil {
		p.keyLine, p.keyColumn = key.Line, key.Column
	}
	return p
}

// taint marks a fault in p, one that the tree has no place of its own for.
func (p *place) taint() {
	for ; p != nil && !p.tainted; p = p.parent {
		p.tainted = true
	}
}

func (p *place) markBroken() {
	p.broken = true
	p.taint()
}

// faulty reports whether a constraint's violation at p follows from a fault of the shape.
func (p *place) faulty() bool {
	if p.tainted {
		return true
	}
	for ; p != nil; p = p.parent {
		if p.broken {
			return true
		}
	}
	return false
}

// compareKeys orders places by where their names stand.
func (p *place) compareKeys(other *place) int {
	return cmp.Or(cmp.Compare(p.keyLine, other.keyLine), cmp.Compare(p.keyColumn, other.keyColumn))
}

// field returns the place of a field, nil where it is absent.
func (p *place) field(name string) *place {
	if p == nil {
		return nil
	}
	return p.fields[name]
}

// item returns the place of one element of a list.
func (p *place) item(index int) *place {
	if p == nil || index < 0 || index >= len(p.items) {
		return nil
	}
	return p.items[index]
}

// find follows a path such as `routes[2].headers["x-user"]` as far as it leads.
func (p *place) find(path string) *place {
	for path != "" {
		var next *place
		if inside, ok := strings.CutPrefix(path, "["); ok {
			next, path = p.element(inside)
		} else {
			name := strings.TrimPrefix(path, ".")
			end := strings.IndexAny(name, ".[")
			if end < 0 {
				end = len(name)
			}
			next, path = p.field(name[:end]), name[end:]
		}
		if next == nil {
			return p
		}
		p = next
	}
	return p
}

// element follows the inside of brackets, an index or a quoted key, and returns what comes after them.
func (p *place) element(path string) (next *place, rest string) {
	if quoted, err := strconv.QuotedPrefix(path); err == nil {
		key, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, ""
		}
		return p.field(key), strings.TrimPrefix(path[len(quoted):], "]")
	}
	digits, rest, _ := strings.Cut(path, "]")
	index, err := strconv.Atoi(digits)
	if err != nil {
		return nil, ""
	}
	return p.item(index), rest
}
