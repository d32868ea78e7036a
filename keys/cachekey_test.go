package keys

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/keys/internal/outbound"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// short are texts of few letters, so that two of them, and two lists of them, often differ only in where they are cut.
var (
	short = rapid.StringMatching(`[a,|]{0,2}`)
	list  = rapid.SliceOfN(short, 0, 2)
)

// provided is a provider of some kind.
var provided = rapid.Custom(func(t *rapid.T) *configv1.Provider {
	p := &configv1.Provider{Name: short.Draw(t, "name"), Forward: rapid.Bool().Draw(t, "forward")}
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 0:
		p.Kind = &configv1.Provider_Jwt{Jwt: &configv1.Jwt{
			Issuer: short.Draw(t, "issuer"), Audiences: list.Draw(t, "audiences"), Algorithms: list.Draw(t, "algorithms"), Types: list.Draw(t, "types"),
			Conditions: list.Draw(t, "conditions"),
		}}
	case 1:
		p.Kind = &configv1.Provider_Introspection{Introspection: &configv1.Introspection{
			Url: short.Draw(t, "url"), ClientId: short.Draw(t, "client"), Audiences: list.Draw(t, "audiences"), Issuer: short.Draw(t, "issuer"),
			Claims: []*configv1.RequiredClaim{{Path: short.Draw(t, "path"), Values: list.Draw(t, "values")}},
		}}
	default:
		p.Kind = &configv1.Provider_ClientCertificate{ClientCertificate: &configv1.ClientCertificate{
			CaFile: short.Draw(t, "ca"), CrlFiles: list.Draw(t, "lists"), TrustDomains: list.Draw(t, "domains"), Names: list.Draw(t, "names"), Roles: list.Draw(t, "roles"),
		}}
	}
	return p
})

// drawPairs checks 100,000 random pairs of inputs: those that are equal have equal keys, and others have different ones
// (THREATS a.6, Oathkeeper CVE-2026-33496 and its kind).
func drawPairs[T any, K comparable](t *testing.T, draw *rapid.Generator[T], equal func(a, b T) bool, key func(T) K) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		for range 1000 {
			a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
			if equal(a, b) != (key(a) == key(b)) {
				t.Fatalf("%v and %v", a, b)
			}
		}
	})
}

func TestProvidersHaveTheirOwnCacheKeys(t *testing.T) {
	drawPairs(t, provided, func(a, b *configv1.Provider) bool { return proto.Equal(a, b) }, func(p *configv1.Provider) [32]byte {
		sum, err := digest(p, outbound.Settings{}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	})
}

func TestEvidenceHasItsOwnCacheKeys(t *testing.T) {
	type evidence struct {
		provider        byte
		kind            uint64
		principal, text string
	}
	draw := rapid.Custom(func(t *rapid.T) evidence {
		return evidence{rapid.Byte().Draw(t, "provider") % 2, rapid.Uint64Range(0, 2).Draw(t, "kind"), short.Draw(t, "principal"), short.Draw(t, "text")}
	})
	drawPairs(t, draw, func(a, b evidence) bool { return a == b }, func(e evidence) cacheKey {
		return certificateKey([32]byte{e.provider}, e.kind, e.principal, e.text)
	})
}

func TestSecretsHaveTheirOwnCacheKeys(t *testing.T) {
	type secret struct{ id, text, algorithm string }
	draw := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) secret {
		return secret{
			rapid.StringMatching(`[16:a]{1,2}`).Draw(t, "id"), strings.Repeat("x", 62) + rapid.StringMatching(`[16:a]{2,4}`).Draw(t, "text"),
			rapid.SampledFrom([]string{"HS256", "HS512"}).Draw(t, "algorithm"),
		}
	}), 1, 2, func(s secret) string { return s.id })
	drawPairs(t, draw, func(a, b []secret) bool { return slices.Equal(a, b) }, func(list []secret) [32]byte {
		var messages []*configv1.SharedSecret
		for _, s := range list {
			messages = append(messages, &configv1.SharedSecret{Id: s.id, Algorithm: s.algorithm, Secret: &configv1.Secret{Source: &configv1.Secret_Env{Env: s.text}}})
		}
		keys, err := sharedSecrets(messages, Files{Secret: func(s *configv1.Secret) (string, error) { return s.GetEnv(), nil }})
		if err != nil {
			t.Fatal(err)
		}
		return keys.current(time.Time{}).digest
	})
}

// Whichever of a provider's key sets changes, what was verified before is not found any more.
func TestGenerationsOfSeveralSetsDiffer(t *testing.T) {
	const most = 40
	seen := map[uint64][3]uint64{}
	set := func(generation uint64) keySource {
		if generation == 0 {
			return static{} // never fetched
		}
		return static{&keySet{generation: generation}}
	}
	for first := range uint64(most) {
		for second := range uint64(most) {
			for third := range uint64(most) {
				p := &jwtProvider{sources: []keySource{set(first), set(second), set(third)}}
				generation, ok := p.generation(time.Time{})
				if ok == (first+second+third == 0) {
					t.Fatalf("%d, %d, %d: usable %t", first, second, third, ok)
				}
				if other, twice := seen[generation]; twice {
					t.Fatalf("%v and %d, %d, %d", other, first, second, third)
				}
				seen[generation] = [3]uint64{first, second, third}
			}
		}
	}
}
