package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystore"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// revocationServers are a real Redis and a real PostgreSQL; each call of the function names a new store in each, made already.
func revocationServers(t *testing.T) func(t fatal) map[string]keystore.RevocationsAt {
	t.Helper()
	redisURL, dsn, n := envoytest.RunRedis(t).URL(), envoytest.RunPostgres(t).DSN(), 0
	return func(t fatal) map[string]keystore.RevocationsAt {
		n++
		all := map[string]keystore.RevocationsAt{
			"redis":    {Redis: keystore.Redis{URL: redisURL, Prefix: fmt.Sprintf("test%d:", n)}},
			"postgres": {Postgres: keystore.Config{Postgres: dsn, Table: fmt.Sprintf("revoked_%d", n)}},
		}
		for name, at := range all {
			if err := keystore.InitRevocations(context.Background(), at); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		return all
	}
}

func openRevocations(t fatal, at keystore.RevocationsAt) *keystore.Revocations {
	t.Helper()
	store, err := keystore.OpenRevocations(context.Background(), at)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return store
}

// readRevocations reads what changed since that state into all.
func readRevocations(t fatal, store *keystore.Revocations, since keys.RevocationState, all map[keys.RevocationName][]keys.RevocationWindow) (now keys.RevocationState, whole bool) {
	t.Helper()
	read := map[keys.RevocationName][]keys.RevocationWindow{}
	now, whole, err := store.Read(context.Background(), since, func(record keys.Revocation, fault error) {
		if fault != nil {
			t.Fatalf("%v: %v", record.Name, fault)
		}
		read[record.Name] = record.Windows
	})
	if err != nil {
		t.Fatalf("reading: %v", err)
	}
	if whole {
		clear(all)
	}
	maps.Copy(all, read)
	return now, whole
}

func redisClient(t *testing.T, at string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(at)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// TestRevocationsAgree: whatever is withdrawn and taken back, in which order and at which times, Redis, PostgreSQL and a plain model say
// the same of every name, whether they are read at once or change by change.
func TestRevocationsAgree(t *testing.T) {
	t.Parallel()
	stores := revocationServers(t)
	rapid.Check(t, func(t *rapid.T) {
		type tried struct {
			writer, reader *keystore.Revocations
			state          keys.RevocationState
			known          map[keys.RevocationName][]keys.RevocationWindow
		}
		all := map[string]*tried{}
		for name, at := range stores(t) {
			s := &tried{openRevocations(t, at), openRevocations(t, at), keys.RevocationState{}, map[keys.RevocationName][]keys.RevocationWindow{}}
			defer s.writer.Close()
			defer s.reader.Close()
			all[name] = s
		}
		model := map[keys.RevocationName][]keys.RevocationWindow{}
		now := time.Now().UTC().Truncate(time.Second) // PostgreSQL has a clock of its own
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second)
			name := keys.RevocationName{
				Claim: rapid.SampledFrom([]string{"jti", "sid", "sub"}).Draw(t, "claim"), Issuer: rapid.SampledFrom([]string{"", "https://a"}).Draw(t, "issuer"),
				Value: rapid.SampledFrom([]string{"a", "é'\"; DROP\n", "{}"}).Draw(t, "value"),
			}
			if rapid.IntRange(0, 3).Draw(t, "what") == 0 {
				for which, s := range all {
					was, err := s.writer.Remove(context.Background(), name, now)
					if err != nil {
						t.Fatalf("%s: %v", which, err)
					}
					if standing := alive(model[name], now); !was && len(standing) > 0 {
						t.Fatalf("%s: %v of %v are not there to be removed", which, standing, name)
					}
				}
				delete(model, name)
			} else {
				window := keys.RevocationWindow{}
				if rapid.Bool().Draw(t, "dated") {
					window.Before = now.Add(time.Duration(rapid.IntRange(-60, 60).Draw(t, "before")) * time.Second)
				}
				if rapid.Bool().Draw(t, "ends") {
					window.Until = now.Add(time.Duration(rapid.IntRange(1, 120).Draw(t, "until")) * time.Second)
				}
				for which, s := range all {
					if err := s.writer.Add(context.Background(), name, window, now); err != nil {
						t.Fatalf("%s: %v", which, err)
					}
				}
				model[name] = keys.MergeRevocations(alive(model[name], now), window)
			}
			if rapid.Bool().Draw(t, "read") {
				continue // several changes at once
			}
			for which, s := range all {
				s.state, _ = readRevocations(t, s.reader, s.state, s.known)
				mustStand(t, which, s.known, model, now)
			}
		}
		for which, s := range all {
			s.state, _ = readRevocations(t, s.reader, s.state, s.known)
			mustStand(t, which, s.known, model, now)
			fresh := map[keys.RevocationName][]keys.RevocationWindow{}
			if _, whole := readRevocations(t, s.reader, keys.RevocationState{}, fresh); !whole {
				t.Fatalf("%s: the first read is not of everything", which)
			}
			mustStand(t, which+", read whole", fresh, model, now)
		}
	})
}

