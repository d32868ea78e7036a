package schema

import (
	"hash/maphash"
	"unicode/utf16"
	"unicode/utf8"
)

// names is a set of the names that the objects of one text have: the hash of each, together with its object's serial, and
// no name itself. The first few need no memory but the set's own.
type names struct {
	seed  maphash.Seed
	slots []uint64 // open addressing, at most half full; a power of two of them, 0 is none. nil: first is used
	used  int
	first [64]uint64
}

// add adds a name, as it is written, and reports whether the object had none like it.
func (n *names) add(object uint32, written []byte, escaped bool) bool {
	if escaped {
		var buffer [256]byte
		written = unescape(buffer[:0], written)
	}
	// A hash is random to whoever does not know the seed, and stays so when it is moved by a number of the object's.
	hash := maphash.Bytes(n.seed, written) ^ uint64(object)*0x9e3779b97f4a7c15
	if hash == 0 {
		hash = 1
	}
	n.used++
	if n.slots == nil && 2*n.used <= len(n.first) {
		return insert(n.first[:], hash)
	}
	if 2*n.used > len(n.slots) {
		n.grow()
	}
	return insert(n.slots, hash)
}

func (n *names) grow() {
	before := n.slots
	if before == nil {
		before = n.first[:]
	}
	slots := make([]uint64, 4*len(before))
	for _, hash := range before {
		if hash != 0 {
			insert(slots, hash)
		}
	}
	n.slots = slots
}

func insert(slots []uint64, hash uint64) bool {
	mask := uint64(len(slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		switch slots[i] {
		case 0:
			slots[i] = hash
			return true
		case hash:
			return false
		}
	}
}

// unescape appends what a string of JSON stands for, whose escapes were found to be good.
func unescape(to, written []byte) []byte {
	for i := 0; i < len(written); i++ {
		c := written[i]
		if c != '\\' {
			to = append(to, c)
			continue
		}
		i++
		switch c = written[i]; c {
		case 'b':
			to = append(to, '\b')
		case 'f':
			to = append(to, '\f')
		case 'n':
			to = append(to, '\n')
		case 'r':
			to = append(to, '\r')
		case 't':
			to = append(to, '\t')
		case 'u':
			unit, _ := codeUnit(written[i-1:])
			if utf16.IsSurrogate(unit) {
				second, _ := codeUnit(written[i+5:])
				unit = utf16.DecodeRune(unit, second)
				i += 6
			}
			i += 4
			to = utf8.AppendRune(to, unit)
		default:
			to = append(to, c)
		}
	}
	return to
}
