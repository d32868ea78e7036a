package keys

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

// modulus is a number of that many bits, all of them one. It is no product of two primes; whether a key is taken
// shows before anything is verified with it.
func modulus(bits int) string {
	return base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, bits/8))
}

const (
	point   = `"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"` // RFC 7515, A.3
	edwards = `"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`                       // RFC 8037, A.2
)

func TestWhichKeysAreTaken(t *testing.T) {
	ec := `"kty":"EC","crv":"P-256",` + point
	rsa := fmt.Sprintf(`"kty":"RSA","e":"AQAB","n":%q`, modulus(2048))
	for member, want := range map[string]string{
		ec:                                  "[ES256]",
		edwards:                             "[EdDSA]",
		rsa:                                 "[RS256 RS384 RS512 PS256 PS384 PS512]",
		rsa + `,"alg":"PS256"`:              "[PS256]",
		rsa + `,"alg":"ES256"`:              "",
		rsa + `,"alg":"HS256"`:              "",
		rsa + `,"alg":"RSA-OAEP"`:           "",
		rsa + `,"alg":""`:                   "",
		rsa + `,"alg":7`:                    "",
		ec + `,"alg":"ES256"`:               "[ES256]",
		ec + `,"alg":"ES384"`:               "",
		edwards + `,"alg":"EdDSA"`:          "[EdDSA]",
		edwards + `,"alg":"ES256"`:          "",
		ec + `,"use":"sig"`:                 "[ES256]",
		ec + `,"use":"enc"`:                 "",
		ec + `,"use":"tls"`:                 "",
		ec + `,"use":null`:                  "",
		ec + `,"key_ops":["verify"]`:        "[ES256]",
		ec + `,"key_ops":["sign","verify"]`: "[ES256]",
		ec + `,"key_ops":["encrypt"]`:       "",
		ec + `,"key_ops":[]`:                "",
		ec + `,"key_ops":"verify"`:          "",
		ec + `,"key_ops":null`:              "",
		ec + `,"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"`: "",
		ec + `,"kid":7`:  "",
		ec + `,"kid":""`: "",
		ec + `,"kid":"` + strings.Repeat("k", 257) + `"`:                               "",
		ec + `,"x5c":["nonsense"],"x5u":"http://127.0.0.1:1/"`:                         "[ES256]", // not looked at
		`"kty":"EC","crv":"P-384",` + point:                                            "",
		`"kty":"EC","crv":"secp256k1",` + point:                                        "",
		`"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"`:                                   "",
		`"kty":"EC","crv":"P-256","x":"AAAA"`:                                          "",
		`"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`: "",
		`"kty":"OKP","crv":"Ed25519","x":"AQ"`:                                         "",
		`"kty":"oct","k":"c2VjcmV0"`:                                                   "",
		`"kty":"rsa","e":"AQAB","n":"` + modulus(2048) + `"`:                           "",
		`"KTY":"RSA","e":"AQAB","n":"` + modulus(2048) + `"`:                           "",
		`"kty":"RSA","e":"AQAB","n":"` + modulus(1024) + `"`:                           "",
		`"kty":"RSA","e":"AQAB","n":"` + modulus(2040) + `"`:                           "",
		`"kty":"RSA","e":"AQAB","n":"` + modulus(8192) + `"`:                           "[RS256 RS384 RS512 PS256 PS384 PS512]",
		`"kty":"RSA","e":"AQAB","n":"` + modulus(8200) + `"`:                           "",
		`"kty":"RSA","e":"AQ","n":"` + modulus(2048) + `"`:                             "", // 1
		`"kty":"RSA","e":"Ag","n":"` + modulus(2048) + `"`:                             "", // 2
		`"kty":"RSA","e":"BA","n":"` + modulus(2048) + `"`:                             "", // 4
		`"kty":"RSA","e":"Aw","n":"` + modulus(2048) + `"`:                             "[RS256 RS384 RS512 PS256 PS384 PS512]",
		`"kty":"RSA","e":"AQAAAAAAAQAB","n":"` + modulus(2048) + `"`:                   "", // 2^64+65537, which 64 bits make 65537
		`"kty":"RSA","e":"AQAB"`:                                                       "",
		`"e":"AQAB","n":"` + modulus(2048) + `"`:                                       "",
	} {
		set, err := parseKeySet([]byte(`{"keys":[{` + member + `}]}`))
		got := ""
		if err == nil {
			got = fmt.Sprint(set.keys[0].algorithms)
		}
		if got != want {
			t.Errorf("%.120s: %q, %v; want %q", member, got, err, want)
		}
	}
}

