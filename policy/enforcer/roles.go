package enforcer

import (
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
)

const (
	// maxRemembered bounds what is remembered of one name: the roles it holds, and the bytes it was asked with.
	maxRemembered = 1 << 12
	// rememberedNames is the number of names whose roles are remembered, a power of two.
	rememberedNames = 1 << 12
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

func (g *roleGraph) of(key uint64) []uint32 {
	if roles, ok := g.changed[key]; ok {
		return roles
	}
	return g.links.of(key)
}

// holds returns what the name is by those links in that domain, itself first; extra are roles that it has
// besides.
func (g *roleGraph) holds(s *symbols, name, domain string, extra []symbol) []symbol {
	domains := []symbol{s.find(domain)}
	if g.domains != nil {
		domains = g.domains.of(domain, domains)
	}
	roles := []symbol{s.find(name)}
	seen := map[symbol]bool{roles[0]: true}
	reach := func(role symbol) {
		if !seen[role] {
			seen[role] = true
			roles = append(roles, role)
		}
	}
	from := 0
	for depth := range maxChain {
		until := len(roles)
		for _, user := range roles[from:until] {
			for _, domain := range domains {
				for _, role := range g.of(linkKey(user, domain)) {
					reach(symbol(role))
				}
			}
		}
		if depth == 0 {
			for _, role := range extra {
				reach(role)
			}
		}
		from = until
	}
	return roles
}

// caller is whose request it is, and the roles that it brings along.
type caller struct {
	subject string
	roles   []string
}

// heldRoles is what a name is: itself, and the roles that it has.
type heldRoles struct {
	definition, name, domain string
	brought                  []string
	symbols                  []symbol // sorted; noSymbol may be among them
}

// is reports whether these are the roles that are looked for.
func (h *heldRoles) is(definition, name, domain string, brought []string) bool {
	return h.definition == definition && h.name == name && h.domain == domain && slices.Equal(h.brought, brought)
}

// roleMemory remembers the roles of names. It holds no more than it has places, and takes no lock.
type roleMemory struct {
	seed   maphash.Seed
	places [rememberedNames]atomic.Pointer[heldRoles]
}

func newRoleMemory() *roleMemory { return &roleMemory{seed: maphash.MakeSeed()} }

func (m *roleMemory) place(definition, name, domain string, brought []string) *atomic.Pointer[heldRoles] {
	h := maphash.String(m.seed, name)
	h = h*31 + maphash.String(m.seed, domain)
	h = h*31 + uint64(len(definition))
	for _, role := range brought {
		h = h*31 + maphash.String(m.seed, role)
	}
	return &m.places[h&(rememberedNames-1)]
}

// roles returns what a name is in that role definition, sorted.
func (f *frame) roles(definition, name, domain string) []symbol {
	var brought []string
	if definition == f.within.ownRoles && name == f.caller.subject {
		brought = f.caller.roles
	}
	for i := range f.held {
		if f.held[i].is(definition, name, domain, brought) {
			return f.held[i].symbols
		}
	}
	place := f.within.memory.place(definition, name, domain, brought)
	if known := place.Load(); known != nil && known.is(definition, name, domain, brought) {
		f.held = append(f.held, *known)
		return known.symbols
	}
	extra := make([]symbol, 0, len(brought))
	for _, role := range brought {
		if id := f.within.find(role); id != noSymbol && role != "" {
			extra = append(extra, id)
		}
	}
	held := heldRoles{definition: definition, name: name, domain: domain, brought: brought}
	held.symbols = f.within.graphs[definition].holds(f.within.symbols, name, domain, extra)
	slices.Sort(held.symbols)
	f.held = append(f.held, held)
	remember(place, held)
	return held.symbols
}

// remember keeps a copy that holds on to nothing of the request.
func remember(place *atomic.Pointer[heldRoles], held heldRoles) {
	size := len(held.name) + len(held.domain) + len(held.symbols)
	for _, role := range held.brought {
		size += len(role) + 16
	}
	if size > maxRemembered {
		return
	}
	held.name, held.domain = strings.Clone(held.name), strings.Clone(held.domain)
	held.brought = slices.Clone(held.brought)
	for i := range held.brought {
		held.brought[i] = strings.Clone(held.brought[i])
	}
	place.Store(&held)
}

// hasRole is the function g of a matcher.
func (f *frame) hasRole(definition, name, role, domain string) bool {
	if name == role {
		return true
	}
	id := f.within.find(role)
	if id == noSymbol { // no link leads there but what the caller brings
		return definition == f.within.ownRoles && name == f.caller.subject && role != "" && slices.Contains(f.caller.roles, role)
	}
	_, has := slices.BinarySearch(f.roles(definition, name, domain), id)
	return has
}
