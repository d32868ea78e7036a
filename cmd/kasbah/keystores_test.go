package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystore"
	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/proto/config"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// TestWritersOfAFile: keys that are made, rotated and revoked at the same time are all there afterwards.
func TestWritersOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api-keys.yaml")
	link := filepath.Join(t.TempDir(), "link.yaml")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	const writers, rounds = 6, 5
	made := make(chan string, 2*writers*rounds)
	run := func(args ...string) string {
		var out, talk bytes.Buffer
		if code := run(t.Context(), append([]string{"keys"}, args...), streams{strings.NewReader(""), &out, &talk}); code != exitOK {
			t.Errorf("kasbah keys %v exits with %d: %s", args, code, &talk)
		}
		return strings.TrimSpace(out.String())
	}
	run("create", "--file", path, "--owner", "first")
	var group sync.WaitGroup
	for w := range writers {
		file := []string{path, link}[w%2]
		group.Go(func() {
			for range rounds {
				id := strings.Split(run("create", "--file", file, "--owner", "acme")+"___", "_")[2]
				made <- keys.HashAPIKey(run("rotate", "--file", file, "--grace", "0s", id))
			}
		})
	}
	group.Wait()
	close(made)
	store := &keyFile{path: path}
	there := map[string]bool{}
	if err := store.List(t.Context(), func(entry *configv1.ApiKeyEntry, _ string) error {
		for _, secret := range entry.GetSecrets() {
			there[secret.GetSha256()] = true
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for hash := range made {
		if !there[hash] {
			t.Error("a key that was shown is not in the file")
		}
	}
	if len(there) != 1+writers*rounds {
		t.Errorf("the file has %d secrets", len(there))
	}
}

// clockAt is when the first of the steps of TestStoresAgree happens.
var clockAt = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// triedStore is one store of a check, with the secrets that it gave out.
type triedStore struct {
	open func() (keyStore, error)
	// provider compiles a provider that reads the store as it is now.
	provider func(*keys.Store) (*keys.Provider, error)
	ids      map[int]string         // of the keys of the model
	secrets  map[int]map[int]string // of each key, in the order that they were made in
}

// modelKey is a key of the plain model: when each of its secrets ends, the zero time for never, and whether it was revoked.
type modelKey struct {
	expires  time.Time
	ends     map[int]time.Time
	last     int
	revoked  bool
	imported bool
}

func (m *modelKey) answer(secret int, now time.Time) policy.Reason {
	end, known := m.ends[secret]
	switch {
	case !known:
		return policy.UnknownKey
	case m.revoked:
		return policy.Revoked
	case !end.IsZero() && !now.Before(end), !m.expires.IsZero() && !now.Before(m.expires):
		return policy.Expired
	}
	return policy.NoReason
}

// TestStoresAgree: whatever is done with keys, a file, SQLite, PostgreSQL and a plain model answer the same to every secret that
// there ever was.
func TestStoresAgree(t *testing.T) {
	dsn, folder, checks := envoytest.RunPostgres(t).DSN(), t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		checks++
		stores := map[string]*triedStore{
			"file":     fileStore(filepath.Join(folder, fmt.Sprintf("%d.yaml", checks))),
			"sqlite":   tableStore(t, keystore.Config{SQLite: filepath.Join(folder, fmt.Sprintf("%d.db", checks)), Table: keystore.DefaultName}),
			"postgres": tableStore(t, keystore.Config{Postgres: dsn, Table: fmt.Sprintf("keys_%d", checks)}),
		}
		var model []*modelKey
		now := clockAt
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "minutes")) * time.Minute)
			step(t, stores, &model, now)
		}
		for name, s := range stores {
			s.mustAgree(t, name, model, now)
		}
	})
}