func TestKeysOfOneIDAreAllLeftOut(t *testing.T) {
	one := `{"kid":"1","kty":"EC","crv":"P-256",` + point + `}`
	two := `{"kid":"1",` + edwards + `}`
	enc := `{"kid":"1","use":"enc",` + edwards + `}`
	anonymous := `{` + edwards + `}`
	for document, want := range map[string]int{
		one:                               1,
		one + "," + two:                   0,
		one + "," + one:                   0,
		one + "," + two + "," + one:       0,
		one + "," + enc:                   1, // one that is not usable is no rival
		anonymous + "," + anonymous:       2, // they have no id to share
		one + "," + two + "," + anonymous: 1,
	} {
		set, err := parseKeySet([]byte(`{"keys":[` + document + `]}`))
		got := 0
		if err == nil {
			got = len(set.keys)
			for id, key := range set.byID {
				if key.id != id || id == "" {
					t.Errorf("%q leads to the key %q", id, key.id)
				}
			}
		}
		if got != want {
			t.Errorf("%s: %d keys, %v; want %d", document, got, err, want)
		}
	}
}

func TestFindKey(t *testing.T) {
	ec, ed := `{"kid":"ec","kty":"EC","crv":"P-256",`+point+`}`, `{"kid":"ed",`+edwards+`}`
	anonymous := `{` + edwards + `}`
	for _, test := range []struct {
		keys      string
		token     token
		want      string // the key's id
		wantError error
	}{
		{ec + "," + ed, token{keyID: "ec", algorithm: "ES256"}, "ec", nil},
		{ec + "," + ed, token{keyID: "ed", algorithm: "EdDSA"}, "ed", nil},
		{ec + "," + ed, token{keyID: "ec", algorithm: "EdDSA"}, "", errKeyMisfit},
		{ec, token{keyID: "ed", algorithm: "ES256"}, "", errUnknownKey}, // not even with one key
		{anonymous, token{keyID: "ed", algorithm: "EdDSA"}, "", errUnknownKey},
		{ec + "," + ed, token{algorithm: "EdDSA"}, "ed", nil},
		{ec + "," + ed, token{algorithm: "RS256"}, "", errWhichKey},
		{ed + "," + anonymous, token{algorithm: "EdDSA"}, "", errWhichKey},
		{ec + "," + anonymous, token{algorithm: "EdDSA"}, "", nil},
	} {
		set, err := parseKeySet([]byte(`{"keys":[` + test.keys + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		got, err := set.find(&test.token)
		if err != test.wantError || err == nil && got.id != test.want { //nolint:errorlint // find returns the sentinels themselves
			t.Errorf("kid %q, alg %s: %v, %v; want %q, %v", test.token.keyID, test.token.algorithm, got, err, test.want, test.wantError)
		}
	}
}

// A document of the greatest size is read in no time that anyone would notice.
func TestGreatestDocuments(t *testing.T) {
	for name, document := range map[string]string{
		"key_ops":  `{"keys":[{"kty":"EC","key_ops":["` + strings.Repeat(`sign","`, 60000) + `verify"]}]}`,
		"members":  `{"keys":[{` + members(40000) + `}]}`,
		"a number": `{"keys":[` + strings.Repeat("9", 500000) + `]}`,
	} {
		if len(document) > maxKeySet {
			t.Fatalf("%s: %d bytes are too many for the test", name, len(document))
		}
		start := time.Now()
		if _, err := parseKeySet([]byte(document)); err == nil {
			t.Errorf("%s: it is a key set", name)
		}
		if took := time.Since(start); took > 10*time.Second { // generous: the race detector, and other work on the machine
			t.Errorf("%s: %v", name, took)
		}
	}
	if _, err := parseKeySet(make([]byte, maxKeySet+1)); err == nil {
		t.Error("a document that is too long")
	}
}

func members(count int) string {
	var text strings.Builder
	for i := range count {
		fmt.Fprintf(&text, `"%d":0,`, i)
	}
	return text.String() + `"x":0`
}
