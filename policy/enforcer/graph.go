package enforcer

import (
	"maps"
	"slices"
	"strings"
)

// roleGraph is the role links of one role definition. Its answers are those of Casbin's role managers: links
// are followed ten deep, and in a domain those count that were made in it, or in a pattern of domains that it
// matches.
type roleGraph struct {
	links   *postings           // roles by user and domain
	changed map[uint64][]uint32 // what the links of a user are now, where that has changed
	domains *prefixes           // the domains that are patterns; nil where Casbin takes none
}

// linkKey is the key of a user's roles in a domain.
func linkKey(user, domain symbol) uint64 { return uint64(domain)<<32 | uint64(user) }

// newRoleGraph returns the graph of those links.
func newRoleGraph(s *symbols, definition role, patterns bool, links []*rule) *roleGraph {
	g := &roleGraph{}
	keys, roles := make([]uint64, len(links)), make([]uint32, len(links))
	known := map[symbol]bool{}
	for i, link := range links {
		var domain symbol
		if definition.names > 2 {
			domain = s.add(link.fields()[2])
		}
		keys[i] = linkKey(s.add(link.fields()[0]), domain)
		roles[i] = uint32(s.add(link.fields()[1]))
		known[domain] = true
	}
	if patterns && definition.names > 2 {
		g.domains = newPrefixes()
		for domain := range known {
			g.addDomain(s.text(domain), domain)
		}
	}
	g.links = newPostings(len(links), func(i int) (uint64, uint32) { return keys[i], roles[i] })
	return g
}

// addDomain takes note of a domain that is a pattern for keyMatch.
func (g *roleGraph) addDomain(text string, domain symbol) {
	if prefix, _, ok := strings.Cut(text, "*"); ok {
		g.domains.add(prefix, domain)
	}
}

// with returns the graph with links added and taken away.
func (g *roleGraph) with(s *symbols, definition role, added, removed []*rule) *roleGraph {
	changed := &roleGraph{links: g.links, domains: g.domains, changed: maps.Clone(g.changed)}
	if changed.changed == nil {
		changed.changed = map[uint64][]uint32{}
	}
	if g.domains != nil {
		changed.domains = g.domains.clone()
	}
	edit := func(link *rule, apply func(roles []uint32, role uint32) []uint32) {
		var domain symbol
		if definition.names > 2 {
			domain = s.add(link.fields()[2])
			if changed.domains != nil && !changed.domains.has(domain) {
				changed.addDomain(link.fields()[2], domain)
			}
		}
		key := linkKey(s.add(link.fields()[0]), domain)
		changed.changed[key] = apply(slices.Clone(changed.of(key)), uint32(s.add(link.fields()[1])))
	}
	for _, link := range removed {
		edit(link, func(roles []uint32, role uint32) []uint32 {
			return slices.DeleteFunc(roles, func(r uint32) bool { return r == role })
		})
	}
	for _, link := range added {
		edit(link, func(roles []uint32, role uint32) []uint32 { return append(roles, role) })
	}
	return changed
}

// takesPatterns reports whether the domains of links may be patterns.
func (g *roleGraph) takesPatterns() bool { return g.domains != nil }

// matching appends the domains that are patterns and match a domain.
func (g *roleGraph) matching(domain string, found []symbol) []symbol {
	if g.domains == nil {
		return found
	}
	return g.domains.of(domain, found)
}

// of returns what a user is linked to in a domain, by their key.
func (g *roleGraph) of(key uint64) []uint32 {
	if roles, ok := g.changed[key]; ok {
		return roles
	}
	return g.links.of(key)
}

// holds appends what the name is by those links in those domains, itself first; extra are roles that it has
// besides. It gives up, and returns false, at more than most of them.
func (g *roleGraph) holds(roles []symbol, name symbol, domains, extra []symbol, most int) ([]symbol, bool) {
	walk := roleWalk{roles: append(roles, name), start: len(roles), most: most}
	from := walk.start
	for depth := 0; depth < maxChain && from < len(walk.roles); depth++ {
		until := len(walk.roles)
		for ; from < until; from++ {
			for _, domain := range domains {
				for _, role := range g.of(linkKey(walk.roles[from], domain)) {
					walk.reach(symbol(role))
				}
			}
		}
		if depth == 0 {
			for _, role := range extra {
				walk.reach(role)
			}
		}
		if walk.given {
			return roles, false
		}
	}
	return walk.roles, true
}

// roleWalk collects roles, each once.
type roleWalk struct {
	roles       []symbol
	start, most int
	seen        map[symbol]bool // once there are many
	given       bool            // it has given up
}

const fewRoles = 32

func (w *roleWalk) reach(role symbol) {
	found := w.roles[w.start:]
	switch {
	case w.given:
		return
	case len(found) == w.most:
		w.given = true
		return
	case w.seen == nil && slices.Contains(found, role), w.seen[role]:
		return
	case w.seen == nil && len(found) == fewRoles:
		w.seen = make(map[symbol]bool, 2*fewRoles)
		for _, known := range found {
			w.seen[known] = true
		}
	}
	if w.seen != nil {
		w.seen[role] = true
	}
	w.roles = append(w.roles, role)
}
