package enforcer

import (
	"hash/maphash"
	"maps"
	"math"
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

// caller is whose request it is, and the roles that it brings along.
type caller struct {
	subject string
	roles   []string
}

// heldRoles is what a name is: itself, and the roles that it has.
type heldRoles struct {
	definition, name, domain string
	brought                  []string
	symbols                  []symbol // sorted where they are many; noSymbol may be among them
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

// roles returns what a name is in that role definition, sorted where that is much.
func (f *frame) roles(definition, name, domain string) []symbol {
	var brought []string
	if definition == f.within.ownRoles && name == f.caller.subject {
		brought = f.caller.roles
	}
	if held := f.known(heldKey{definition, name, domain}); held != nil {
		return held.symbols
	}
	held := heldRoles{definition: definition, name: name, domain: domain, brought: brought}
	if len(brought) == 0 && f.hold(&held, maxForgotten) {
		f.keep(held)
		return held.symbols
	}
	place := f.within.memory.place(definition, name, domain, brought)
	if known := place.Load(); known != nil && known.is(definition, name, domain, brought) {
		f.keep(*known)
		return known.symbols
	}
	f.hold(&held, math.MaxInt)
	slices.Sort(held.symbols)
	f.keep(held)
	remember(place, held)
	return held.symbols
}

// heldKey is what is asked about in one request, in which a name brings the same roles whenever it is asked about.
type heldKey struct{ definition, name, domain string }

// fewHeld is how many names are looked through one by one.
const fewHeld = 16

// known returns what was found out about a name in this request, or nil.
func (f *frame) known(key heldKey) *heldRoles {
	if len(f.held) > fewHeld {
		if at, ok := f.heldAt[key]; ok {
			return &f.held[at]
		}
		return nil
	}
	for i := range f.held {
		if held := &f.held[i]; held.definition == key.definition && held.name == key.name && held.domain == key.domain {
			return held
		}
	}
	return nil
}

// keep takes note of what was found out.
func (f *frame) keep(held heldRoles) {
	f.held = append(f.held, held)
	if len(f.held) <= fewHeld {
		return
	}
	if f.heldAt == nil {
		f.heldAt = make(map[heldKey]int, 2*len(f.held))
		for i := range f.held {
			f.heldAt[heldKey{f.held[i].definition, f.held[i].name, f.held[i].domain}] = i
		}
	}
	f.heldAt[heldKey{held.definition, held.name, held.domain}] = len(f.held) - 1
}

// maxForgotten is the number of roles that are found again as quickly as they are remembered.
const maxForgotten = 8

// hold works out what a name is, unless there are more roles than that.
func (f *frame) hold(held *heldRoles, most int) bool {
	graph, start := f.within.graphs[held.definition], len(f.symbols)
	f.symbols = append(f.symbols, f.within.find(held.domain))
	if graph.domains != nil {
		f.symbols = graph.domains.of(held.domain, f.symbols)
	}
	domains := len(f.symbols)
	for _, role := range held.brought {
		if id := f.within.find(role); id != noSymbol && role != "" {
			f.symbols = append(f.symbols, id)
		}
	}
	extra := len(f.symbols)
	var whole bool
	f.symbols, whole = graph.holds(f.symbols, f.within.find(held.name), f.symbols[start:domains], f.symbols[domains:extra], most)
	held.symbols = f.symbols[extra:len(f.symbols):len(f.symbols)]
	return whole
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
	held.brought, held.symbols = slices.Clone(held.brought), slices.Clone(held.symbols)
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
	return contains(f.roles(definition, name, domain), id)
}
