package keys_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// keyTable is a table of keys in memory.
type keyTable struct {
	mu      sync.Mutex
	rows    map[string]*configv1.ApiKeyEntry
	changed map[string]int64
	change  int64
	epoch   int
	faults  map[string]error // of rows
	lost    error            // of the database
	hang    chan struct{}    // Read and RecordUse wait for it; nil: they do not
	reads   int              // of all rows
	open    int              // connections
	uses    []map[string]time.Time
}

func newKeyTable() *keyTable {
	return &keyTable{rows: map[string]*configv1.ApiKeyEntry{}, changed: map[string]int64{}, faults: map[string]error{}, epoch: 1}
}

func (k *keyTable) set(entries ...*configv1.ApiKeyEntry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.change++
	for _, entry := range entries {
		k.rows[entry.GetId()], k.changed[entry.GetId()] = entry, k.change
	}
}

func (k *keyTable) remove(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.rows, id)
	k.epoch++
}

func (k *keyTable) lose(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lost = err
}

func (k *keyTable) connect() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lost == nil {
		k.open++
	}
	return k.lost
}

func (k *keyTable) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open--
}

func (k *keyTable) wait(ctx context.Context) error {
	k.mu.Lock()
	hang := k.hang
	k.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost
}

func (k *keyTable) Read(ctx context.Context, since keys.TableState, row func(*configv1.ApiKeyEntry, error)) (keys.TableState, bool, error) {
	if err := k.wait(ctx); err != nil {
		return since, false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := keys.TableState{Epoch: fmt.Sprint(k.epoch), Change: k.change}
	whole := now.Epoch != since.Epoch || now.Change < since.Change
	if whole {
		k.reads++
	}
	for _, id := range slices.Sorted(maps.Keys(k.rows)) {
		if whole || k.changed[id] > since.Change {
			row(k.rows[id], k.faults[id])
		}
	}
	return now, whole, nil
}

func (k *keyTable) RecordUse(ctx context.Context, uses map[string]time.Time) error {
	if err := k.wait(ctx); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.uses = append(k.uses, maps.Clone(uses))
	return nil
}

// recorded returns the uses that were written, in the order of the writes.
func (k *keyTable) recorded() []map[string]time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.uses)
}

