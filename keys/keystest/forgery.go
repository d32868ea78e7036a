package keystest

import (
	"bytes"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"
)

// Forgery is a kind of bad token, by the one thing that is wrong with it.
type Forgery uint8

// The forgeries.
const (
	Expired          Forgery = iota // good until an hour ago
	NotYetValid                     // nbf is in an hour
	IssuedInFuture                  // iat is in an hour
	ForeignAudience                 // for "somebody-else"
	ForeignIssuer                   // iss is "https://foreign.example"
	ForeignKey                      // signed with another key under the published key's id
	AlgNone                         // alg "none", no signature
	AlgNoneFolded                   // alg "nOnE", no signature
	HS256PublicKey                  // HMAC keyed with the published RSA key in PEM
	OtherAlgorithm                  // the header names another algorithm of the same family
	TamperedPayload                 // the subject was changed after signing
	TamperedHeader                  // the header was changed after signing
	EmptySignature                  // nothing behind the second dot
	ZeroSignature                   // as many zero bytes as a signature has (CVE-2022-21449)
	NoExpiry                        // no exp
	ZeroExpiry                      // exp 0
	TextExpiry                      // exp is a string
	HugeExpiry                      // exp is 2^63-1
	MillisExpiry                    // exp counts milliseconds
	FoldedExpiry                    // EXP in place of exp
	NoSubject                       // no sub
	EmptySubject                    // sub ""
	NumericAudience                 // aud 7
	CritHeader                      // crit names an extension
	UnencodedPayload                // b64 false (RFC 7797)
	UnknownKid                      // signed well, under an id that nobody published
	PathKid                         // kid is a path
	NumericKid                      // kid is a number
	EmbeddedKey                     // signed with a foreign key that the header carries as jwk
	KeyURL                          // signed with a foreign key, jku and x5u name a URL
	NestedToken                     // cty JWT
	ForeignType                     // typ "logout+jwt"
	DuplicateClaim                  // sub twice
	DuplicateHeader                 // alg twice
	Padded                          // a part with base64 padding
	LineBreak                       // CR and LF within the signature
	TrailingBits                    // the unused last bits of the signature are not zero
	TrailingBytes                   // bytes after the claims' object
	DeepClaims                      // claims nested 100 deep
	InvalidUTF8                     // a claim that is no UTF-8
	FourParts                       // a fourth part
	TwoParts                        // no signature part

	forgeryCount
)

var forgeries = [forgeryCount]struct {
	name  string
	forge func(*Issuer, Claims) string
}{
	Expired:          {"expired", expired},
	NotYetValid:      {"not_yet_valid", claim("nbf", inAnHour)},
	IssuedInFuture:   {"issued_in_future", claim("iat", inAnHour)},
	ForeignAudience:  {"foreign_audience", claim("aud", always("somebody-else"))},
	ForeignIssuer:    {"foreign_issuer", claim("iss", always("https://foreign.example"))},
	ForeignKey:       {"foreign_key", foreignKey(nil)},
	AlgNone:          {"alg_none", algNone("none")},
	AlgNoneFolded:    {"alg_none_folded", algNone("nOnE")},
	HS256PublicKey:   {"hs256_public_key", hmacWithPublicKey},
	OtherAlgorithm:   {"other_algorithm", otherAlgorithm},
	TamperedPayload:  {"tampered_payload", tamperedPayload},
	TamperedHeader:   {"tampered_header", tamperedHeader},
	EmptySignature:   {"empty_signature", signature(func(string) string { return "" })},
	ZeroSignature:    {"zero_signature", signature(zeroes)},
	NoExpiry:         {"no_expiry", claim("exp", always(nil))},
	ZeroExpiry:       {"zero_expiry", claim("exp", always(0))},
	TextExpiry:       {"text_expiry", claim("exp", func(now time.Time) any { return fmt.Sprint(now.Unix() + 3600) })},
	HugeExpiry:       {"huge_expiry", claim("exp", always(int64(1<<63-1)))},
	MillisExpiry:     {"millis_expiry", claim("exp", func(now time.Time) any { return now.UnixMilli() + 3_600_000 })},
	FoldedExpiry:     {"folded_expiry", foldedExpiry},
	NoSubject:        {"no_subject", claim("sub", always(nil))},
	EmptySubject:     {"empty_subject", claim("sub", always(""))},
	NumericAudience:  {"numeric_audience", claim("aud", always(7))},
	CritHeader:       {"crit_header", header(map[string]any{"crit": []string{"exp"}})},
	UnencodedPayload: {"unencoded_payload", header(map[string]any{"b64": false})},
	UnknownKid:       {"unknown_kid", header(map[string]any{"kid": "nobody-published-this"})},
	PathKid:          {"path_kid", header(map[string]any{"kid": "../../../../dev/null"})},
	NumericKid:       {"numeric_kid", header(map[string]any{"kid": 7})},
	EmbeddedKey:      {"embedded_key", embeddedKey},
	KeyURL: {"key_url", foreignKey(map[string]any{
		"jku": "http://127.0.0.1:1/jwks.json", "x5u": "http://127.0.0.1:1/cert.pem",
	})},
	NestedToken:     {"nested_token", header(map[string]any{"cty": "JWT"})},
	ForeignType:     {"foreign_type", header(map[string]any{"typ": "logout+jwt"})},
	DuplicateClaim:  {"duplicate_claim", rawPayload(duplicateClaim)},
	DuplicateHeader: {"duplicate_header", duplicateHeader},
	Padded:          {"padded", signature(func(s string) string { return s + "==" })},
	LineBreak:       {"line_break", signature(func(s string) string { return s[:8] + "\r\n" + s[8:] })},
	TrailingBits:    {"trailing_bits", signature(trailingBits)},
	TrailingBytes:   {"trailing_bytes", rawPayload(func(p []byte) []byte { return append(p, "{}"...) })},
	DeepClaims:      {"deep_claims", rawPayload(deepClaims)},
	InvalidUTF8:     {"invalid_utf8", rawPayload(invalidUTF8)},
	FourParts:       {"four_parts", func(i *Issuer, c Claims) string { return i.Token(c) + ".e30" }},
	TwoParts:        {"two_parts", twoParts},
}

