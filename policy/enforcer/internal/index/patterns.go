package index

import (
	"hash/maphash"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/pattern"
)

const (
	// rememberedKeys is the number of texts whose patterns are remembered, a power of two.
	rememberedKeys = 1 << 9
	// maxKey is the longest text, in bytes, and maxKeyPatterns the most patterns, that are remembered.
	maxKey         = 256
	maxKeyPatterns = 256
)

// Patterns finds those of a column's patterns that match a text, for one function.
type Patterns struct {
	function string
	matchers map[Symbol]pattern.Matcher

	equal  map[string][]Symbol // patterns that match one text
	shapes shapes              // patterns of whole segments
	begins *prefixes           // patterns that match all texts with a prefix
	asks   *prefixes           // patterns that match some of them
	blocks map[netip.Prefix][]Symbol
	bits   []netip.Prefix // the kinds of blocks that occur: family and length

	seed   maphash.Seed
	places [rememberedKeys]atomic.Pointer[keyPatterns]
}

// keyPatterns are the patterns that match one text.
type keyPatterns struct {
	key      string
	patterns []Symbol
}

// NewPatterns compiles the patterns of a column. What Casbin would panic at has been refused before.
func NewPatterns(s *Symbols, function string, patterns []Symbol) (*Patterns, error) {
	x := &Patterns{
		function: function,
		matchers: make(map[Symbol]pattern.Matcher, len(patterns)),
		equal:    map[string][]Symbol{}, begins: newPrefixes(), asks: newPrefixes(), blocks: map[netip.Prefix][]Symbol{},
		seed: maphash.MakeSeed(),
	}
	for _, id := range patterns {
		compiled, err := pattern.New(function, s.Text(id))
		if err != nil {
			return nil, err
		}
		x.matchers[id] = compiled
		x.add(s.Text(id), id, compiled)
	}
	return x, nil
}

func (x *Patterns) add(text string, id Symbol, compiled pattern.Matcher) {
	switch x.function {
	case "keyMatch":
		if prefix, _, ok := strings.Cut(text, "*"); ok {
			x.begins.add(prefix, id)
		} else {
			x.equal[text] = append(x.equal[text], id)
		}
	case "ipMatch":
		x.addAddress(id, compiled)
	case "globMatch":
		prefix := text[:len(text)-len(strings.TrimLeft(text, pattern.Ordinary))]
		x.asks.add(strings.TrimRight(prefix, "/"), id) // a/** matches a too
	case "regexMatch":
		x.asks.add(pattern.LiteralPrefix(text), id)
	default:
		if s, ok := pattern.ParseSegments(x.function, text); ok {
			x.shapes.add(s, x.function == "keyMatch4", id) // where equal names stand for equal texts
			return
		}
		x.asks.add(pattern.LiteralPrefix(pattern.Expression(x.function, text)), id)
	}
}

func (x *Patterns) addAddress(id Symbol, compiled pattern.Matcher) {
	m, ok := compiled.(*pattern.IPMatch)
	if !ok {
		return
	}
	address, bits := m.Address, 128
	if m.Block != nil {
		address = m.Block.IP
		bits, _ = m.Block.Mask.Size()
	}
	short := address.To4()
	switch {
	case short == nil:
		short = address.To16()
	case m.Block == nil:
		bits = 32
	case len(m.Block.Mask) != net.IPv4len: // a block of IPv6 in which IPv4 lies
		x.asks.add("", id)
		return
	}
	ip, _ := netip.AddrFromSlice(short)
	block := netip.PrefixFrom(ip, bits).Masked()
	x.blocks[block] = append(x.blocks[block], id)
	kind := netip.PrefixFrom(zeroAddress(ip), bits)
	if !slices.Contains(x.bits, kind) {
		x.bits = append(x.bits, kind)
	}
}

func zeroAddress(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// Matching appends the patterns that match the text to a buffer, sorted. An error is that of a pattern, or that this
// has taken too long.
func (x *Patterns) Matching(key string, buffer []Symbol, m *Meter) ([]Symbol, error) {
	if len(x.asks.lengths) == 0 {
		return x.find(key, buffer, m) // which takes no longer than to remember it
	}
	place := &x.places[maphash.String(x.seed, key)&(rememberedKeys-1)]
	if known := place.Load(); known != nil && known.key == key {
		return append(buffer, known.patterns...), nil
	}
	start := len(buffer)
	buffer, err := x.find(key, buffer, m)
	if err != nil {
		return nil, err
	}
	if found := buffer[start:]; len(key) <= maxKey && len(found) <= maxKeyPatterns {
		place.Store(&keyPatterns{key: strings.Clone(key), patterns: slices.Clone(found)})
	}
	return buffer, nil
}

// Compiled returns a pattern, or nil for a text that is none.
func (x *Patterns) Compiled(id Symbol) pattern.Matcher { return x.matchers[id] }

// Unindexed returns how many patterns begin with nothing that could be looked up, so that each is asked.
func (x *Patterns) Unindexed() int { return len(x.asks.symbols[""]) }

func (x *Patterns) find(key string, found []Symbol, m *Meter) ([]Symbol, error) {
	start := len(found)
	found = append(found, x.equal[key]...)
	found = x.begins.of(key, found)
	var err error
	if len(x.shapes) > 0 {
		if found, err = x.findShapes(key, found, m); err != nil {
			return nil, err
		}
	}
	if len(x.bits) > 0 {
		found = x.findAddress(key, found)
	}
	certain := len(found)
	found = x.asks.of(key, found)
	kept := found[:certain]
	for _, id := range found[certain:] {
		holds, err := x.ask(id, key, m)
		if err != nil {
			return nil, err
		}
		if holds {
			kept = append(kept, id)
		}
	}
	slices.Sort(kept[start:])
	return kept, nil
}

// ask holds one pattern against the text.
func (x *Patterns) ask(id Symbol, key string, m *Meter) (bool, error) {
	m.Charge(1 + len(key)/StepBytes)
	if err := m.Late(); err != nil {
		return false, err
	}
	return x.matchers[id].Match(key)
}

func (x *Patterns) findAddress(key string, found []Symbol) []Symbol {
	parsed := net.ParseIP(key)
	if short := parsed.To4(); short != nil {
		parsed = short
	}
	ip, ok := netip.AddrFromSlice(parsed)
	if !ok {
		return found
	}
	for _, kind := range x.bits {
		if kind.Addr().Is4() == ip.Is4() {
			block, _ := ip.Prefix(kind.Bits())
			found = append(found, x.blocks[block]...)
		}
	}
	return found
}

func (x *Patterns) findShapes(key string, found []Symbol, m *Meter) ([]Symbol, error) {
	whole := key
	if x.function == "keyMatch5" {
		whole, _, _ = strings.Cut(key, "?")
	}
	return x.shapes.of(whole, found, m, func(id Symbol) (bool, error) { return x.ask(id, key, m) })
}