// tableProvider compiles a provider of those keys, which are good for a minute without the database.
func tableProvider(t testing.TB, store *keys.Store, table *keyTable) *keys.Provider {
	t.Helper()
	provider, err := store.Provider(&configv1.Provider{Name: "partners", Kind: &configv1.Provider_ApiKey{ApiKey: &configv1.ApiKey{
		Header: "x-api-key", RecordUse: true, Store: &configv1.ApiKeyStore{
			Source: &configv1.ApiKeyStore_Sqlite{Sqlite: &configv1.ApiKeySqlite{}}, MaxAge: durationpb.New(time.Minute),
		},
	}}}, keys.Files{KeyTable: func(*configv1.ApiKeyStore) (keys.Table, error) {
		return keys.Table{
			ID: table, Source: "memory",
			Reader:   func(context.Context) (keys.TableReader, error) { return table, table.connect() },
			Recorder: func(context.Context) (keys.UseRecorder, error) { return table, table.connect() },
		}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

// followed runs a test in a bubble, beside a store that follows a table.
func followed(t *testing.T, table *keyTable, test func(t *testing.T, store *keys.Store, auth *keys.Authenticator)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t, keys.Options{Now: time.Now})
		auth := keys.NewAuthenticator([]*keys.Provider{tableProvider(t, store, table)})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := store.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		test(t, store, auth)
		cancel()
		running.Wait()
		if table.open != 0 {
			t.Errorf("%d connections are left open", table.open)
		}
	})
}

// mustAnswer demands a reason, NoReason for a key that is accepted.
func mustAnswer(t *testing.T, auth *keys.Authenticator, what, key string, want policy.Reason) {
	t.Helper()
	outcome, err := auth.Evaluate(t.Context(), withHeader("x-api-key", key), &policy.Principal{})
	got := outcome.Reason
	var fault *policy.StageError
	switch {
	case errors.As(err, &fault):
		got = fault.Reason
	case err != nil:
		t.Fatalf("%s: %v", what, err)
	case outcome.Verdict == policy.Passed:
		got = policy.NoReason
	}
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func keyEntry(t testing.TB) (key string, entry *configv1.ApiKeyEntry) {
	t.Helper()
	key, id := newAPIKey(t)
	return key, &configv1.ApiKeyEntry{Id: id, Owner: "acme", Secrets: []*configv1.ApiKeySecret{secretOf(key)}}
}

// TestKeyTableIsFollowed: what changes in the table is in force after the next poll, and only that is read.
func TestKeyTableIsFollowed(t *testing.T) {
	table := newKeyTable()
	first, firstEntry := keyEntry(t)
	table.set(firstEntry)
	followed(t, table, func(t *testing.T, store *keys.Store, auth *keys.Authenticator) {
		mustAnswer(t, auth, "the first key", first, policy.NoReason)
		second, secondEntry := keyEntry(t)
		mustAnswer(t, auth, "a key to come", second, policy.UnknownKey)
		foreign := "sk-from-another-service-0123456789"
		table.set(secondEntry, &configv1.ApiKeyEntry{Id: "legacy", Owner: "old", Imported: true, Secrets: []*configv1.ApiKeySecret{secretOf(foreign)}})
		time.Sleep(time.Second)
		mustAnswer(t, auth, "the second key", second, policy.NoReason)
		mustAnswer(t, auth, "an imported key", foreign, policy.NoReason)
		mustAnswer(t, auth, "the first key still", first, policy.NoReason)

		table.set(&configv1.ApiKeyEntry{Id: firstEntry.GetId(), Owner: "acme", Secrets: firstEntry.GetSecrets(), Revoked: "2026-01-01T00:00:00Z"},
			&configv1.ApiKeyEntry{Id: "legacy", Owner: "old", Imported: true, Secrets: []*configv1.ApiKeySecret{secretOf(second)}})
		time.Sleep(time.Second)
		mustAnswer(t, auth, "the revoked key", first, policy.Revoked)
		mustAnswer(t, auth, "the secret that the imported key had", foreign, policy.UnknownKey)
		if table.reads != 1 {
			t.Errorf("the table was read whole %d times", table.reads)
		}
		table.remove(secondEntry.GetId())
		table.remove("legacy")
		time.Sleep(time.Second)
		mustAnswer(t, auth, "the removed key", second, policy.UnknownKey)
		if status := store.Tables(); len(status) != 1 || status[0].Keys != 1 || status[0].Broken != 0 || status[0].Expired || status[0].Err != nil {
			t.Errorf("%+v", status)
		}
		for n := range 3 { // more than are laid over the others
			var many []*configv1.ApiKeyEntry
			for i := range 3000 {
				many = append(many, &configv1.ApiKeyEntry{Id: fmt.Sprintf("k%d-%d", n, i), Owner: "many", Secrets: firstEntry.GetSecrets()})
			}
			table.set(many...)
			time.Sleep(time.Second)
		}
		if status := store.Tables(); status[0].Keys != 9001 || table.reads != 3 && table.reads != 2 {
			t.Errorf("%+v after %d whole reads", status, table.reads)
		}
		mustAnswer(t, auth, "the revoked key under many", first, policy.Revoked)
	})
}

// TestBrokenRows: a row that is no key is refused, whatever it was before, and the others are taken all the same.
func TestBrokenRows(t *testing.T) {
	for name, breaks := range map[string]func(*configv1.ApiKeyEntry, *keyTable){
		"unreadable":         func(e *configv1.ApiKeyEntry, k *keyTable) { k.faults[e.GetId()] = errors.New("no JSON") },
		"no owner":           func(e *configv1.ApiKeyEntry, _ *keyTable) { e.Owner = "" },
		"no secret":          func(e *configv1.ApiKeyEntry, _ *keyTable) { e.Secrets = nil },
		"three secrets":      func(e *configv1.ApiKeyEntry, _ *keyTable) { e.Secrets = append(e.Secrets, e.Secrets[0], e.Secrets[0]) },
		"no hash":            func(e *configv1.ApiKeyEntry, _ *keyTable) { e.Secrets[0].Sha256 = "" },
		"half a hash":        func(e *configv1.ApiKeyEntry, _ *keyTable) { e.Secrets[0].Sha256 = e.Secrets[0].Sha256[:32] },
		"a hash and more":    func(e *configv1.ApiKeyEntry, _ *keyTable) { e.Secrets[0].Sha256 += "00" },
		"a hash and half":    func(e *configv1.ApiKeyEntry, _ *keyTable) { e.Secrets[0].Sha256 += "0" },
		"a long hash":        func(e *configv1.ApiKeyEntry, _ *keyTable) { e.Secrets[0].Sha256 = strings.Repeat("ab", 450) },
		"an expiry to guess": func(e *configv1.ApiKeyEntry, _ *keyTable) { e.Expires = "tomorrow" },
		"an end to guess":    func(e *configv1.ApiKeyEntry, _ *keyTable) { e.Revoked = "yes" },
		"an address":         func(e *configv1.ApiKeyEntry, _ *keyTable) { e.Addresses = []string{"everywhere"} },
		"an empty address":   func(e *configv1.ApiKeyEntry, _ *keyTable) { e.Addresses = []string{""} },
		"an empty role":      func(e *configv1.ApiKeyEntry, _ *keyTable) { e.Roles = []string{""} },
	} {
		t.Run(name, func(t *testing.T) {
			table := newKeyTable()
			key, entry := keyEntry(t)
			other, otherEntry := keyEntry(t)
			table.set(entry, otherEntry)
			followed(t, table, func(t *testing.T, store *keys.Store, auth *keys.Authenticator) {
				mustAnswer(t, auth, "before", key, policy.NoReason)
				next := &configv1.ApiKeyEntry{Id: entry.GetId(), Owner: "acme", Secrets: []*configv1.ApiKeySecret{secretOf(key)}}
				table.mu.Lock()
				breaks(next, table)
				table.mu.Unlock()
				table.set(next, &configv1.ApiKeyEntry{Id: otherEntry.GetId(), Owner: "acme", Secrets: otherEntry.GetSecrets(), Revoked: "2026-01-01T00:00:00Z"})
				time.Sleep(time.Second)
				mustAnswer(t, auth, "the broken one", key, policy.UnknownKey)
				mustAnswer(t, auth, "one that was revoked beside it", other, policy.Revoked)
				if status := store.Tables()[0]; status.Broken != 1 || status.Keys != 1 {
					t.Errorf("%+v", status)
				}
				clear(table.faults)
				table.set(entry)
				time.Sleep(time.Second)
				mustAnswer(t, auth, "mended", key, policy.NoReason)
				if status := store.Tables()[0]; status.Broken != 0 || status.Keys != 2 {
					t.Errorf("mended: %+v", status)
				}
			})
		})
	}
}

// TestLostKeyDatabase: the last keys are good for as long as is configured, and for nobody after that.
func TestLostKeyDatabase(t *testing.T) {
	table := newKeyTable()
	key, entry := keyEntry(t)
	table.set(entry)
	followed(t, table, func(t *testing.T, store *keys.Store, auth *keys.Authenticator) {
		table.lose(errors.New("connection refused"))
		time.Sleep(50 * time.Second)
		mustAnswer(t, auth, "a key in time", key, policy.NoReason)
		if status := store.Tables()[0]; status.Err == nil || status.Expired {
			t.Errorf("%+v", status)
		}
		time.Sleep(11 * time.Second)
		mustAnswer(t, auth, "a key too late", key, policy.Unavailable)
		mustAnswer(t, auth, "a key that there never was", func() string { key, _ := newAPIKey(t); return key }(), policy.Unavailable)
		if status := store.Tables()[0]; !status.Expired || time.Since(status.Read) < time.Minute {
			t.Errorf("%+v", status)
		}
		reads := table.reads
		revoked := &configv1.ApiKeyEntry{Id: entry.GetId(), Owner: "acme", Secrets: entry.GetSecrets(), Revoked: "2026-01-01T00:00:00Z"}
		table.set(revoked)
		table.lose(nil)
		time.Sleep(6 * time.Second)
		mustAnswer(t, auth, "a key that was revoked meanwhile", key, policy.Revoked)
		if table.reads != reads+1 { // another server may answer now, whose changes were counted otherwise
			t.Errorf("after a lost connection the table was read whole %d times", table.reads-reads)
		}

		// A database that answers no more is no better than one that is gone.
		hang := make(chan struct{})
		table.mu.Lock()
		table.hang = hang
		table.mu.Unlock()
		time.Sleep(61 * time.Second)
		mustAnswer(t, auth, "a key of a database that hangs", key, policy.Unavailable)
		close(hang)
	})
}

// TestKeyDatabaseThatWasNeverThere: nobody is let in, nobody waits for long, and an edge that must not wait is told so.
func TestKeyDatabaseThatWasNeverThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newKeyTable()
		key, entry := keyEntry(t)
		table.set(entry)
		table.hang = make(chan struct{})
		store := newStore(t, keys.Options{Now: time.Now})
		auth := keys.NewAuthenticator([]*keys.Provider{tableProvider(t, store, table)})
		mustAnswer(t, auth, "before Run", key, policy.Unavailable)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = store.Run(ctx) })
		synctest.Wait()
		req := withHeader("x-api-key", key)
		req.NoWait = true
		if _, err := auth.Evaluate(t.Context(), req, &policy.Principal{}); !errors.Is(err, policy.ErrWouldWait) {
			t.Errorf("who must not wait gets %v", err)
		}
		deadline, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		if _, err := auth.Evaluate(deadline, withHeader("x-api-key", key), &policy.Principal{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at the deadline it is %v", err)
		}
		waited := make(chan struct{})
		go func() {
			defer close(waited)
			mustAnswer(t, auth, "who waits for the first read", key, policy.NoReason)
		}()
		synctest.Wait()
		close(table.hang)
		<-waited
		cancel()
		running.Wait()
	})
}

