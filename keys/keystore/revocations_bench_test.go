package keystore_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystore"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// nearlyAMillion leaves room for what the benchmark withdraws: a million is all that there may be.
const nearlyAMillion = aMillion - 5000

// fillRedis withdraws a million sessions.
func fillRedis(b *testing.B, at keystore.RevocationsAt) {
	b.Helper()
	options, err := redis.ParseURL(at.Redis.URL)
	if err != nil {
		b.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	prefix := at.Redis.Prefix + "{revoked}:"
	const atOnce = 5000
	for n := 0; n < nearlyAMillion; n += atOnce {
		var names []any
		var changes []redis.Z
		for i := n; i < n+atOnce; i++ {
			name := fmt.Sprintf(`["sid","https://issuer.example","%08d-17e1-4977-8f42-65a12843ea02"]`, i)
			names = append(names, name, `[["","2030-01-01T00:00:00Z"]]`)
			changes = append(changes, redis.Z{Score: float64(i + 1), Member: name})
		}
		if _, err := client.TxPipelined(b.Context(), func(p redis.Pipeliner) error {
			p.HSet(b.Context(), prefix+"names", names...)
			p.ZAdd(b.Context(), prefix+"changes", changes...)
			p.HSet(b.Context(), prefix+"version", "change", n+atOnce, "count", n+atOnce)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

func fillPostgres(b *testing.B, at keystore.RevocationsAt) {
	b.Helper()
	db := raw(b, at.Postgres)
	defer db.Close()
	for _, statement := range []string{
		"ALTER TABLE kasbah_revoked DISABLE TRIGGER USER", // which take minutes for that many
		`INSERT INTO kasbah_revoked (claim, issuer, value, windows, ends, digest, changed)
		SELECT 'sid', 'https://issuer.example', v, '[["","2030-01-01T00:00:00Z"]]', '2030-01-01T00:00:00Z', sha256(convert_to(E'sid\nhttps://issuer.example\n' || v, 'UTF8')), 1
		FROM (SELECT lpad(n::text, 8, '0') || '-17e1-4977-8f42-65a12843ea02' AS v FROM generate_series(0, 994999) AS n)`,
		"ALTER TABLE kasbah_revoked ENABLE TRIGGER USER", "UPDATE kasbah_revoked_version SET change = 1",
	} {
		if _, err := db.ExecContext(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMillionRevocations measures what a replica takes to read a million withdrawn sessions, what they hold, what asking about a
// caller costs, and how long after it was written one more is in force, at the default poll.
func BenchmarkMillionRevocations(b *testing.B) {
	for name, at := range map[string]keystore.RevocationsAt{
		"redis":    {Redis: keystore.Redis{URL: envoytest.RunRedis(b).URL(), Prefix: keystore.DefaultPrefix}},
		"postgres": {Postgres: keystore.Config{Postgres: envoytest.RunPostgres(b).DSN(), Table: keystore.DefaultRevocations}},
	} {
		b.Run(name, func(b *testing.B) {
			if err := keystore.InitRevocations(b.Context(), at); err != nil {
				b.Fatal(err)
			}
			map[string]func(*testing.B, keystore.RevocationsAt){"redis": fillRedis, "postgres": fillPostgres}[name](b, at)
			owners, apiKeys := someKeys(b)
			before, begun := heap(), time.Now()
			store, auth := followed(b, at, apiKeys)
			awaitNames(b, store, nearlyAMillion)
			took, held := time.Since(begun), heap()-before
			for b.Loop() {
				if got := ask(b, auth, owners["0"]); got != policy.NoReason {
					b.Fatal(got)
				}
			}
			var all []time.Duration
			for owner, key := range owners {
				all = append(all, withdrawn(b, at, auth, owner, key))
			}
			slices.Sort(all)
			b.ReportMetric(all[len(all)/2].Seconds(), "s/median-revoke")
			b.ReportMetric(all[len(all)-1].Seconds(), "s/max-revoke")
			b.ReportMetric(took.Seconds(), "s/load")
			b.ReportMetric(held, "MiB/names")
		})
	}
}

// withdrawn withdraws a key's owner, and returns how long it took to be in force once it was written.
func withdrawn(b *testing.B, at keystore.RevocationsAt, auth *keys.Authenticator, owner, key string) time.Duration {
	b.Helper()
	writer := openRevocations(b, at)
	defer writer.Close()
	if err := writer.Add(b.Context(), keys.RevocationName{Claim: "sub", Value: owner}, keys.RevocationWindow{}, time.Now()); err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	for ask(b, auth, key) != policy.Revoked {
		if time.Since(begun) > time.Minute {
			b.Fatal("it is not revoked")
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begun)
}

// someKeys are keys by their owners.
func someKeys(b *testing.B) (map[string]string, *configv1.ApiKeyFile) {
	b.Helper()
	owners, file := map[string]string{}, &configv1.ApiKeyFile{}
	for n := range 20 {
		key, id, err := keys.NewAPIKey("live", "")
		if err != nil {
			b.Fatal(err)
		}
		owners[fmt.Sprint(n)] = key
		file.Keys = append(file.Keys, &configv1.ApiKeyEntry{Id: id, Owner: fmt.Sprint(n), Secrets: []*configv1.ApiKeySecret{{Sha256: keys.HashAPIKey(key)}}})
	}
	return owners, file
}

// followed follows a store until the benchmark ends, for a provider of those keys.
func followed(b *testing.B, at keystore.RevocationsAt, file *configv1.ApiKeyFile) (*keys.Store, *keys.Authenticator) {
	b.Helper()
	store, err := keys.NewStore(keys.Options{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	provider, err := store.Provider(&configv1.Provider{Name: "partners", Kind: &configv1.Provider_ApiKey{ApiKey: &configv1.ApiKey{
		Header: "x-api-key", Store: &configv1.ApiKeyStore{Source: &configv1.ApiKeyStore_File{File: "keys"}},
	}}}, keys.Files{APIKeys: func(string) (*configv1.ApiKeyFile, func(error) error, error) {
		return file, func(err error) error { return err }, nil
	}})
	if err != nil {
		b.Fatal(err)
	}
	revocations, err := store.FollowRevocations(&configv1.RevocationStore{MaxAge: durationpb.New(time.Hour)}, keys.RevocationSource{
		ID: at, Name: at.Source(), Open: func(ctx context.Context) (keys.RevocationReader, error) { return keystore.FollowRevocations(ctx, at) },
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = store.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-ended })
	return store, keys.NewAuthenticator([]*keys.Provider{provider}, keys.Demand{Revoked: revocations})
}

func awaitNames(b *testing.B, store *keys.Store, names int) {
	b.Helper()
	for begun := time.Now(); store.RevocationStores()[0].Names < names; time.Sleep(time.Millisecond) {
		if time.Since(begun) > 2*time.Minute {
			b.Fatalf("%+v", store.RevocationStores())
		}
	}
}