// Forgeries returns every forgery, for tables that must have them all.
func Forgeries() []Forgery {
	all := make([]Forgery, 0, forgeryCount)
	for kind := range forgeryCount {
		all = append(all, kind)
	}
	return all
}

// String returns the forgery's name, in lower case with underscores.
func (f Forgery) String() string {
	if f >= forgeryCount {
		return fmt.Sprintf("forgery(%d)", uint8(f))
	}
	return forgeries[f].name
}

// Forge returns a token with those claims that is bad in that one way. It panics for a kind that is none.
func (i *Issuer) Forge(kind Forgery, claims Claims) string {
	if kind >= forgeryCount {
		panic("keystest: " + kind.String() + " is no forgery")
	}
	return forgeries[kind].forge(i, claims)
}

func always(value any) func(time.Time) any { return func(time.Time) any { return value } }

func inAnHour(now time.Time) any { return now.Add(time.Hour).Unix() }

// claim forges a token whose one claim has another value; nil leaves it out.
func claim(name string, value func(time.Time) any) func(*Issuer, Claims) string {
	return func(i *Issuer, claims Claims) string {
		payload := i.payload(claims)
		payload[name] = value(i.Now())
		if payload[name] == nil {
			delete(payload, name)
		}
		return i.sign(claims, payload, nil)
	}
}

// header forges a token, well signed, whose header has other entries.
func header(changes map[string]any) func(*Issuer, Claims) string {
	return func(i *Issuer, claims Claims) string {
		return i.sign(claims, i.payload(claims), changes)
	}
}

// signature forges a token whose third part was changed.
func signature(change func(string) string) func(*Issuer, Claims) string {
	return func(i *Issuer, claims Claims) string {
		token := i.Token(claims)
		dot := strings.LastIndexByte(token, '.') + 1
		return token[:dot] + change(token[dot:])
	}
}

// rawPayload forges a token, well signed, whose claims' text was changed before signing.
func rawPayload(change func([]byte) []byte) func(*Issuer, Claims) string {
	return func(i *Issuer, claims Claims) string {
		key := i.key(claims)
		return signRaw(key, mustJSON(headerOf(key, nil)), change(mustJSON(i.payload(claims))))
	}
}

func signRaw(key *signingKey, header, payload []byte) string {
	text := encode(header) + "." + encode(payload)
	return text + "." + encode(key.sign(text))
}

func expired(i *Issuer, claims Claims) string {
	payload, now := i.payload(claims), i.Now()
	payload["iat"] = now.Add(-2 * time.Hour).Unix()
	payload["exp"] = now.Add(-time.Hour).Unix()
	return i.sign(claims, payload, nil)
}

