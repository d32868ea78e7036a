package keys_test

import (
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
)

// forged says for every forgery why it is denied.
var forged = map[keystest.Forgery]policy.Reason{
	keystest.Expired:          policy.Expired,
	keystest.NotYetValid:      policy.NotYetValid,
	keystest.IssuedInFuture:   policy.NotYetValid,
	keystest.ForeignAudience:  policy.WrongAudience,
	keystest.ForeignIssuer:    policy.WrongIssuer,
	keystest.ForeignKey:       policy.InvalidSignature,
	keystest.AlgNone:          policy.InvalidSignature,
	keystest.AlgNoneFolded:    policy.InvalidSignature,
	keystest.HS256PublicKey:   policy.InvalidSignature,
	keystest.OtherAlgorithm:   policy.InvalidSignature,
	keystest.TamperedPayload:  policy.InvalidSignature,
	keystest.TamperedHeader:   policy.InvalidSignature,
	keystest.EmptySignature:   policy.InvalidSignature,
	keystest.ZeroSignature:    policy.InvalidSignature,
	keystest.NoExpiry:         policy.InvalidClaims,
	keystest.ZeroExpiry:       policy.InvalidClaims,
	keystest.TextExpiry:       policy.InvalidClaims,
	keystest.HugeExpiry:       policy.InvalidClaims,
	keystest.MillisExpiry:     policy.InvalidClaims,
	keystest.FoldedExpiry:     policy.InvalidClaims,
	keystest.NoSubject:        policy.InvalidClaims,
	keystest.EmptySubject:     policy.InvalidClaims,
	keystest.NumericAudience:  policy.InvalidClaims,
	keystest.CritHeader:       policy.MalformedCredential,
	keystest.UnencodedPayload: policy.MalformedCredential,
	keystest.UnknownKid:       policy.UnknownKey,
	keystest.PathKid:          policy.UnknownKey,
	keystest.NumericKid:       policy.MalformedCredential,
	keystest.EmbeddedKey:      policy.InvalidSignature,
	keystest.KeyURL:           policy.InvalidSignature,
	keystest.NestedToken:      policy.MalformedCredential,
	keystest.ForeignType:      policy.MalformedCredential,
	keystest.DuplicateClaim:   policy.MalformedCredential,
	keystest.DuplicateHeader:  policy.MalformedCredential,
	keystest.Padded:           policy.MalformedCredential,
	keystest.LineBreak:        policy.MalformedCredential,
	keystest.TrailingBits:     policy.MalformedCredential,
	keystest.TrailingBytes:    policy.MalformedCredential,
	keystest.DeepClaims:       policy.MalformedCredential,
	keystest.InvalidUTF8:      policy.MalformedCredential,
	keystest.FourParts:        policy.MalformedCredential,
	keystest.TwoParts:         policy.MalformedCredential,
}

func TestForgeriesAreDenied(t *testing.T) {
	f := newFixture(t)
	all := keystest.Forgeries()
	if len(all) != len(forged) {
		t.Fatalf("%d forgeries, and %d expectations", len(all), len(forged))
	}
	for _, kind := range all {
		for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
			t.Run(kind.String()+"/"+algorithm, func(t *testing.T) {
				claims := keystest.Claims{Algorithm: algorithm}
				if got := reason(t, f.auth, f.issuer.Token(claims)); got != policy.NoReason {
					t.Fatalf("a good token is denied: %v", got)
				}
				token := f.issuer.Forge(kind, claims)
				for range 2 { // a denial must not make the next one an acceptance
					outcome, err := evaluate(t, f.auth, withToken(token))
					if err != nil {
						t.Fatal(err)
					}
					if outcome.Verdict != policy.Denied || outcome.Reason != forged[kind] {
						t.Errorf("verdict %v, reason %v, want %v", outcome.Verdict, outcome.Reason, forged[kind])
					}
					if got, want := outcome.Challenges[0], `Bearer realm="kasbah", error="invalid_token"`; got != want {
						t.Errorf("challenge %q, want %q", got, want)
					}
					checkSecrecy(t, token, outcome.Detail)
				}
			})
		}
	}
}

// checkSecrecy finds any piece of the token in what an operator is told.
func checkSecrecy(t *testing.T, token, detail string) {
	t.Helper()
	const piece = 12
	for i := 0; i+piece <= len(token); i += piece {
		if strings.Contains(detail, token[i:i+piece]) {
			t.Errorf("the detail %q holds a piece of the token", detail)
		}
	}
	for _, text := range []string{"alice", "somebody-else", "foreign.example", "nobody-published-this", "dev/null"} {
		if strings.Contains(detail, text) {
			t.Errorf("the detail %q holds the token's %q", detail, text)
		}
	}
}
