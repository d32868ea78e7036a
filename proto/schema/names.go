package schema

import (
	"hash/maphash"
	"unicode/utf16"
	"unicode/utf8"
)

// few is how many names of one object are compared one by one.
const few = 16

// names knows which names the objects of one text have: the hash of each, and no name itself. Those of an object that has few are
// on a stack, and are gone when it ends; those of one that has more are in a set, each together with a number of its object's.
type names struct {
	seed  maphash.Seed
	stack []uint64
	slots []uint64 // of the set: open addressing, at most half full, a power of two of them, 0 is none
	used  int
}

// add adds a name, as it is written, to the innermost object, and reports whether that had none like it. It is the object's name
// number count, from 1.
func (n *names) add(object *container, written []byte, escaped bool) bool {
	if escaped {
		var buffer [256]byte
		written = unescape(buffer[:0], written)
	}
	hash := maphash.Bytes(n.seed, written)
	if object.count > few {
		return n.put(hash, object.serial)
	}
	own := n.stack[len(n.stack)-object.count+1:]
	for _, other := range own {
		if other == hash {
			return false
		}
	}
	n.stack = append(n.stack, hash)
	if object.count == few { // from now on, the set
		for _, other := range n.stack[len(n.stack)-few:] {
			n.put(other, object.serial)
		}
	}
	return true
}

// leave forgets the names of an object that has ended.
func (n *names) leave(object *container) { n.stack = n.stack[:len(n.stack)-min(object.count, few)] }

// put puts a hash into the set. It is random to whoever does not know the seed, and stays so when it is moved by its object's number.
func (n *names) put(hash uint64, serial uint32) bool {
	hash ^= uint64(serial) * 0x9e3779b97f4a7c15
	if hash == 0 {
		hash = 1
	}
	if n.used++; 2*n.used > len(n.slots) {
		slots := make([]uint64, max(128, 4*len(n.slots)))
		for _, other := range n.slots {
			if other != 0 {
				insert(slots, other)
			}
		}
		n.slots = slots
	}
	return insert(n.slots, hash)
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
