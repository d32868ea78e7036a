package keys

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

const (
	// maxKeySet is the longest key set or discovery document that is read, in bytes.
	maxKeySet = 512 << 10
	// maxKeys is the greatest number of keys of one set.
	maxKeys = 1000
	// maxSetDepth is how many objects and arrays a key set may hold inside one another; the format needs four.
	maxSetDepth = 16
)

// errNoKeys is what a key set without a single usable key is.
var errNoKeys = errors.New("the key set has no usable key")

// keySet is the usable keys of one key set document (RFC 7517, section 5). It is immutable.
type keySet struct {
	// generation differs between any two remote sets of a Store, and is 0 for one that never changes.
	generation uint64
	digest     [sha256.Size]byte // of the document
	document   []byte
	keys       []*key
	byID       map[string]*key
	// leftOut says which keys of the document are not usable, and why.
	leftOut []error
}

// parseKeySet reads a document. Keys that cannot be used are left out, and so is every key whose id another
// usable one has too, since nothing tells which is meant. An error means that there is nothing to use; the
// document as a whole must have one reading, or none of it is taken.
func parseKeySet(document []byte) (*keySet, error) {
	if len(document) > maxKeySet {
		return nil, fmt.Errorf("a key set of more than %d bytes", maxKeySet)
	}
	object, err := decodeObject(string(document), maxSetDepth)
	if err != nil {
		return nil, fmt.Errorf("no key set: %w", err)
	}
	members, ok := object["keys"].([]any)
	if !ok {
		return nil, fmt.Errorf("no key set: it has no array named keys")
	}
	if len(members) > maxKeys {
		return nil, fmt.Errorf("a key set of %d keys, more than the %d that are read", len(members), maxKeys)
	}
	set := &keySet{digest: sha256.Sum256(document), document: document, byID: make(map[string]*key, len(members))}
	for i, member := range members {
		key, err := parseKey(member)
		if err != nil {
			set.leftOut = append(set.leftOut, fmt.Errorf("keys[%d]: %w", i, err))
			continue
		}
		key.index = i
		set.keys = append(set.keys, key)
	}
	set.index()
	if len(set.keys) == 0 {
		if len(set.leftOut) > 0 {
			return nil, fmt.Errorf("%w: %w", errNoKeys, set.leftOut[0])
		}
		return nil, errNoKeys
	}
	return set, nil
}

// index fills byID, and leaves out the keys that share an id.
func (s *keySet) index() {
	count := make(map[string]int, len(s.keys))
	for _, key := range s.keys {
		count[key.id]++
	}
	unique := s.keys[:0]
	for _, key := range s.keys {
		if key.id != "" && count[key.id] > 1 {
			s.leftOut = append(s.leftOut, fmt.Errorf("keys[%d]: %d keys have its kid", key.index, count[key.id]))
			continue
		}
		unique = append(unique, key)
		if key.id != "" {
			s.byID[key.id] = key
		}
	}
	s.keys = unique
}

// find returns the key for a token: the one of its `kid`, or for a token without one, the only key that is
// for its algorithm. A token's kid is never passed over, not even when there is one key only.
func (s *keySet) find(t *token) (*key, error) {
	if t.keyID != "" {
		key, ok := s.byID[t.keyID]
		if !ok {
			return nil, errUnknownKey
		}
		if !key.fits(t.algorithm) {
			return nil, errKeyMisfit
		}
		return key, nil
	}
	var found *key
	for _, key := range s.keys {
		if !key.fits(t.algorithm) {
			continue
		}
		if found != nil {
			return nil, errWhichKey
		}
		found = key
	}
	if found == nil {
		return nil, errWhichKey
	}
	return found, nil
}