// TestLastUse: a use is recorded at most once in a minute, in the background, and no request minds a recorder that fails.
func TestLastUse(t *testing.T) {
	table := newKeyTable()
	key, entry := keyEntry(t)
	unused, unusedEntry := keyEntry(t)
	unusedEntry.Revoked = "2026-01-01T00:00:00Z"
	table.set(entry, unusedEntry)
	followed(t, table, func(t *testing.T, _ *keys.Store, auth *keys.Authenticator) {
		for range 1000 {
			mustAnswer(t, auth, "a key", key, policy.NoReason)
		}
		mustAnswer(t, auth, "a revoked key", unused, policy.Revoked)
		time.Sleep(11 * time.Second)
		if uses := table.recorded(); len(uses) != 1 || len(uses[0]) != 1 || uses[0][entry.GetId()].IsZero() {
			t.Fatalf("recorded: %v", uses)
		}
		mustAnswer(t, auth, "a key, in the same minute", key, policy.NoReason)
		time.Sleep(time.Minute)
		if uses := table.recorded(); len(uses) != 1 {
			t.Errorf("an unused key, or one minute twice, is recorded: %v", uses)
		}
		mustAnswer(t, auth, "a key", key, policy.NoReason)
		time.Sleep(11 * time.Second)
		if uses := table.recorded(); len(uses) != 2 {
			t.Errorf("a second minute is not recorded: %v", uses)
		}
		table.lose(errors.New("read-only"))
		time.Sleep(50 * time.Second)
		mustAnswer(t, auth, "a key whose use cannot be recorded", key, policy.NoReason)
		time.Sleep(5 * time.Second)
		mustAnswer(t, auth, "and again", key, policy.NoReason)
	})
}