// alive are the windows that are not over.
func alive(windows []keys.RevocationWindow, now time.Time) []keys.RevocationWindow {
	return slices.DeleteFunc(slices.Clone(windows), func(w keys.RevocationWindow) bool { return w.Over(now) })
}

// mustStand compares what is not over.
func mustStand(t fatal, which string, got, want map[keys.RevocationName][]keys.RevocationWindow, now time.Time) {
	t.Helper()
	standing := func(all map[keys.RevocationName][]keys.RevocationWindow) map[keys.RevocationName][]keys.RevocationWindow {
		left := map[keys.RevocationName][]keys.RevocationWindow{}
		for name, windows := range all {
			if windows = alive(windows, now); len(windows) > 0 {
				left[name] = windows
			}
		}
		return left
	}
	if diff := cmp.Diff(standing(want), standing(got)); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", which, diff)
	}
}

// TestWritersOfRevocations: nobody's entry is lost to another's, of one name or of several, while a follower takes each change.
func TestWritersOfRevocations(t *testing.T) {
	t.Parallel()
	for name, at := range revocationServers(t)(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const writers, each = 8, 10
			window := func(w, n int) keys.RevocationWindow { // none of which covers another
				k := w*each + n + 1
				return keys.RevocationWindow{Before: noon.Add(time.Duration(k) * time.Second), Until: noon.Add(time.Hour - time.Duration(k)*time.Second)}
			}
			one := keys.RevocationName{Claim: "sub", Value: "everyone's"}
			var group sync.WaitGroup
			for w := range writers {
				group.Go(func() {
					store := openRevocations(t, at)
					defer store.Close()
					for n := range each {
						own := keys.RevocationName{Claim: "jti", Value: fmt.Sprint(w, "-", n)}
						if err := errors.Join(store.Add(context.Background(), own, keys.RevocationWindow{}, noon), store.Add(context.Background(), one, window(w, n), noon)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			reader, known, state := openRevocations(t, at), map[keys.RevocationName][]keys.RevocationWindow{}, keys.RevocationState{}
			defer reader.Close()
			done := make(chan struct{})
			go func() { group.Wait(); close(done) }()
			for running := true; running; {
				select {
				case <-done:
					running = false
				default:
				}
				state, _ = readRevocations(t, reader, state, known)
			}
			if len(known) != writers*each+1 || len(known[one]) != writers*each {
				t.Errorf("%d names and %d windows of %d writers' %d each", len(known), len(known[one]), writers, each)
			}
		})
	}
}

// TestRevocationsOver: what is over goes, a while later, and nobody reads everything again for that.
func TestRevocationsOver(t *testing.T) {
	t.Parallel()
	for name, at := range revocationServers(t)(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, known := openRevocations(t, at), map[keys.RevocationName][]keys.RevocationWindow{}
			defer store.Close()
			now := time.Now().Add(-time.Hour) // PostgreSQL has a clock of its own
			jti := func(value string) keys.RevocationName { return keys.RevocationName{Claim: "jti", Value: value} }
			for _, value := range []string{"a", "b"} {
				if err := store.Add(t.Context(), jti(value), keys.RevocationWindow{Until: now.Add(time.Minute)}, now); err != nil {
					t.Fatal(err)
				}
			}
			state, _ := readRevocations(t, store, keys.RevocationState{}, known)
			if err := store.Add(t.Context(), jti("c"), keys.RevocationWindow{}, now.Add(30*time.Minute)); err != nil {
				t.Fatal(err)
			}
			if _, whole := readRevocations(t, store, state, known); whole || len(known) != 3 {
				t.Errorf("everything is read again: %t, %v", whole, known)
			}
			fresh := map[keys.RevocationName][]keys.RevocationWindow{}
			readRevocations(t, store, keys.RevocationState{}, fresh)
			if len(fresh) != 1 {
				t.Errorf("the store still has %v", fresh)
			}
		})
	}
}

// TestRevocationsMade: a store is made once; until then, and when it is gone, it is not there rather than empty.
func TestRevocationsMade(t *testing.T) {
	t.Parallel()
	all := revocationServers(t)(t)
	none := map[string]keystore.RevocationsAt{"redis": all["redis"], "postgres": all["postgres"]}
	at := none["redis"]
	at.Redis.Prefix = "none:"
	none["redis"] = at
	at = none["postgres"]
	at.Postgres.Table = "none"
	none["postgres"] = at
	name := keys.RevocationName{Claim: "jti", Value: "a"}
	for which, at := range all {
		if err := keystore.InitRevocations(t.Context(), at); err == nil {
			t.Errorf("%s: it is made twice", which)
		}
		store := openRevocations(t, none[which])
		if _, _, err := store.Read(t.Context(), keys.RevocationState{}, func(keys.Revocation, error) {}); err == nil {
			t.Errorf("%s: a store that nobody made is read", which)
		}
		store.Close()
		store = openRevocations(t, none[which])
		if err := store.Add(t.Context(), name, keys.RevocationWindow{}, noon); err == nil {
			t.Errorf("%s: a store that nobody made is written to", which)
		}
		store.Close()
		store = openRevocations(t, none[which])
		if _, err := store.Remove(t.Context(), name, noon); err == nil {
			t.Errorf("%s: something of a store that nobody made is removed", which)
		}
		store.Close()
	}
}

// TestRedisLosesRevocations: whatever Redis loses, nobody takes what is left for all of it.
func TestRedisLosesRevocations(t *testing.T) {
	t.Parallel()
	server := envoytest.RunRedis(t).URL()
	client := redisClient(t, server)
	const prefix = "test:{revoked}:"
	for what, lose := range map[string]func(ctx context.Context) error{
		"everything":       func(ctx context.Context) error { return client.FlushAll(ctx).Err() },
		"the version":      func(ctx context.Context) error { return client.Del(ctx, prefix+"version").Err() },
		"the names":        func(ctx context.Context) error { return client.Del(ctx, prefix+"names").Err() },
		"the changes":      func(ctx context.Context) error { return client.Del(ctx, prefix+"changes").Err() },
		"one name":         func(ctx context.Context) error { return client.HDel(ctx, prefix+"names", `["jti","","a"]`).Err() },
		"a number":         func(ctx context.Context) error { return client.HSet(ctx, prefix+"version", "change", "x").Err() },
		"what a name says": func(ctx context.Context) error { return client.HSet(ctx, prefix+"names", "x", "y").Err() },
	} {
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		at := keystore.RevocationsAt{Redis: keystore.Redis{URL: server, Prefix: "test:"}}
		if err := keystore.InitRevocations(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		store := openRevocations(t, at)
		for _, value := range []string{"a", "b"} {
			if err := store.Add(t.Context(), keys.RevocationName{Claim: "jti", Value: value}, keys.RevocationWindow{}, noon); err != nil {
				t.Fatal(err)
			}
		}
		state, _ := readRevocations(t, store, keys.RevocationState{}, map[keys.RevocationName][]keys.RevocationWindow{})
		if err := lose(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, since := range []keys.RevocationState{{}, state} {
			if _, _, err := store.Read(t.Context(), since, func(keys.Revocation, error) {}); err == nil {
				t.Errorf("without %s it is read", what)
			}
		}
		store.Close()
	}
}

// TestRevocationsFull: no more is taken than a server reads, but what is there can be withdrawn further.
func TestRevocationsFull(t *testing.T) {
	t.Parallel()
	server := envoytest.RunRedis(t).URL()
	client := redisClient(t, server)
	at := keystore.RevocationsAt{Redis: keystore.Redis{URL: server, Prefix: "test:"}}
	if err := keystore.InitRevocations(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	store := openRevocations(t, at)
	defer store.Close()
	name := keys.RevocationName{Claim: "jti", Value: "there"}
	if err := store.Add(t.Context(), name, keys.RevocationWindow{Until: noon}, noon.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	const atOnce = 27_027 // a 37th of 999,999: a script of seconds is one that Redis complains of
	for n := 0; n < 999_999; n += atOnce {
		if err := client.Eval(t.Context(), "for i = ARGV[1], ARGV[2] do redis.call('HSET', KEYS[1], i, '') end", []string{"test:{revoked}:names"}, n+1, n+atOnce).Err(); !errors.Is(err, redis.Nil) {
			t.Fatal(err)
		}
	}
	if err := store.Add(t.Context(), keys.RevocationName{Claim: "jti", Value: "more"}, keys.RevocationWindow{}, noon.Add(-time.Hour)); err == nil || !strings.Contains(err.Error(), "1000000 names") {
		t.Errorf("one more: %v", err)
	}
	if err := store.Add(t.Context(), name, keys.RevocationWindow{}, noon.Add(-time.Hour)); err != nil {
		t.Errorf("one that is there: %v", err)
	}
}

// TestRevocationsByHand: who changes the table of PostgreSQL by hand is noticed, and what nobody can read withdraws everything.
func TestRevocationsByHand(t *testing.T) {
	t.Parallel()
	at := keystore.RevocationsAt{Postgres: keystore.Config{Postgres: envoytest.RunPostgres(t).DSN(), Table: keystore.DefaultRevocations}}
	if err := keystore.InitRevocations(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	db := raw(t, at.Postgres)
	defer db.Close()
	store := openRevocations(t, at)
	defer store.Close()
	var state keys.RevocationState
	known := map[keys.RevocationName][]keys.RevocationWindow{}
	faults := 0
	for _, step := range []struct {
		statement string
		whole     bool
		names     int
	}{
		{"INSERT INTO kasbah_revoked (claim, value) VALUES ('sub', 'mallory')", true, 1},
		{"INSERT INTO kasbah_revoked (claim, value) VALUES ('sub', 'eve'), ('jti', 'x')", false, 3},
		{"INSERT INTO kasbah_revoked (claim, value, windows) VALUES ('sid', 's', '[[\"2026\",\"\"]]')", false, 4},
		{"UPDATE kasbah_revoked SET windows = '[[\"\",\"\"]]' WHERE claim = 'sid'", false, 4},
		{"DELETE FROM kasbah_revoked WHERE value = 'eve'", true, 3},
		{"UPDATE kasbah_revoked SET value = 'trudy' WHERE value = 'mallory'", true, 3},
		{"TRUNCATE kasbah_revoked", true, 0},
	} {
		if _, err := db.ExecContext(t.Context(), step.statement); err != nil {
			t.Fatalf("%s: %v", step.statement, err)
		}
		now, whole, err := store.Read(t.Context(), state, func(record keys.Revocation, fault error) {
			if fault != nil {
				faults++
			}
			known[record.Name] = record.Windows
		})
		if err != nil || whole != step.whole || now == state {
			t.Errorf("%s: %v, whole %t, %v", step.statement, now, whole, err)
		}
		if whole {
			clear(known)
			readRevocations(t, store, keys.RevocationState{}, known)
		}
		if state = now; len(known) != step.names {
			t.Errorf("%s: %v", step.statement, known)
		}
	}
	if faults != 1 {
		t.Errorf("%d rows could not be read", faults)
	}
	for _, bad := range []string{"('aud', 'x')", "('iss', 'x')", "('sub', '')"} {
		if _, err := db.ExecContext(t.Context(), "INSERT INTO kasbah_revoked (claim, value) VALUES "+bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// TestRevocationErrors: no password is in an error of a store that is not there.
func TestRevocationErrors(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	for _, at := range []keystore.RevocationsAt{
		{Redis: keystore.Redis{URL: (&url.URL{Scheme: "redis", User: url.UserPassword("", "hunter2"), Host: listener.Addr().String()}).String(), Prefix: "x:"}},
		{Postgres: keystore.Config{Postgres: "postgres://kasbah:hunter2@" + listener.Addr().String() + "/x?sslmode=disable", Table: "revoked"}},
		{},
		{Postgres: keystore.Config{SQLite: "x.db", Table: "revoked"}},
		{Redis: keystore.Redis{URL: "redis://:hunter2@%zz"}},
	} {
		err := keystore.InitRevocations(t.Context(), at)
		if err == nil {
			t.Fatalf("%v is made", at)
		}
		if text := fmt.Sprintf("%v %v %#v", err, at, at); strings.Contains(text, "hunter2") || !strings.HasPrefix(text, "the revocations in ") && at.Check() == nil {
			t.Errorf("it says %q", text)
		}
	}
}
