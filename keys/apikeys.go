package keys

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// challengeAPIKey names no registered scheme, because none is for API keys; a status of 401 must have a challenge all the
// same (RFC 9110, section 15.5.2).
const challengeAPIKey = `ApiKey realm="kasbah"`

// apiKeys are where the keys of one provider are.
type apiKeys struct {
	now   func() time.Time
	set   *apiKeySet // of a file; nil: table has them
	table *keyTable
}

// current returns the keys in force. The error is policy.ErrWouldWait, a *policy.StageError, or wraps the context's.
func (k *apiKeys) current(ctx context.Context, noWait bool) (*apiKeySet, error) {
	if k.set != nil {
		return k.set, nil
	}
	return k.table.current(ctx, noWait)
}

type apiKeyEntry struct {
	id        string
	imported  bool // it is of another form, and looked up by its hash
	secrets   []apiKeySecretEntry
	revoked   time.Time // zero: never
	addresses []netip.Prefix
	used      atomic.Int64 // the minute of the last use that was noted
}

// importedSecrets are the secrets that the key is looked up by; none of a key of our form.
func (e *apiKeyEntry) importedSecrets() []apiKeySecretEntry {
	if e == nil || !e.imported {
		return nil
	}
	return e.secrets
}

type apiKeySecretEntry struct {
	digest    [sha256.Size]byte
	principal *policy.Principal // whose Expires is that of the secret; zero: never
}

// apiKeyMethod is the method of API keys.
type apiKeyMethod struct{ provider *Provider }

func (*apiKeyMethod) challenge(policy.Reason) string { return challengeAPIKey }

func (m *apiKeyMethod) authenticate(ctx context.Context, req *policy.Request) (*policy.Principal, *Provider, error) {
	key, err := m.provider.from.read(req)
	if err != nil {
		return nil, nil, err
	}
	keys := m.provider.apiKeys
	set, err := keys.current(ctx, req.NoWait)
	if err != nil {
		return nil, nil, err
	}
	now := keys.now()
	entry, principal, err := set.find(key, req.Source.Address, now)
	if err != nil {
		return nil, nil, err
	}
	keys.table.used(entry, now)
	return principal, m.provider, nil
}

// find returns a key that is used from that address now, and its principal. It does the same for a key whose id is known and one
// whose id is not.
func (s *apiKeySet) find(key, address string, now time.Time) (*apiKeyEntry, *policy.Principal, error) {
	if len(key) > maxAPIKey {
		return nil, nil, fmt.Errorf("%w: an API key of %d bytes, longer than the %d that are read", errMalformed, len(key), maxAPIKey)
	}
	digest := sha256.Sum256([]byte(key))
	entry := s.byHash(digest)
	if entry == nil {
		id, ours, err := splitAPIKey(key)
		if err != nil && (ours || !s.hasImported()) {
			return nil, nil, err
		}
		entry = s.byID(id)
		if entry != nil && entry.imported {
			entry = nil
		}
	}
	if entry == nil {
		entry = &nobody
	}
	var found *policy.Principal
	for i := range entry.secrets {
		if subtle.ConstantTimeCompare(entry.secrets[i].digest[:], digest[:]) == 1 {
			found = entry.secrets[i].principal
		}
	}
	if found == nil {
		return nil, nil, errUnknownAPIKey
	}
	switch {
	case !entry.revoked.IsZero():
		return nil, nil, errAPIKeyRevoked
	case !found.Expires.IsZero() && !now.Before(found.Expires):
		return nil, nil, errAPIKeyExpired
	case !entry.allows(address):
		return nil, nil, errAPIKeyAddress
	}
	return entry, found, nil
}

// nobody is compared with where there is no entry. Its principal is nil, so that not even a key that hashes to nothing but
// zeros is accepted.
var nobody = apiKeyEntry{secrets: []apiKeySecretEntry{{}}}

// allows reports whether the key may be used from that address.
func (e *apiKeyEntry) allows(address string) bool {
	return len(e.addresses) == 0 || within(e.addresses, address)
}

// apiKeyProvider reads a provider's keys, or says which table has them.
func (s *Store) apiKeyProvider(name string, cfg *configv1.ApiKey, files Files) (*apiKeys, error) {
	store := cfg.GetStore()
	if store.GetPostgres() != nil || store.GetSqlite() != nil {
		return s.apiKeyTable(name, cfg, files)
	}
	if files.APIKeys == nil || store.GetFile() == "" {
		return nil, &policy.FieldError{Field: "api_key.store", Err: errors.New("say where the keys are: file, postgres or sqlite")}
	}
	list, place, err := files.APIKeys(store.GetFile())
	if err != nil {
		return nil, &policy.FieldError{Field: "api_key.store.file", Err: err}
	}
	set, err := readAPIKeys(name, list)
	if err != nil {
		return nil, place(err)
	}
	return &apiKeys{now: s.now, set: set}, nil
}