// step does one thing to every store and to the model.
func step(t *rapid.T, stores map[string]*triedStore, model *[]*modelKey, now time.Time) {
	verb := rapid.SampledFrom([]string{"create", "create", "import", "rotate", "revoke"}).Draw(t, "verb")
	at := len(*model)
	c := keyCommand{verb: verb, owner: "acme", environment: "live", now: now, file: "the store"}
	c.grace = time.Duration(rapid.IntRange(0, 2).Draw(t, "grace")) * 30 * time.Minute
	foreign := fmt.Sprintf("sk-from-another-service-%06d", at)
	var key *modelKey
	switch verb {
	case "create", "import":
		key = &modelKey{ends: map[int]time.Time{0: {}}, imported: verb == "import"}
		if rapid.Bool().Draw(t, "expires") {
			key.expires = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "for")) * 30 * time.Minute)
			c.expires = key.expires.Format(time.RFC3339)
		}
		*model = append(*model, key)
	default:
		if at == 0 {
			return
		}
		at = rapid.IntRange(0, at-1).Draw(t, "key")
		key = (*model)[at]
	}
	refused := verb == "rotate" && (key.revoked || key.imported)
	for name, s := range stores {
		command := c
		if verb == "import" {
			command.id = fmt.Sprint("legacy-", at)
		} else {
			command.id = s.ids[at]
		}
		store, err := s.open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		shown, err := command.change(context.Background(), store, strings.NewReader(foreign))
		store.Close()
		if (err != nil) != refused {
			t.Fatalf("%s: %s is %v", name, verb, err)
		}
		switch {
		case err != nil || verb == "revoke":
		case verb == "rotate":
			s.secrets[at][key.last+1] = shown
		case verb == "import":
			s.ids[at], s.secrets[at] = command.id, map[int]string{0: foreign}
		default:
			s.ids[at], s.secrets[at] = strings.Split(shown, "_")[2], map[int]string{0: shown}
		}
	}
	switch {
	case verb == "revoke":
		key.revoked = true
	case verb == "rotate" && !refused:
		maps.DeleteFunc(key.ends, func(secret int, _ time.Time) bool { return secret != key.last || c.grace == 0 })
		if c.grace > 0 {
			key.ends[key.last] = now.Add(c.grace)
		}
		key.last++
		key.ends[key.last] = time.Time{}
	}
}

// mustAgree asks for every secret that the store ever gave out.
func (s *triedStore) mustAgree(t *rapid.T, name string, model []*modelKey, now time.Time) {
	store, err := keys.NewStore(keys.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	provider, err := s.provider(store)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	auth := keys.NewAuthenticator([]*keys.Provider{provider})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = store.Run(ctx) })
	defer running.Wait()
	defer cancel()
	for slices.ContainsFunc(store.Tables(), func(table keys.TableStatus) bool { return !table.Attempted }) {
		time.Sleep(time.Millisecond)
	}
	for at, key := range model {
		for secret, text := range s.secrets[at] {
			req := &policy.Request{Headers: policy.Headers{{Name: "x-api-key", Value: text}}}
			outcome, err := auth.Evaluate(ctx, req, &policy.Principal{})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got := outcome.Reason
			if outcome.Verdict == policy.Passed {
				got = policy.NoReason
			}
			if want := key.answer(secret, now); got != want {
				t.Fatalf("%s: secret %d of key %d is %v, and the model says %v", name, secret, at, got, want)
			}
		}
	}
}

func newTriedStore() *triedStore {
	return &triedStore{ids: map[int]string{}, secrets: map[int]map[int]string{}}
}

func fileStore(path string) *triedStore {
	s := newTriedStore()
	s.open = func() (keyStore, error) { return &keyFile{path: path, mayBeMissing: true}, nil }
	s.provider = func(store *keys.Store) (*keys.Provider, error) {
		return store.Provider(providerOf(&configv1.ApiKeyStore{Source: &configv1.ApiKeyStore_File{File: path}}), keys.Files{
			APIKeys: func(string) (*configv1.ApiKeyFile, func(error) error, error) {
				data, err := os.ReadFile(path)
				if os.IsNotExist(err) {
					return &configv1.ApiKeyFile{}, nil, nil
				}
				file, findings := config.LoadKeys(path, data)
				if file == nil {
					return nil, nil, findings
				}
				return file.Keys(), func(err error) error { return err }, err
			},
		})
	}
	return s
}

func tableStore(t *rapid.T, at keystore.Config) *triedStore {
	if err := keystore.Init(context.Background(), at); err != nil {
		t.Fatal(err)
	}
	s := newTriedStore()
	s.open = func() (keyStore, error) { return keystore.Open(context.Background(), at) }
	s.provider = func(store *keys.Store) (*keys.Provider, error) {
		return store.Provider(providerOf(&configv1.ApiKeyStore{Source: &configv1.ApiKeyStore_Sqlite{Sqlite: &configv1.ApiKeySqlite{}}}), keys.Files{
			KeyTable: func(*configv1.ApiKeyStore) (keys.Table, error) {
				return keys.Table{ID: at, Source: at.Source(), Reader: func(ctx context.Context) (keys.TableReader, error) { return keystore.Reader(ctx, at) }}, nil
			},
		})
	}
	return s
}

func providerOf(store *configv1.ApiKeyStore) *configv1.Provider {
	return &configv1.Provider{Name: "partners", Kind: &configv1.Provider_ApiKey{ApiKey: &configv1.ApiKey{Header: "x-api-key", Store: store}}}
}
