package enforcer

import (
	"hash/maphash"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
)

const (
	// rememberedKeys is the number of texts whose patterns are remembered, a power of two.
	rememberedKeys = 1 << 9
	// maxKey is the longest text, in bytes, and maxKeyPatterns the most patterns, that are remembered.
	maxKey         = 256
	maxKeyPatterns = 256
)

// patternIndex finds those of a column's patterns that match a text, for one function.
type patternIndex struct {
	function string
	matchers map[symbol]matcher

	equal  map[string][]symbol // patterns that match one text
	shapes shapes              // patterns of whole segments
	begins *prefixes           // patterns that match all texts with a prefix
	asks   *prefixes           // patterns that match some of them
	blocks map[netip.Prefix][]symbol
	bits   []netip.Prefix // the kinds of blocks that occur: family and length

	seed   maphash.Seed
	places [rememberedKeys]atomic.Pointer[keyPatterns]
}

// keyPatterns are the patterns that match one text.
type keyPatterns struct {
	key      string
	patterns []symbol
}

// newPatternIndex compiles the patterns of a column. What Casbin would panic at has been refused before.
func newPatternIndex(s *symbols, function string, patterns []symbol) (*patternIndex, error) {
	x := &patternIndex{
		function: function,
		matchers: make(map[symbol]matcher, len(patterns)),
		equal:    map[string][]symbol{}, begins: newPrefixes(), asks: newPrefixes(), blocks: map[netip.Prefix][]symbol{},
		seed: maphash.MakeSeed(),
	}
	for _, id := range patterns {
		compiled, err := newMatcher(function, s.text(id))
		if err != nil {
			return nil, err
		}
		x.matchers[id] = compiled
		x.add(s.text(id), id, compiled)
	}
	return x, nil
}

func (x *patternIndex) add(text string, id symbol, compiled matcher) {
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
		prefix := text[:len(text)-len(strings.TrimLeft(text, ordinary))]
		x.asks.add(strings.TrimRight(prefix, "/"), id) // a/** matches a too
	case "regexMatch":
		x.asks.add(literalPrefix(text), id)
	default:
		if s, ok := newSegments(x.function, text); ok {
			x.shapes.add(s, x.function == "keyMatch4", id) // where equal names stand for equal texts
			return
		}
		x.asks.add(literalPrefix(expressionOf(x.function, text)), id)
	}
}

func (x *patternIndex) addAddress(id symbol, compiled matcher) {
	m, ok := compiled.(*ipMatch)
	if !ok {
		return
	}
	address, bits := m.address, 128
	if m.block != nil {
		address = m.block.IP
		bits, _ = m.block.Mask.Size()
	}
	short := address.To4()
	switch {
	case short == nil:
		short = address.To16()
	case m.block == nil:
		bits = 32
	case len(m.block.Mask) != net.IPv4len: // a block of IPv6 in which IPv4 lies
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

// matching appends the patterns that match the text to a buffer, sorted. An error is that of a pattern, or that this
// has taken too long.
func (x *patternIndex) matching(key string, buffer []symbol, m *meter) ([]symbol, error) {
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

// compiled returns a pattern, or nil for a text that is none.
func (x *patternIndex) compiled(id symbol) matcher { return x.matchers[id] }

// unindexed returns how many patterns begin with nothing that could be looked up, so that each is asked.
func (x *patternIndex) unindexed() int { return len(x.asks.symbols[""]) }

func (x *patternIndex) find(key string, found []symbol, m *meter) ([]symbol, error) {
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
func (x *patternIndex) ask(id symbol, key string, m *meter) (bool, error) {
	m.charge(1 + len(key)/stepBytes)
	if err := m.late(); err != nil {
		return false, err
	}
	return x.matchers[id].match(key)
}

func (x *patternIndex) findAddress(key string, found []symbol) []symbol {
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

func (x *patternIndex) findShapes(key string, found []symbol, m *meter) ([]symbol, error) {
	whole := key
	if x.function == "keyMatch5" {
		whole, _, _ = strings.Cut(key, "?")
	}
	return x.shapes.of(whole, found, m, func(id symbol) (bool, error) { return x.ask(id, key, m) })
}