func (s *Store) apiKeyTable(name string, cfg *configv1.ApiKey, files Files) (*apiKeys, error) {
	if files.KeyTable == nil {
		return nil, &policy.FieldError{Field: "api_key.store", Err: errors.New("databases are not read here")}
	}
	table, err := files.KeyTable(cfg.GetStore())
	if err != nil {
		return nil, &policy.FieldError{Field: "api_key.store", Err: err}
	}
	poll := cfg.GetStore().GetPostgres().GetPoll()
	if cfg.GetStore().GetSqlite() != nil {
		poll = cfg.GetStore().GetSqlite().GetPoll()
	}
	id := tableID{
		table: table.ID, provider: name, recordUse: cfg.GetRecordUse(),
		poll: duration(poll, defaultKeyPoll), maxAge: duration(cfg.GetStore().GetMaxAge(), defaultKeyAge),
	}
	return &apiKeys{now: s.now, table: s.keyTable(id, table, name)}, nil
}

// CheckAPIKeys returns what is wrong with a file of keys beyond its form, as a [*policy.FieldError].
func CheckAPIKeys(list *configv1.ApiKeyFile) error {
	_, err := readAPIKeys("", list)
	return err
}

func readAPIKeys(provider string, list *configv1.ApiKeyFile) (*apiKeySet, error) {
	all := apiKeyMaps{map[string]*apiKeyEntry{}, map[[sha256.Size]byte]*apiKeyEntry{}}
	seen := map[string]int{}
	for i, message := range list.GetKeys() {
		prefix := fmt.Sprintf("keys[%d]", i)
		if first, ok := seen[message.GetId()]; ok {
			return nil, &policy.FieldError{Field: prefix + ".id", Err: fmt.Errorf("a second key with this id; the first is keys[%d]", first)}
		}
		seen[message.GetId()] = i
		entry, err := newAPIKeyEntry(provider, message)
		if err != nil {
			return nil, &policy.FieldError{Field: prefix, Err: err}
		}
		all.byID[message.GetId()] = entry
		for _, secret := range entry.importedSecrets() {
			if all.imported[secret.digest] != nil {
				return nil, &policy.FieldError{Field: prefix + ".secrets", Err: errSameSecret}
			}
			all.imported[secret.digest] = entry
		}
	}
	return &apiKeySet{base: all, keys: len(all.byID)}, nil
}

func newAPIKeyEntry(provider string, message *configv1.ApiKeyEntry) (*apiKeyEntry, error) {
	entry := &apiKeyEntry{id: message.GetId(), imported: message.GetImported()}
	expires, err := readInstant("expires", message.GetExpires())
	if err != nil {
		return nil, err
	}
	if entry.revoked, err = readInstant("revoked", message.GetRevoked()); err != nil {
		return nil, err
	}
	for i, text := range message.GetAddresses() {
		block, err := readBlock(text)
		if err != nil {
			return nil, &policy.FieldError{Field: fmt.Sprintf("addresses[%d]", i), Err: err}
		}
		entry.addresses = append(entry.addresses, block)
	}
	for i, secretMessage := range message.GetSecrets() {
		field := fmt.Sprintf("secrets[%d]", i)
		until, err := readInstant(field+".expires", secretMessage.GetExpires())
		if err != nil {
			return nil, err
		}
		if until.IsZero() || !expires.IsZero() && expires.Before(until) {
			until = expires
		}
		secret := apiKeySecretEntry{principal: &policy.Principal{
			ID: message.GetOwner(), Provider: provider, Subject: message.GetOwner(),
			Roles: message.GetRoles(), Scopes: message.GetScopes(), Expires: until,
			Claims: map[string]any{"key_id": message.GetId()},
		}}
		digest, err := hex.DecodeString(secretMessage.GetSha256())
		if err != nil || len(digest) != sha256.Size {
			return nil, &policy.FieldError{Field: field + ".sha256", Err: errors.New("no SHA-256 in hexadecimal")}
		}
		secret.digest = [sha256.Size]byte(digest)
		entry.secrets = append(entry.secrets, secret)
	}
	return entry, nil
}

// readInstant reads a time (RFC 3339, section 5.6); an absent one is the zero time.
func readInstant(field, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.IsZero() {
		return time.Time{}, &policy.FieldError{Field: field, Err: fmt.Errorf("%q is no time such as 2027-01-01T00:00:00Z", text)}
	}
	return at, nil
}

// readBlock reads an address, or a block of them.
func readBlock(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	block, err := netip.ParsePrefix(text)
	if err != nil || block.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is neither an IP address nor a block such as 10.0.0.0/8", text)
	}
	if block != block.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits set behind its length; write %v", text, block.Masked())
	}
	return block, nil
}
