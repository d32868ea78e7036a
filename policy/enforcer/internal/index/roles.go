package index

import (
	"maps"
	"slices"
	"strings"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
)

// RoleGraph is the role links of one role definition. Its answers are those of Casbin's role managers: links
// are followed ten deep, and in a domain those count that were made in it, or in a pattern of domains that it
// matches.
type RoleGraph struct {
	links   *Postings           // roles by user and domain
	changed map[uint64][]uint32 // what the links of a user are now, where that has changed
	domains *prefixes           // the domains that are patterns; nil where Casbin takes none
}

// LinkKey is the key of a user's roles in a domain.
func LinkKey(user, domain Symbol) uint64 { return uint64(domain)<<32 | uint64(user) }

// NewRoleGraph returns the graph of those links.
func NewRoleGraph(s *Symbols, definition model.Role, patterns bool, links []*model.Rule) *RoleGraph {
	g := &RoleGraph{}
	keys, roles := make([]uint64, len(links)), make([]uint32, len(links))
	known := map[Symbol]bool{}
	for i, link := range links {
		var domain Symbol
		if definition.Names > 2 {
			domain = s.Add(link.Fields()[2])
		}
		keys[i] = LinkKey(s.Add(link.Fields()[0]), domain)
		roles[i] = uint32(s.Add(link.Fields()[1]))
		known[domain] = true
	}
	if patterns && definition.Names > 2 {
		g.domains = newPrefixes()
		for domain := range known {
			g.addDomain(s.Text(domain), domain)
		}
	}
	g.links = NewPostings(len(links), func(i int) (uint64, uint32) { return keys[i], roles[i] })
	return g
}

// addDomain takes note of a domain that is a pattern for keyMatch.
func (g *RoleGraph) addDomain(text string, domain Symbol) {
	if prefix, _, ok := strings.Cut(text, "*"); ok {
		g.domains.add(prefix, domain)
	}
}

// With returns the graph with links added and taken away.
func (g *RoleGraph) With(s *Symbols, definition model.Role, added, removed []*model.Rule) *RoleGraph {
	changed := &RoleGraph{links: g.links, domains: g.domains, changed: maps.Clone(g.changed)}
	if changed.changed == nil {
		changed.changed = map[uint64][]uint32{}
	}
	if g.domains != nil {
		changed.domains = g.domains.clone()
	}
	edit := func(link *model.Rule, apply func(roles []uint32, role uint32) []uint32) {
		var domain Symbol
		if definition.Names > 2 {
			domain = s.Add(link.Fields()[2])
			if changed.domains != nil && !changed.domains.has(domain) {
				changed.addDomain(link.Fields()[2], domain)
			}
		}
		key := LinkKey(s.Add(link.Fields()[0]), domain)
		changed.changed[key] = apply(slices.Clone(changed.Of(key)), uint32(s.Add(link.Fields()[1])))
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

// TakesPatterns reports whether the domains of links may be patterns.
func (g *RoleGraph) TakesPatterns() bool { return g.domains != nil }

// Matching appends the domains that are patterns and match a domain.
func (g *RoleGraph) Matching(domain string, found []Symbol) []Symbol {
	if g.domains == nil {
		return found
	}
	return g.domains.of(domain, found)
}

// Of returns what a user is linked to in a domain, by their key.
func (g *RoleGraph) Of(key uint64) []uint32 {
	if roles, ok := g.changed[key]; ok {
		return roles
	}
	return g.links.Of(key)
}

// Holds appends what the name is by those links in those domains, itself first; extra are roles that it has
// besides. It gives up, and returns false, at more than most of them.
func (g *RoleGraph) Holds(roles []Symbol, name Symbol, domains, extra []Symbol, most int) ([]Symbol, bool) {
	walk := roleWalk{roles: append(roles, name), start: len(roles), most: most}
	from := walk.start
	for depth := 0; depth < model.MaxChain && from < len(walk.roles); depth++ {
		until := len(walk.roles)
		for ; from < until; from++ {
			for _, domain := range domains {
				for _, role := range g.Of(LinkKey(walk.roles[from], domain)) {
					walk.reach(Symbol(role))
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
	roles       []Symbol
	start, most int
	seen        map[Symbol]bool // once there are many
	given       bool            // it has given up
}

const fewRoles = 32

func (w *roleWalk) reach(role Symbol) {
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
		w.seen = make(map[Symbol]bool, 2*fewRoles)
		for _, known := range found {
			w.seen[known] = true
		}
	}
	if w.seen != nil {
		w.seen[role] = true
	}
	w.roles = append(w.roles, role)
}
