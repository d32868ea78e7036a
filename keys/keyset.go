package keys

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// apiKeySet is keys as they were read. It does not change: what changes in a table is laid over the keys that were there, so
// that one change among a million keys costs no copy of them all.
type apiKeySet struct {
	base, over apiKeyMaps
	keys       int
}

// apiKeyMaps are keys by id and, those of another form, which have no id in them, by hash. nil stands for none, where base
// has one.
type apiKeyMaps struct {
	byID     map[string]*apiKeyEntry
	imported map[[sha256.Size]byte]*apiKeyEntry
}

// maxOver is how many keys are laid over the others before all are put together.
const maxOver = 4096

func (s *apiKeySet) byID(id string) *apiKeyEntry {
	if entry, ok := s.over.byID[id]; ok {
		return entry
	}
	return s.base.byID[id]
}

func (s *apiKeySet) byHash(digest [sha256.Size]byte) *apiKeyEntry {
	if entry, ok := s.over.imported[digest]; ok {
		return entry
	}
	return s.base.imported[digest]
}

// hasImported reports whether there may be keys of another form.
func (s *apiKeySet) hasImported() bool { return len(s.base.imported)+len(s.over.imported) > 0 }

// apiKeyChanges are what was read of a table: each key by its id, nil for one that cannot be read.
type apiKeyChanges struct {
	provider string
	order    []string // ids, as they were read
	entries  map[string]*apiKeyEntry
	faults   map[string]error
}

func newAPIKeyChanges(provider string) *apiKeyChanges {
	return &apiKeyChanges{provider: provider, entries: map[string]*apiKeyEntry{}, faults: map[string]error{}}
}

func (c *apiKeyChanges) add(message *configv1.ApiKeyEntry, fault error) {
	id := message.GetId()
	if fault == nil {
		fault = checkAPIKeyRow(message)
	}
	var entry *apiKeyEntry
	if fault == nil {
		entry, fault = newAPIKeyEntry(c.provider, message)
	}
	if fault != nil {
		c.faults[id], entry = fault, nil
	}
	c.order = append(c.order, id)
	c.entries[id] = entry
}

// checkAPIKeyRow demands of a row what the schema demands of a file.
func checkAPIKeyRow(message *configv1.ApiKeyEntry) error {
	switch {
	case message.GetId() == "":
		return &policy.FieldError{Field: "id", Err: errors.New("it is empty")}
	case message.GetOwner() == "":
		return &policy.FieldError{Field: "owner", Err: errors.New("it is empty")}
	case len(message.GetSecrets()) < 1 || len(message.GetSecrets()) > 2:
		return &policy.FieldError{Field: "secrets", Err: fmt.Errorf("there are %d, and a key has one, or two while it is rotated", len(message.GetSecrets()))}
	}
	for field, list := range map[string][]string{"roles": message.GetRoles(), "scopes": message.GetScopes(), "addresses": message.GetAddresses()} {
		for i, word := range list {
			if word == "" {
				return &policy.FieldError{Field: fmt.Sprintf("%s[%d]", field, i), Err: errors.New("it is empty")}
			}
		}
	}
	return nil
}

// with returns the keys with those changes, and the faults of the rows among them that are no keys.
func (s *apiKeySet) with(changes *apiKeyChanges) (*apiKeySet, map[string]error) {
	next := &apiKeySet{base: s.base, keys: s.keys}
	next.over = apiKeyMaps{maps.Clone(s.over.byID), maps.Clone(s.over.imported)}
	if next.over.byID == nil {
		next.over = apiKeyMaps{map[string]*apiKeyEntry{}, map[[sha256.Size]byte]*apiKeyEntry{}}
	}
	for _, id := range changes.order { // first what goes, so that the order of what comes matters less
		if before := s.byID(id); before != nil {
			next.keys--
			for _, secret := range before.importedSecrets() {
				next.over.imported[secret.digest] = nil
			}
		}
		next.over.byID[id] = nil
	}
	for _, id := range changes.order {
		entry := changes.entries[id]
		for _, secret := range entry.importedSecrets() {
			if next.byHash(secret.digest) != nil {
				changes.faults[id], entry = errSameSecret, nil
			}
		}
		if entry == nil {
			continue
		}
		next.keys++
		next.over.byID[id] = entry
		for _, secret := range entry.importedSecrets() {
			next.over.imported[secret.digest] = entry
		}
	}
	if len(next.over.byID) > maxOver {
		next.base, next.over = next.together(), apiKeyMaps{}
	}
	return next, changes.faults
}

// errSameSecret is the fault of all but one of those keys: which of them it would be is nobody's to guess.
var errSameSecret = errors.New("another imported key has the same secret")

// together lays over over base.
func (s *apiKeySet) together() apiKeyMaps {
	if s.base.byID == nil {
		return s.over
	}
	all := apiKeyMaps{maps.Clone(s.base.byID), maps.Clone(s.base.imported)}
	maps.Copy(all.byID, s.over.byID)
	maps.DeleteFunc(all.byID, func(_ string, entry *apiKeyEntry) bool { return entry == nil })
	maps.Copy(all.imported, s.over.imported)
	maps.DeleteFunc(all.imported, func(_ [sha256.Size]byte, entry *apiKeyEntry) bool { return entry == nil })
	return all
}