func foldedExpiry(i *Issuer, claims Claims) string {
	payload := i.payload(claims)
	payload["EXP"] = payload["exp"]
	delete(payload, "exp")
	return i.sign(claims, payload, nil)
}

func (i *Issuer) foreignKey(claims Claims) *signingKey {
	ring, err := i.foreign()
	if err != nil {
		panic(fmt.Sprintf("keystest: making foreign keys: %v", err))
	}
	return ring.of(claims)
}

// foreignKey forges a token that is signed with a key that the issuer never published, under the id of one
// that it did.
func foreignKey(changes map[string]any) func(*Issuer, Claims) string {
	return func(i *Issuer, claims Claims) string {
		header := headerOf(i.key(claims), changes)
		return signRaw(i.foreignKey(claims), mustJSON(header), mustJSON(i.payload(claims)))
	}
}

func embeddedKey(i *Issuer, claims Claims) string {
	foreign := i.foreignKey(claims)
	header := headerOf(i.key(claims), map[string]any{"jwk": foreign.public})
	return signRaw(foreign, mustJSON(header), mustJSON(i.payload(claims)))
}

func algNone(name string) func(*Issuer, Claims) string {
	return func(i *Issuer, claims Claims) string {
		header := headerOf(i.key(claims), map[string]any{"alg": name})
		return encode(mustJSON(header)) + "." + encode(mustJSON(i.payload(claims))) + "."
	}
}

func hmacWithPublicKey(i *Issuer, claims Claims) string {
	claims.Algorithm = rs256
	key := i.key(claims)
	private, ok := key.private.(*rsa.PrivateKey)
	if !ok {
		panic(fmt.Sprintf("keystest: the RS256 key is a %T", key.private))
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		panic(fmt.Sprintf("keystest: encoding the RSA key: %v", err))
	}
	header := headerOf(key, map[string]any{"alg": "HS256"})
	text := encode(mustJSON(header)) + "." + encode(mustJSON(i.payload(claims)))
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	mac.Write([]byte(text))
	return text + "." + encode(mac.Sum(nil))
}

// otherAlgorithm signs with the key in force but names its neighbour in the header, as a token does whose
// verifier picks the algorithm by the header.
func otherAlgorithm(i *Issuer, claims Claims) string {
	key := i.key(claims)
	neighbour := map[string]string{rs256: "PS256", es256: "ES384", eddsa: "RS256"}[key.algorithm]
	return i.sign(claims, i.payload(claims), map[string]any{"alg": neighbour})
}

func tamperedPayload(i *Issuer, claims Claims) string {
	parts := strings.Split(i.Token(claims), ".")
	payload := i.payload(claims)
	payload["sub"] = "root"
	return parts[0] + "." + encode(mustJSON(payload)) + "." + parts[2]
}

func tamperedHeader(i *Issuer, claims Claims) string {
	parts := strings.Split(i.Token(claims), ".")
	header := headerOf(i.key(claims), map[string]any{"typ": "at+jwt"})
	return encode(mustJSON(header)) + "." + parts[1] + "." + parts[2]
}

func zeroes(signature string) string { return strings.Repeat("A", len(signature)) }

// trailingBits sets a bit that no byte of the signature uses; a lenient decoder reads the same signature. The
// signatures of all three algorithms leave four such bits in the last character.
func trailingBits(signature string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, signature[len(signature)-1])
	return signature[:len(signature)-1] + alphabet[last|1:last|1+1]
}

func duplicateClaim(payload []byte) []byte {
	return append(bytes.TrimSuffix(payload, []byte("}")), `,"sub":"root"}`...)
}

func duplicateHeader(i *Issuer, claims Claims) string {
	key := i.key(claims)
	header := append([]byte(`{"alg":"none",`), mustJSON(headerOf(key, nil))[1:]...)
	return signRaw(key, header, mustJSON(i.payload(claims)))
}

func deepClaims(payload []byte) []byte {
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	return append(bytes.TrimSuffix(payload, []byte("}")), `,"deep":`+deep+`}`...)
}

func invalidUTF8(payload []byte) []byte {
	return append(bytes.TrimSuffix(payload, []byte("}")), ",\"text\":\"\xff\xfe\"}"...)
}

func twoParts(i *Issuer, claims Claims) string {
	token := i.Token(claims)
	return token[:strings.LastIndexByte(token, '.')]
}
