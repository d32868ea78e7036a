package mint_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/keys/internal/mint"
	"github.com/kasbah-authz/kasbah/policy"
)

var instant = time.Unix(1_800_000_000, 0)

type clock struct{ now time.Time }

func newKeys(t testing.TB, algorithms ...string) *mint.Keys {
	t.Helper()
	keys := &mint.Keys{}
	for _, algorithm := range algorithms {
		var err error
		if keys, err = keys.Rotate(algorithm, instant, instant, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func newMinter(t testing.TB, c *clock, keys *mint.Keys, change ...func(*mint.Config)) *mint.Minter {
	t.Helper()
	cache, err := mint.NewCache()
	if err != nil {
		t.Fatal(err)
	}
	cfg := mint.Config{Issuer: "https://kasbah.internal", Audiences: []string{"orders"}, Lifetime: time.Minute, Keys: keys, Cache: cache, Now: func() time.Time { return c.now }}
	for _, change := range change {
		change(&cfg)
	}
	m, err := mint.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func alice() *policy.Principal {
	return &policy.Principal{
		ID: "alice", Provider: "corp", Issuer: "https://issuer.test", Subject: "a-1", Tenant: "acme", Roles: []string{"reader", "writer"},
		Scopes: []string{"read", "write"}, Expires: instant.Add(time.Hour),
		Claims: map[string]any{"azp": "web", "act": map[string]any{"sub": "bot"}, "email": "alice@example.com"},
	}
}

func mintOne(t testing.TB, m *mint.Minter, p *policy.Principal, audiences ...string) string {
	t.Helper()
	token, ok, err := m.Token(p, audiences)
	if !ok || err != nil {
		t.Fatalf("no token: %v, %v", ok, err)
	}
	return token
}

// verify reads a token by the published keys alone.
func verify(t testing.TB, m *mint.Minter, token string, at time.Time) (jwt.MapClaims, error) {
	t.Helper()
	raw, err := m.KeySet()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(token, claims, func(token *jwt.Token) (any, error) {
		return publicKey(raw, token.Header["kid"])
	}, jwt.WithTimeFunc(func() time.Time { return at }), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithValidMethods(mint.Algorithms))
	return claims, err
}

func TestWhatATokenSays(t *testing.T) {
	for _, algorithm := range mint.Algorithms {
		c := &clock{instant}
		m := newMinter(t, c, newKeys(t, algorithm), func(cfg *mint.Config) {
			cfg.Claims = []mint.Claim{
				{Name: "mail", Value: func(p *policy.Principal) (any, bool, error) { return p.Claims["email"], true, nil }},
				{Name: "absent", Value: func(*policy.Principal) (any, bool, error) { return nil, false, nil }},
			}
		})
		got, err := verify(t, m, mintOne(t, m, alice()), instant)
		if err != nil {
			t.Fatalf("%s: %v", algorithm, err)
		}
		if id, _ := got["jti"].(string); len(id) < 20 {
			t.Errorf("jti is %q", id)
		}
		delete(got, "jti")
		want := jwt.MapClaims{
			"iss": "https://kasbah.internal", "sub": "alice", "aud": "orders", "iat": 1.8e9, "nbf": 1.8e9 - 5, "exp": 1.8e9 + 60,
			"roles": []any{"reader", "writer"}, "scope": "read write", "tenant": "acme", "provider": "corp", "provider_iss": "https://issuer.test",
			"provider_sub": "a-1", "client_id": "web", "act": map[string]any{"sub": "bot"}, "mail": "alice@example.com",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", algorithm, diff)
		}
	}
}

// Who is nobody gets no token, and neither does one whose name JSON would change or whose claims fail.
func TestNoToken(t *testing.T) {
	fault := errors.New("a fault")
	m := newMinter(t, &clock{instant}, newKeys(t, "EdDSA"), func(cfg *mint.Config) {
		cfg.Claims = []mint.Claim{{Name: "x", Value: func(p *policy.Principal) (any, bool, error) {
			if p.ID == "faulty" {
				return nil, false, fault
			}
			return nil, false, nil
		}}}
	})
	for _, p := range []*policy.Principal{nil, {}, {ID: "guest"}} {
		if token, ok, err := m.Token(p, nil); token != "" || ok || err != nil {
			t.Errorf("%+v: %q, %v, %v", p, token, ok, err)
		}
	}
	for _, p := range []*policy.Principal{
		{ID: "faulty", Provider: "corp"},
		{ID: "\xff", Provider: "corp"},
		{ID: "a", Provider: "corp", Roles: []string{"\xc0"}},
		{ID: "a", Provider: "corp", Tenant: "\xff"},
		{ID: "a", Provider: "corp", Claims: map[string]any{"azp": "\xff"}},
	} {
		if token, ok, err := m.Token(p, nil); token != "" || ok || err == nil {
			t.Errorf("%+v: %q, %v, %v", p, token, ok, err)
		}
	}
	keys := newKeys(t, "EdDSA")
	cache, _ := mint.NewCache()
	cfg := mint.Config{Issuer: "i", Audiences: []string{"a"}, Lifetime: time.Minute, Keys: keys, Cache: cache, Now: func() time.Time { return instant.Add(-time.Hour) }}
	if _, err := mint.New(cfg); !errors.Is(err, mint.ErrNoKey) {
		t.Errorf("a minter of keys that all wait: %v", err)
	}
	cfg.Now, cfg.Claims = func() time.Time { return instant }, []mint.Claim{{Name: "sub"}}
	if _, err := mint.New(cfg); err == nil {
		t.Error("a claim may replace sub")
	}
}

// A scope with a space in it does not become two.
func TestScopeWithASpace(t *testing.T) {
	m := newMinter(t, &clock{instant}, newKeys(t, "EdDSA"))
	p := alice()
	p.Scopes = []string{"read admin", "write"}
	if got, _ := verify(t, m, mintOne(t, m, p), instant); got["scope"] != "write" {
		t.Errorf("scope is %v", got["scope"])
	}
}

// A token is used again for the half of its time, and no token outlives its credential.
func TestTimes(t *testing.T) {
	c := &clock{instant}
	m := newMinter(t, c, newKeys(t, "ES256"))
	p := alice()
	p.Expires = instant.Add(100 * time.Second)
	first := mintOne(t, m, p)
	ends := map[string]float64{}
	for second := range 140 {
		c.now = instant.Add(time.Duration(second) * time.Second)
		token := mintOne(t, m, p)
		claims, err := verify(t, m, token, c.now)
		if live := second < 100; live != (err == nil) {
			t.Fatalf("after %d s: %v", second, err)
		}
		exp, _ := claims["exp"].(float64)
		ends[token] = exp
		if exp > 1.8e9+100 {
			t.Fatalf("after %d s: a token outlives its credential by %v s", second, exp-1.8e9-100)
		}
		if left := exp - float64(c.now.Unix()); second < 70 && left < 30 {
			t.Errorf("after %d s: a token with %v s left", second, left)
		}
		if (token == first) != (second < 30) {
			t.Errorf("after %d s: the first token again: %v", second, token == first)
		}
	}
	if len(ends) < 4 {
		t.Errorf("%d tokens in 100 s", len(ends))
	}
}

// A new key is published before it signs, signs at its time whatever is cached, and the one before it is published for as long as
// its tokens are good, even if its file says that it has ended.
func TestRotation(t *testing.T) {
	c := &clock{instant}
	old := newKeys(t, "ES256")
	both, err := old.Rotate("EdDSA", instant, instant.Add(time.Hour), 0)
	if err != nil {
		t.Fatal(err)
	}
	text, err := both.Format()
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if both, err = mint.Read(file); err != nil {
		t.Fatal(err)
	}
	m := newMinter(t, c, both)
	for _, step := range []struct {
		after     time.Duration
		algorithm string
		published int
	}{
		{0, "ES256", 2},
		{time.Hour - time.Nanosecond, "ES256", 2},
		{time.Hour, "EdDSA", 2},
		{time.Hour + 119*time.Second, "EdDSA", 2},
		{time.Hour + 120*time.Second, "EdDSA", 1},
		{1000 * time.Hour, "EdDSA", 1},
	} {
		c.now = instant.Add(step.after)
		p := alice()
		p.Expires = time.Time{}
		token := mintOne(t, m, p)
		parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
		if err != nil || parsed.Method.Alg() != step.algorithm {
			t.Errorf("after %v: signed by %v, %v", step.after, parsed.Method.Alg(), err)
		}
		if _, err := verify(t, m, token, c.now); err != nil {
			t.Errorf("after %v: %v", step.after, err)
		}
		if raw, _ := m.KeySet(); strings.Count(string(raw), `"kid"`) != step.published {
			t.Errorf("after %v: %s is published", step.after, raw)
		}
	}
	if next, err := both.Rotate("ES256", c.now, c.now, time.Hour); err != nil || len(next.All()) != 2 {
		t.Errorf("what has ended stays: %v, %v", next.All(), err)
	}
}

// No private member of a key is ever published (RFC 7518, section 6), whatever the file has.
func TestNothingPrivateIsPublished(t *testing.T) {
	public := []string{"alg", "crv", "e", "kid", "kty", "n", "use", "x", "y"}
	keys := newKeys(t, mint.Algorithms...)
	text, err := keys.Format()
	if err != nil {
		t.Fatal(err)
	}
	var file map[string][]map[string]any
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	secrets := map[string]bool{}
	list := []any{}
	for _, key := range file["keys"] {
		for name, value := range key {
			if text, ok := value.(string); ok && !slices.Contains(public, name) {
				secrets[text] = true
			}
		}
		key["k"], key["note"], key["oth"] = "c2VjcmV0", "operator's note", []any{}
		list = append(list, key)
	}
	if len(secrets) < 8 { // d of three, and p, q, dp, dq, qi
		t.Fatalf("the file has %d private members", len(secrets))
	}
	read, err := mint.Read(map[string]any{"keys": list})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := newMinter(t, &clock{instant}, read).KeySet()
	if err != nil {
		t.Fatal(err)
	}
	var set map[string][]map[string]any
	if err := json.Unmarshal(raw, &set); err != nil || len(set) != 1 || len(set["keys"]) != 3 {
		t.Fatalf("%v, %s", err, raw)
	}
	for _, key := range set["keys"] {
		for _, name := range slices.Collect(maps.Keys(key)) {
			if !slices.Contains(public, name) {
				t.Errorf("the member %s is published", name)
			}
		}
	}
	for secret := range secrets {
		if strings.Contains(string(raw), secret) {
			t.Error("a private value is published")
		}
	}
}

var (
	word   = rapid.StringMatching(`[a-zA-Z0-9:/._<>&"\\é-]{0,6}`)
	someID = rapid.Custom(func(t *rapid.T) *policy.Principal {
		claims := map[string]any{}
		if rapid.Bool().Draw(t, "azp") {
			claims[rapid.SampledFrom([]string{"azp", "client_id"}).Draw(t, "which")] = word.Draw(t, "client")
		}
		if rapid.Bool().Draw(t, "act") {
			claims["act"] = map[string]any{"sub": word.Draw(t, "actor")}
		}
		return &policy.Principal{
			ID: word.Draw(t, "id"), Provider: "p" + word.Draw(t, "provider"), Issuer: word.Draw(t, "issuer"), Subject: word.Draw(t, "subject"),
			Tenant: word.Draw(t, "tenant"), Roles: rapid.SliceOfN(word, 0, 3).Draw(t, "roles"), Scopes: rapid.SliceOfN(rapid.StringMatching(`[a-z:]{1,4}`), 0, 3).Draw(t, "scopes"),
			Expires: instant.Add(time.Duration(rapid.Int64Range(1, 3).Draw(t, "expires")) * time.Hour), Claims: claims,
		}
	})
)

// What two principals share is a token that says the same of both; and a token says what its principal is.
func TestTokensAreNobodyElses(t *testing.T) {
	m := newMinter(t, &clock{instant}, newKeys(t, "EdDSA"))
	tokens := map[string]string{} // what it was minted for, by token
	rapid.Check(t, func(rt *rapid.T) {
		p, audiences := someID.Draw(rt, "principal"), rapid.SliceOfN(word, 1, 3).Draw(rt, "audiences")
		client, _ := p.Claims["client_id"].(string)
		if client == "" {
			client, _ = p.Claims["azp"].(string)
		}
		if _, both := p.Claims["client_id"]; both {
			client, _ = p.Claims["client_id"].(string)
		}
		asked := fmt.Sprintf("%q %q %q %q %q %q %q %v %q %v %q", p.ID, p.Provider, p.Issuer, p.Subject, p.Tenant, p.Roles, p.Scopes, p.Expires, client, p.Claims["act"], audiences)
		token := mintOne(t, m, p, audiences...)
		if before, ok := tokens[token]; ok && before != asked {
			rt.Fatalf("one token for two principals:\n%s\n%s", before, asked)
		}
		tokens[token] = asked
		if again := mintOne(t, m, p, audiences...); again != token {
			rt.Fatal("a second token at the same time")
		}
		claims, err := verify(t, m, token, instant)
		if err != nil {
			rt.Fatal(err)
		}
		text := func(name string) string { s, _ := claims[name].(string); return s }
		roles, _ := claims["roles"].([]any)
		said, _ := claims.GetAudience()
		if text("sub") != p.ID || text("provider") != p.Provider || text("provider_iss") != p.Issuer || text("provider_sub") != p.Subject ||
			text("tenant") != p.Tenant || text("scope") != strings.Join(p.Scopes, " ") || text("client_id") != client ||
			fmt.Sprint(roles) != fmt.Sprint(p.Roles) || !slices.Equal(said, audiences) {
			rt.Fatalf("%s\nsays %v", asked, claims)
		}
	})
}

// BenchmarkToken is a token of the cache, one that is signed, and signing by golang-jwt alone.
func BenchmarkToken(b *testing.B) {
	for _, algorithm := range mint.Algorithms {
		c := &clock{instant}
		m := newMinter(b, c, newKeys(b, algorithm))
		p := alice()
		b.Run(algorithm+"/cached", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				mintOne(b, m, p)
			}
		})
		b.Run(algorithm+"/minted", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.now = c.now.Add(31 * time.Second)
				p.Expires = c.now.Add(time.Hour)
				mintOne(b, m, p)
			}
		})
		b.Run(algorithm+"/golang-jwt", func(b *testing.B) {
			claims, _ := verify(b, m, mintOne(b, m, p), c.now)
			private, method := signingKey(b, algorithm)
			b.ReportAllocs()
			for b.Loop() {
				token := jwt.NewWithClaims(method, claims)
				token.Header["kid"] = "x"
				if _, err := token.SignedString(private); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A key that is added to sign at once does so, also within the second in which the one before was made.
func TestRotationWithinASecond(t *testing.T) {
	keys := &mint.Keys{}
	for range 20 {
		next, err := keys.Rotate("EdDSA", instant, instant, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if all := next.All(); next.Current(instant) != all[len(all)-1] || len(all) > 1 && slices.ContainsFunc(keys.All(), func(k *mint.Key) bool { return k.ID == next.Current(instant).ID }) {
			t.Fatalf("an older key signs, of %d", len(all))
		}
		keys = next
	}
}
