package signature_test

import (
	"bufio"
	"bytes"
	"embed"
	"encoding/base64"
	"encoding/pem"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/keys/internal/signature"
)

// files are the requests, what is signed of them, and the keys, of RFC 9421, appendix B.
//
//go:embed testdata
var files embed.FS

const rfcSecret = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="

func file(t testing.TB, name string) string {
	t.Helper()
	data, err := files.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func rfcKey(t testing.TB, name, algorithm string) *signature.Key {
	t.Helper()
	if algorithm == signature.HMAC {
		secret, err := base64.StdEncoding.DecodeString(rfcSecret)
		if err != nil {
			t.Fatal(err)
		}
		key, err := signature.Secret(secret)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	block, _ := pem.Decode([]byte(file(t, name)))
	key, err := signature.PublicKey(algorithm, block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func parsed(t testing.TB, text string) (*http.Request, []byte) {
	t.Helper()
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	return req, body
}

func requestOf(req *http.Request) *signature.Request {
	return &signature.Request{
		Method: req.Method, Scheme: "https", Authority: req.Host, Target: req.RequestURI,
		Lines: func(name string) []string { return req.Header.Values(name) },
	}
}

// The vectors of RFC 9421, appendix B.2.
func TestVectors(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]*signature.Key{
		"b21": rfcKey(t, "rsa-pss.pem", "rsa-pss-sha512"), "b22": rfcKey(t, "rsa-pss.pem", "rsa-pss-sha512"),
		"b23": rfcKey(t, "rsa-pss.pem", "rsa-pss-sha512"), "b25": rfcKey(t, "", signature.HMAC), "b26": rfcKey(t, "ed25519.pem", "ed25519"),
	} {
		req, body := parsed(t, file(t, name+".http"))
		all, err := signature.Read(req.Header.Get("Signature-Input"), req.Header.Get("Signature"))
		if err != nil || len(all) != 1 || all[0].Label != "sig-"+name {
			t.Errorf("%s: %+v, %v", name, all, err)
			continue
		}
		base, err := all[0].Base(requestOf(req))
		if err != nil || string(base) != file(t, name+".base") {
			t.Errorf("%s: what is signed: %v\n%s", name, err, base)
		}
		if !key.Verify(base, all[0].Value) || key.Verify(append(base, '\n'), all[0].Value) {
			t.Errorf("%s does not verify, or with another base", name)
		}
		if all[0].Created != 1618884473 || !all[0].HasCreated || all[0].HasExpires {
			t.Errorf("%s: %+v", name, all[0])
		}
		if err := signature.CheckDigest(req.Header.Get("Content-Digest"), body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := signature.CheckDigest(req.Header.Get("Content-Digest"), bytes.ToUpper(body)); err == nil {
			t.Errorf("%s: the digest of another body", name)
		}
	}
	// B.2.4 is of a response; what is signed is given.
	value, err := base64.StdEncoding.DecodeString("wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==")
	if err != nil {
		t.Fatal(err)
	}
	if key := rfcKey(t, "ecc-p256.pem", "ecdsa-p256-sha256"); !key.Verify([]byte(file(t, "b24.base")), value) || key.Verify([]byte(file(t, "b24.base")), value[:63]) {
		t.Error("B.2.4 does not verify, or a part of it does")
	}
}

// The derived components of sections 2.2.1 to 2.2.8, headers of section 2.1 and their bytes of section 2.1.3.
func TestComponents(t *testing.T) {
	t.Parallel()
	req := &signature.Request{
		Method: "POST", Scheme: "https", Authority: "www.example.com:8443",
		Target: "/path?param=value&foo=bar&baz=bat%2Dman&qux=&var=this%20is%20a%20big%0Amultiline%20value&bar=with+plus+whitespace&fa%C3%A7ade%22%3A%20=something&twice=1&tw%69ce=2",
		Lines: func(name string) []string {
			return map[string][]string{
				"x-empty": {""}, "x-space": {" \tvalue  with space\t "}, "x-two": {"value, with, lots", "of, commas"}, "x-break": {"a\n\"@method\": GET"},
			}[name]
		},
	}
	for id, want := range map[string]string{
		`"@method"`:                   "POST",
		`"@target-uri"`:               "https://www.example.com:8443" + req.Target,
		`"@authority"`:                "www.example.com:8443",
		`"@scheme"`:                   "https",
		`"@request-target"`:           req.Target,
		`"@path"`:                     "/path",
		`"@query"`:                    req.Target[len("/path"):],
		`"@query-param";name="baz"`:   "bat-man",
		`"@query-param";name="qux"`:   "",
		`"@query-param";name="param"`: "value",
		`"@query-param";name="var"`:   "this%20is%20a%20big%0Amultiline%20value",
		`"@query-param";name="bar"`:   "with%20plus%20whitespace",
		`"@query-param";name="fa%C3%A7ade%22%3A%20"`: "something",
		`"x-empty"`:    "",
		`"x-space"`:    "value  with space",
		`"x-two";bs`:   ":dmFsdWUsIHdpdGgsIGxvdHM=:, :b2YsIGNvbW1hcw==:",
		`"x-space";bs`: ":dmFsdWUgIHdpdGggc3BhY2U=:",
	} {
		all, err := signature.Read("a=("+id+");created=1", "a=:AAAA:")
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		base, err := all[0].Base(req)
		if want := id + ": " + want + "\n\"@signature-params\": (" + id + ");created=1"; err != nil || string(base) != want {
			t.Errorf("%s: %v\n%q, want\n%q", id, err, base, want)
		}
	}
	for name, id := range map[string]string{
		"a header that is not there": `"x-none"`, "two lines": `"x-two"`, "a line break": `"x-break"`,
		"a parameter that is not there": `"@query-param";name="none"`, "one that is there twice": `"@query-param";name="twice"`,
		"a name that is not encoded": `"@query-param";name="fa ade"`,
	} {
		all, err := signature.Read("a=("+id+");created=1", "a=:AAAA:")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if base, err := all[0].Base(req); err == nil {
			t.Errorf("%s: %q", name, base)
		}
	}
	all, err := signature.Read(`a=();created=1`, "a=:AAAA:")
	if err != nil {
		t.Fatal(err)
	}
	if base, err := all[0].Base(&signature.Request{Target: "/"}); err != nil || string(base) != `"@signature-params": ();created=1` {
		t.Errorf("nothing: %q, %v", base, err)
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	all, err := signature.Read(`a=("@method" "a" "b";bs "@query-param";name="c");created=1`, "a=:AAAA:")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"@method": true, "a": true, "b": true, "@query-param": false, "c": false, "": false, "@path": false} {
		if all[0].Covers(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

// Every form that is refused.
func TestMalformed(t *testing.T) {
	t.Parallel()
	const input, value = `a=("@method");created=1;keyid="k"`, "a=:AAAA:"
	if _, err := signature.Read(input, value); err != nil {
		t.Fatal(err)
	}
	for name, input := range map[string]string{
		"nothing":                      "",
		"no label":                     `("@method")`,
		"an upper-case label":          `A=("@method")`,
		"no list":                      `a="@method"`,
		"a token":                      `a=(method)`,
		"an open list":                 `a=("@method"`,
		"two spaces":                   `a=("@method"  "@path")`,
		"a space at the beginning":     `a=( "@method")`,
		"a space at the end":           `a=("@method" )`,
		"a tab":                        "a=(\"@method\"\t\"@path\")",
		"no space":                     `a=("@method""@path")`,
		"a comma":                      `a=("@method", "@path")`,
		"a component twice":            `a=("@method" "@method");created=1`,
		"a header twice":               `a=("date" "date");created=1`,
		"an upper-case header":         `a=("Date")`,
		"an empty name":                `a=("")`,
		"a header with a space":        `a=("da te")`,
		"an unknown derived component": `a=("@status")`,
		"the parameters themselves":    `a=("@signature-params")`,
		"sf":                           `a=("date";sf)`,
		"key":                          `a=("dict";key="a")`,
		"req":                          `a=("@method";req)`,
		"tr":                           `a=("expires";tr)`,
		"bs with a value":              `a=("date";bs=?1)`,
		"bs with sf":                   `a=("date";bs;sf)`,
		"bs twice":                     `a=("date";bs;bs)`,
		"bs of a derived component":    `a=("@method";bs)`,
		"a query parameter, nameless":  `a=("@query-param")`,
		"a name that is a token":       `a=("@query-param";name=a)`,
		"a name of a header":           `a=("date";name="a")`,
		"a space before a parameter":   `a=("@method"); created=1`,
		"an unknown parameter":         `a=("@method");created=1;context="x"`,
		"created twice":                `a=("@method");created=1;created=1`,
		"created without a value":      `a=("@method");created`,
		"created as a string":          `a=("@method");created="1"`,
		"created as a decimal":         `a=("@method");created=1.0`,
		"a negative created":           `a=("@method");created=-1`,
		"a created with a zero":        `a=("@method");created=01`,
		"a created that is too large":  `a=("@method");created=1000000000000000`,
		"a date":                       `a=("@method");created=@1`,
		"keyid as a token":             `a=("@method");created=1;keyid=k`,
		"keyid as bytes":               `a=("@method");created=1;keyid=:AAAA:`,
		"keyid with an escape":         `a=("@method");created=1;keyid="\k"`,
		"keyid that does not end":      `a=("@method");created=1;keyid="k`,
		"keyid that ends in an escape": `a=("@method");created=1;keyid="k\`,
		"keyid with a control":         "a=(\"@method\");created=1;keyid=\"k\n\"",
		"keyid that is not ASCII":      `a=("@method");created=1;keyid="é"`,
		"an upper-case parameter":      `a=("@method");Created=1`,
		"a semicolon at the end":       `a=("@method");created=1;`,
		"a comma at the end":           `a=("@method");created=1,`,
		"a space at the end of it all": `a=("@method");created=1 `,
		"a space before it all":        ` a=("@method");created=1`,
		"the same label twice":         `a=("@method");created=1, a=("@path");created=1`,
		"another label":                `b=("@method");created=1`,
		"one more label":               `a=("@method");created=1, b=("@method");created=1`,
		"many components":              `a=("` + strings.Repeat(`x" "`, 100) + `y");created=1`,
		"a long header":                `a=("@method");created=1;nonce="` + strings.Repeat("n", 8<<10) + `"`,
	} {
		if all, err := signature.Read(input, value); err == nil {
			t.Errorf("%s is read as %+v", name, all)
		}
	}
	for name, value := range map[string]string{
		"nothing": "", "no bytes": "a", "a string": `a="AAAA"`, "a list": "a=(:AAAA:)", "open": "a=:AAAA", "empty": "a=::",
		"no padding": "a=:AAA:", "unused bits": "a=:AAB=:", "a line break": "a=:AA\nAA:", "base64url": "a=:A-_A:", "a parameter": "a=:AAAA:;x",
		"another label": "b=:AAAA:", "twice": "a=:AAAA:, a=:AAAA:", "one more": "a=:AAAA:, b=:AAAA:", "a comma": "a=:AAAA:,", "long": "a=:" + strings.Repeat("A", 2000) + ":",
		"a long header": "a=:AAAA:" + strings.Repeat(" ", 8<<10),
	} {
		if all, err := signature.Read(input, value); err == nil {
			t.Errorf("the signature %s is read as %+v", name, all)
		}
	}
	many := func(member string) string { return strings.Join(strings.Split("abcdefghi", ""), member+",") + member }
	if _, err := signature.Read(many(`=();created=1`), many("=:AAAA:")); err == nil {
		t.Error("nine signatures are read")
	}
	if all, err := signature.Read("a=();created=1 ,\tb=();created=2", "b=:AAAA:,a=:AAAB:"); err != nil || len(all) != 2 || !bytes.Equal(all[0].Value, []byte{0, 0, 1}) {
		t.Errorf("two signatures: %+v, %v", all, err)
	}
}

func TestCheckDigest(t *testing.T) {
	t.Parallel()
	const ( // RFC 9530, appendix D
		body  = "{\"hello\": \"world\"}\n"
		right = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
		other = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
		wide  = "sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:"
	)
	for name, header := range map[string]string{
		"SHA-256": right, "SHA-512": wide, "both": right + ", " + wide, "one that is not known": "unixsum=:AAAA:, " + right,
	} {
		if err := signature.CheckDigest(header, []byte(body)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, header := range map[string]string{
		"nothing": "", "another": other, "the second of two": right + ", " + strings.Replace(wide, "YMA", "YMB", 1), "the first of two": strings.Replace(wide, "YMA", "YMB", 1) + ", " + right, "twice": right + ", " + right,
		"MD5": "md5=:Sd/dVLAcvNLSq16eXua5uQ==:", "cut off": "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabA==:", "a parameter": right + ";x",
		"hexadecimal": "sha-256=44aff4ab", "upper case": strings.ToUpper(right[:7]) + right[7:], "unused bits": strings.Replace(right, "bDg=", "bDh=", 1),
		"the old form": "SHA-256=RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=", "long": "x=:AAAA:," + strings.Repeat(" ", 8<<10) + right,
	} {
		if signature.CheckDigest(header, []byte(body)) == nil {
			t.Errorf("%s is right", name)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	var zero signature.Key
	if zero.Verify(nil, nil) {
		t.Error("the zero key verifies")
	}
	if _, err := signature.Secret(make([]byte, 31)); err == nil {
		t.Error("a short secret is a key")
	}
	for _, name := range []string{"rsa-pss.pem", "ed25519.pem", "ecc-p256.pem"} {
		block, _ := pem.Decode([]byte(file(t, name)))
		fits := map[string]bool{}
		for _, algorithm := range []string{"ed25519", "ecdsa-p256-sha256", "ecdsa-p384-sha384", "rsa-pss-sha512", "rsa-v1_5-sha256", "hmac-sha256", "", "none"} {
			if _, err := signature.PublicKey(algorithm, block.Bytes); err == nil {
				fits[algorithm] = true
			}
		}
		if want := map[string]int{"rsa-pss.pem": 2, "ed25519.pem": 1, "ecc-p256.pem": 1}[name]; len(fits) != want {
			t.Errorf("%s is a key of %v", name, fits)
		}
	}
	if _, err := signature.PublicKey("ed25519", []byte("no DER")); err == nil {
		t.Error("no DER is a key")
	}
}

// What is read is written in no other way, and reading it bounds everything.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"b21", "b22", "b23", "b25", "b26"} {
		req, _ := parsed(f, file(f, name+".http"))
		f.Add(req.Header.Get("Signature-Input"), req.Header.Get("Signature"))
	}
	f.Add(`a=("date";bs "@query-param";name="a\"");created=1;nonce="\\", b=()`, "a=:AAAA:,b=:AAAA:")
	f.Fuzz(func(t *testing.T, input, value string) {
		all, err := signature.Read(input, value)
		if err != nil {
			return
		}
		for i := range all {
			base, err := all[i].Base(&signature.Request{Target: "/?a", Lines: func(string) []string { return []string{"x"} }})
			if err != nil {
				continue
			}
			lines := strings.Split(string(base), "\n")
			list, ok := strings.CutPrefix(lines[len(lines)-1], `"@signature-params": `)
			if !ok || !strings.Contains(input, all[i].Label+"="+list) {
				t.Errorf("%q is not what was sent: %q", list, input)
			}
			again, err := signature.Read("x="+list, "x=:AAAA:")
			if err != nil || again[0].KeyID != all[i].KeyID || again[0].Created != all[i].Created {
				t.Errorf("%q is read in two ways: %v", list, err)
			}
		}
	})
}

func FuzzCheckDigest(f *testing.F) {
	f.Add("sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:", "{\"hello\": \"world\"}\n")
	f.Add("sha-512=:AAAA:, sha-256=:AAAA:", "")
	f.Fuzz(func(t *testing.T, header, body string) {
		if signature.CheckDigest(header, []byte(body)) == nil && signature.CheckDigest(header, []byte(body+"x")) == nil {
			t.Errorf("%q is the digest of two bodies", header)
		}
	})
}
