package policy

import (
	"fmt"
	"slices"
	"strings"
)

// A router finds the most specific route of a request. What counts as more specific is net/http's rule: the
// pattern that matches a strict subset of the other's requests. Patterns of which neither does, though some
// request matches both, are refused when they are added, so that at most one answer is the right one, and
// the first that a depth-first search finds, literals before wildcards, is it.
type router struct {
	hosts    map[string]*node // exact hosts
	suffixes []suffix         // "*.example.com" as ".example.com", longest first
	any      *node
	patterns []pattern // all that were added, to find conflicts
}

type suffix struct {
	text string
	root *node
}

// node is one step of a path.
type node struct {
	literals map[string]*node
	wildcard *node   // {name}
	leaves   []*leaf // patterns that end here
	rest     []*leaf // patterns that end here and take all that follows
}

// leaf is the end of one pattern.
type leaf struct {
	route   *Route
	methods []string // sorted; none is any
	names   []string // of the wildcards, in order; the last is of the rest, where the pattern has one
}

func (l *leaf) serves(method string) bool {
	return len(l.methods) == 0 || slices.Contains(l.methods, method)
}

func newRouter() *router {
	return &router{hosts: map[string]*node{}, any: &node{}}
}

func (r *router) add(route *Route, index int) error {
	for i, match := range route.Matches {
		field := fmt.Sprintf("routes[%d].match[%d]", index, i)
		added, err := newPattern(match)
		if err != nil {
			return &FieldError{field + ".path", err}
		}
		added.where = fmt.Sprintf("route %q, match %d", route.Name, i+1)
		for j := range r.patterns {
			if r.patterns[j].conflicts(&added) {
				return &FieldError{field, fmt.Errorf("%s and %s of %s match one request, and neither is more specific",
					added.text, r.patterns[j].text, r.patterns[j].where)}
			}
		}
		r.patterns = append(r.patterns, added)
		r.root(match.Host).insert(&added, route)
	}
	return nil
}

func (r *router) root(host string) *node {
	switch {
	case host == "":
		return r.any
	case strings.HasPrefix(host, "*."):
		text := host[1:]
		for _, s := range r.suffixes {
			if s.text == text {
				return s.root
			}
		}
		root := &node{}
		r.suffixes = append(r.suffixes, suffix{text, root})
		slices.SortStableFunc(r.suffixes, func(a, b suffix) int { return len(b.text) - len(a.text) })
		return root
	}
	if r.hosts[host] == nil {
		r.hosts[host] = &node{}
	}
	return r.hosts[host]
}

func (n *node) insert(p *pattern, route *Route) {
	end := &leaf{route: route, methods: p.methods}
	for _, s := range p.segments {
		if s.kind != literal {
			end.names = append(end.names, s.text)
		}
		switch s.kind {
		case rest:
			n.rest = place(n.rest, end)
			return
		case wildcard:
			if n.wildcard == nil {
				n.wildcard = &node{}
			}
			n = n.wildcard
		case literal:
			if n.literals == nil {
				n.literals = map[string]*node{}
			}
			if n.literals[s.text] == nil {
				n.literals[s.text] = &node{}
			}
			n = n.literals[s.text]
		}
	}
	n.leaves = place(n.leaves, end)
}

// match returns the most specific route of a request, nil where there is none, and what its wildcards stand
// for. A path that does not begin with a slash matches nothing.
func (r *router) match(host, method, path string) (*Route, []Param) {
	if path == "" || path[0] != '/' {
		return nil, nil
	}
	if root := r.hosts[host]; root != nil {
		if route, params := root.find(method, path); route != nil {
			return route, params
		}
	}
	for _, s := range r.suffixes {
		if len(host) > len(s.text) && strings.HasSuffix(host, s.text) {
			if route, params := s.root.find(method, path); route != nil {
				return route, params
			}
		}
	}
	return r.any.find(method, path)
}

func (n *node) find(method, path string) (*Route, []Param) {
	var buffer [8]string
	found, values := n.search(method, path[1:], buffer[:0])
	if found == nil {
		return nil, nil
	}
	if len(found.names) == 0 {
		return found.route, nil
	}
	params := make([]Param, 0, len(found.names))
	for i, name := range found.names {
		if name != "" {
			params = append(params, Param{name, values[i]})
		}
	}
	return found.route, params
}

// search looks for the rest of a path, without its leading slash, below n. The search branches at most
// once a node of the tree, which is the operator's and not the client's to grow.
func (n *node) search(method, path string, values []string) (*leaf, []string) {
	segment, tail, more := strings.Cut(path, "/")
	for _, step := range [2]struct {
		next *node
		wild bool
	}{{n.literals[segment], false}, {n.wildcard, true}} {
		if step.next == nil || step.wild && segment == "" {
			continue
		}
		taken := values
		if step.wild {
			taken = append(values, segment)
		}
		if more {
			if found, all := step.next.search(method, tail, taken); found != nil {
				return found, all
			}
			continue
		}
		if found := serving(step.next.leaves, method); found != nil {
			return found, taken
		}
	}
	if found := serving(n.rest, method); found != nil {
		return found, append(values, path)
	}
	return nil, nil
}

// serving returns the first leaf for the method; leaves are kept with the most specific first.
func serving(leaves []*leaf, method string) *leaf {
	for _, l := range leaves {
		if l.serves(method) {
			return l
		}
	}
	return nil
}

// place adds a leaf: fewer methods are more specific, and any method is the least.
func place(leaves []*leaf, added *leaf) []*leaf {
	leaves = append(leaves, added)
	slices.SortStableFunc(leaves, func(a, b *leaf) int {
		if (len(a.methods) == 0) != (len(b.methods) == 0) {
			return len(b.methods) - len(a.methods)
		}
		return len(a.methods) - len(b.methods)
	})
	return leaves
}
