package compiled

import (
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/index"
)

const (
	// maxRemembered bounds what is remembered of one name: the roles it holds, and the bytes it was asked with.
	maxRemembered = 1 << 12
	// rememberedNames is the number of names whose roles are remembered, a power of two.
	rememberedNames = 1 << 12
)

// caller is whose request it is, and the roles that it brings along.
type caller struct {
	subject string
	roles   []string
}

// heldRoles is what a name is: itself, and the roles that it has.
type heldRoles struct {
	definition, name, domain string
	brought                  []string
	symbols                  []index.Symbol // sorted where they are many; NoSymbol may be among them
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
func (f *Frame) roles(definition, name, domain string) []index.Symbol {
	var brought []string
	if definition == f.Within.ownRoles && name == f.caller.subject {
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
	place := f.Within.memory.place(definition, name, domain, brought)
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
func (f *Frame) known(key heldKey) *heldRoles {
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
func (f *Frame) keep(held heldRoles) {
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
func (f *Frame) hold(held *heldRoles, most int) bool {
	graph, start := f.Within.Graphs[held.definition], len(f.symbols)
	f.symbols = append(f.symbols, f.Within.Find(held.domain))
	f.symbols = graph.Matching(held.domain, f.symbols)
	domains := len(f.symbols)
	for _, role := range held.brought {
		if id := f.Within.Find(role); id != index.NoSymbol && role != "" {
			f.symbols = append(f.symbols, id)
		}
	}
	extra := len(f.symbols)
	var whole bool
	f.symbols, whole = graph.Holds(f.symbols, f.Within.Find(held.name), f.symbols[start:domains], f.symbols[domains:extra], most)
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
func (f *Frame) hasRole(definition, name, role, domain string) bool {
	if name == role {
		return true
	}
	id := f.Within.Find(role)
	if id == index.NoSymbol { // no link leads there but what the caller brings
		return definition == f.Within.ownRoles && name == f.caller.subject && role != "" && slices.Contains(f.caller.roles, role)
	}
	return contains(f.roles(definition, name, domain), id)
}
