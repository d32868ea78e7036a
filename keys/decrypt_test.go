package keys_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

func pemOf(t testing.TB, private any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// seal encrypts a token as an issuer would.
func seal(t testing.TB, content string, to jose.Recipient, change func(*jose.EncrypterOptions)) string {
	t.Helper()
	options := (&jose.EncrypterOptions{}).WithContentType("JWT")
	if change != nil {
		change(options)
	}
	encrypter, err := jose.NewEncrypter(jose.A256GCM, to, options)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := encrypter.Encrypt([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	text, err := sealed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// An encrypted token is opened with a configured key, and the one inside is verified as any other; nothing else is opened.
func TestEncryptedTokens(t *testing.T) {
	f := newFixture(t)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	modulus, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	large, err := rsa.GenerateMultiPrimeKey(rand.Reader, 5, 4104) //nolint:staticcheck // SA1019: the only one of this size that is made in no time
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"EC": pemOf(t, curve), "RSA": pemOf(t, modulus), "large": pemOf(t, large)}
	files := keys.Files{Secret: func(s *configv1.Secret) (string, error) { return texts[s.GetEnv()], nil }}
	key := func(id, algorithm, name string) *configv1.DecryptionKey {
		return &configv1.DecryptionKey{Id: id, Algorithm: algorithm, Key: &configv1.Secret{Source: &configv1.Secret_Env{Env: name}}}
	}
	cfg := config("corp", f.issuer.JWKS())
	cfg.GetJwt().Decryption = []*configv1.DecryptionKey{key("ec", "ECDH-ES+A256KW", "EC"), key("rsa", "RSA-OAEP-256", "RSA")}
	provider, err := f.store.Provider(cfg, files)
	if err != nil {
		t.Fatal(err)
	}
	auth := keys.NewAuthenticator([]*keys.Provider{provider})
	to := func(key any, id string, algorithm jose.KeyAlgorithm) jose.Recipient {
		return jose.Recipient{Algorithm: algorithm, Key: key, KeyID: id}
	}
	ec := to(&curve.PublicKey, "ec", jose.ECDH_ES_A256KW)
	good := f.issuer.Token(keystest.Claims{})
	sealed := seal(t, good, ec, nil)
	header := func(text string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(text)) + sealed[strings.Index(sealed, "."):]
	}
	for name, c := range map[string]struct {
		token string
		want  policy.Reason
	}{
		"EC": {sealed, policy.NoReason}, "RSA": {seal(t, good, to(&modulus.PublicKey, "rsa", jose.RSA_OAEP_256), nil), policy.NoReason},
		"not encrypted": {good, policy.WrongIssuer}, "an expired one inside": {seal(t, f.issuer.Forge(keystest.Expired, keystest.Claims{}), ec, nil), policy.Expired},
		"a forged one inside": {seal(t, f.issuer.Forge(keystest.ForeignKey, keystest.Claims{}), ec, nil), policy.InvalidSignature},
		"none inside":         {seal(t, f.issuer.Forge(keystest.AlgNone, keystest.Claims{}), ec, nil), policy.InvalidSignature}, "no token inside": {seal(t, "{}", ec, nil), policy.MalformedCredential},
		"encrypted twice": {seal(t, sealed, ec, nil), policy.MalformedCredential}, "another key": {seal(t, good, to(&other.PublicKey, "ec", jose.ECDH_ES_A256KW), nil), policy.InvalidSignature},
		"another id": {seal(t, good, to(&curve.PublicKey, "no", jose.ECDH_ES_A256KW), nil), policy.UnknownKey}, "no id": {seal(t, good, to(&curve.PublicKey, "", jose.ECDH_ES_A256KW), nil), policy.UnknownKey},
		"another algorithm": {seal(t, good, to(&curve.PublicKey, "ec", jose.ECDH_ES), nil), policy.UnknownKey}, "RSA1_5": {seal(t, good, to(&modulus.PublicKey, "rsa", jose.RSA1_5), nil), policy.UnknownKey},
		"compressed": {seal(t, good, ec, func(o *jose.EncrypterOptions) { o.Compression = jose.DEFLATE }), policy.MalformedCredential}, "no cty": {seal(t, good, ec, func(o *jose.EncrypterOptions) { o.ExtraHeaders = nil }), policy.MalformedCredential},
		"crit": {header(`{"alg":"ECDH-ES+A256KW","enc":"A256GCM","kid":"ec","cty":"JWT","crit":["exp"]}`), policy.MalformedCredential}, "PBES2": {header(`{"alg":"PBES2-HS256+A128KW","enc":"A256GCM","kid":"ec","cty":"JWT","p2s":"AAAA","p2c":2147483647}`), policy.MalformedCredential},
		"PBES2 without p2c": {header(`{"alg":"PBES2-HS256+A128KW","enc":"A256GCM","kid":"ec","cty":"JWT"}`), policy.UnknownKey}, "dir": {header(`{"alg":"dir","enc":"A256GCM","kid":"ec","cty":"JWT"}`), policy.UnknownKey},
		"nested JSON":           {header(`{"alg":"ECDH-ES+A256KW","enc":"A256GCM","kid":"ec","cty":"JWT","epk":` + strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000) + `}`), policy.MalformedCredential},
		"a point off the curve": {header(`{"alg":"ECDH-ES+A256KW","enc":"A256GCM","kid":"ec","cty":"JWT","epk":{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"}}`), policy.InvalidSignature},
		"alg twice":             {header(`{"alg":"ECDH-ES+A256KW","alg":"dir"}`), policy.MalformedCredential},
		"no header":             {header(``), policy.MalformedCredential}, "an odd enc": {header(`{"alg":"ECDH-ES+A256KW","enc":"x","kid":"ec","cty":"JWT"}`), policy.MalformedCredential},
		"altered": {sealed[:len(sealed)-3] + "AAA", policy.InvalidSignature}, "cut": {sealed[:strings.LastIndexByte(sealed, '.')+1], policy.InvalidSignature}, "an odd letter": {sealed + "=", policy.MalformedCredential}, "dots": {"....", policy.MalformedCredential},
	} {
		got := reason(t, auth, c.token)
		if got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	// What was opened with a key that is replaced is not remembered past it.
	texts["EC"] = pemOf(t, other)
	if provider, err = f.store.Provider(cfg, files); err != nil {
		t.Fatal(err)
	}
	if got := reason(t, keys.NewAuthenticator([]*keys.Provider{provider}), sealed); got != policy.InvalidSignature {
		t.Errorf("after its key was replaced: %v", got)
	}
	texts["EC"] = pemOf(t, curve)
	plain := keys.NewAuthenticator([]*keys.Provider{compile(t, f.store, config("corp", f.issuer.JWKS()))})
	if got := reason(t, plain, sealed); got != policy.MalformedCredential {
		t.Errorf("a provider without keys: %v", got)
	}
	for name, list := range map[string][]*configv1.DecryptionKey{
		"key": {key("a", "RSA-OAEP", "EC")}, "id": {key("", "ECDH-ES", "EC"), key("", "RSA-OAEP", "RSA")}, "key ": {key("a", "ECDH-ES", "no such")}, "key  ": {key("a", "RSA-OAEP", "large")},
	} {
		cfg.GetJwt().Decryption = list
		var field *policy.FieldError
		if _, err := f.store.Provider(cfg, files); !errors.As(err, &field) || !strings.HasSuffix(field.Field, "."+strings.TrimSpace(name)) {
			t.Errorf("%v: %v, want an error in %s", list, err, name)
		}
	}
}