// TestRecorderThatHangs: no request waits for it, however many keys are used.
func TestRecorderThatHangs(t *testing.T) {
	table := newKeyTable()
	var all []string
	for range 6000 { // more than wait for the recorder
		key, entry := keyEntry(t)
		table.set(entry)
		all = append(all, key)
	}
	followed(t, table, func(t *testing.T, _ *keys.Store, auth *keys.Authenticator) {
		mustAnswer(t, auth, "a key", all[0], policy.NoReason)
		table.mu.Lock()
		table.hang = make(chan struct{})
		table.mu.Unlock()
		time.Sleep(15 * time.Second) // the recorder hangs now, and so does the reader
		begun := time.Now()
		for _, key := range all {
			mustAnswer(t, auth, "a key", key, policy.NoReason)
		}
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("requests waited %v", waited)
		}
	})
}

// TestRetainKeyTables: a reload that names the same table goes on with it, and one that does not ends it.
func TestRetainKeyTables(t *testing.T) {
	table := newKeyTable()
	key, entry := keyEntry(t)
	table.set(entry)
	followed(t, table, func(t *testing.T, store *keys.Store, _ *keys.Authenticator) {
		again := tableProvider(t, store, table)
		store.Retain([]*keys.Provider{again})
		mustAnswer(t, keys.NewAuthenticator([]*keys.Provider{again}), "a key after a reload", key, policy.NoReason)
		if table.reads != 1 || len(store.Tables()) != 1 {
			t.Errorf("%d whole reads, %+v", table.reads, store.Tables())
		}
		store.Retain(nil)
		synctest.Wait()
		table.mu.Lock()
		defer table.mu.Unlock()
		if table.open != 0 || len(store.Tables()) != 0 {
			t.Errorf("%d connections, %+v", table.open, store.Tables())
		}
	})
}

// THREATS a.6: an empty secret, an empty hash and the hash of nothing never match, in a file or in a table.
func TestEmptySecretsNeverMatch(t *testing.T) {
	key, entry := keyEntry(t)
	sent := []string{"", " ", strings.Repeat("0", 64), "kb_live__", "kb_live_" + entry.GetId() + "_", "_", "\x00", keys.HashAPIKey("")}
	for name, hash := range map[string]string{
		"no hash": "", "zeros": strings.Repeat("0", 64), "of nothing": keys.HashAPIKey(""), "spaces": strings.Repeat(" ", 64), "of its own id": keys.HashAPIKey(entry.GetId()),
	} {
		for _, imported := range []bool{false, true} {
			row := &configv1.ApiKeyEntry{Id: entry.GetId(), Owner: "acme", Imported: imported, Secrets: []*configv1.ApiKeySecret{{Sha256: hash}}}
			table := newKeyTable()
			table.set(row)
			followed(t, table, func(t *testing.T, _ *keys.Store, auth *keys.Authenticator) {
				for _, text := range append(sent, key) {
					outcome, err := auth.Evaluate(t.Context(), withHeader("x-api-key", text), &policy.Principal{})
					if err == nil && outcome.Verdict != policy.Denied {
						t.Errorf("%s, imported %t: %q is accepted from a table", name, imported, text)
					}
				}
			})
			store := newStore(t, keys.Options{Now: time.Now})
			provider, err := apiKeyProvider(store, "x-api-key", row)
			if err != nil {
				continue // the file is refused
			}
			auth := keys.NewAuthenticator([]*keys.Provider{provider})
			for _, text := range append(sent, key) {
				outcome, err := auth.Evaluate(t.Context(), withHeader("x-api-key", text), &policy.Principal{})
				if err == nil && outcome.Verdict != policy.Denied {
					t.Errorf("%s, imported %t: %q is accepted from a file", name, imported, text)
				}
			}
		}
	}
}

// Two imported keys with one secret: whose it is is nobody's to guess.
func TestImportedKeysOfOneSecret(t *testing.T) {
	foreign := "sk-from-another-service-0123456789"
	entry := func(id string) *configv1.ApiKeyEntry {
		return &configv1.ApiKeyEntry{Id: id, Owner: id, Imported: true, Secrets: []*configv1.ApiKeySecret{secretOf(foreign)}}
	}
	if _, err := apiKeyProvider(newStore(t, keys.Options{Now: time.Now}), "x-api-key", entry("a"), entry("b")); err == nil || !strings.Contains(err.Error(), "same secret") {
		t.Errorf("in a file: %v", err)
	}
	table := newKeyTable()
	table.set(entry("a"))
	followed(t, table, func(t *testing.T, store *keys.Store, auth *keys.Authenticator) {
		table.set(entry("b"))
		time.Sleep(time.Second)
		outcome, err := auth.Evaluate(t.Context(), withHeader("x-api-key", foreign), &policy.Principal{})
		if err != nil || outcome.Principal == nil || outcome.Principal.ID != "a" || store.Tables()[0].Broken != 1 {
			t.Errorf("in a table: %+v, %v, %+v", outcome, err, store.Tables())
		}
	})
}
