package password_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/keys/internal/password"
)

// What others made: PHP's documentation, and the tests of the reference implementation of Argon2.
const (
	phpHash    = "$2y$10$.vGA1O9wmRjrwAVXD98HNOgsNpDczlqm3Jq7KnEd1rVAGv3Fykk1a" // rasmuslerdorf
	argon2Hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
)

func read(t testing.TB, text string) *password.File {
	t.Helper()
	file, err := password.Read([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestVerify(t *testing.T) {
	t.Parallel()
	long, err := bcrypt.GenerateFromPassword([]byte(strings.Repeat("x", 72)), 10)
	if err != nil {
		t.Fatal(err)
	}
	file := read(t, "# users\r\n\r\nalice:"+phpHash+"\r\nbøb:"+argon2Hash+"\nlong:"+string(long)+"\n")
	for _, test := range []struct {
		user, password string
		want           bool
	}{
		{"alice", "rasmuslerdorf", true},
		{"alice", "rasmuslerdorg", false},
		{"alice", "", false},
		{"alice", "password", false},
		{"Alice", "rasmuslerdorf", false},
		{"bøb", "password", true},
		{"bøb", "password ", false},
		{"long", strings.Repeat("x", 72), true},
		{"long", strings.Repeat("x", 73), false}, // of which bcrypt would read 72
		{"long", strings.Repeat("x", 71), false},
		{"mallory", "rasmuslerdorf", false},
		{"", "", false},
		{"# users", "", false},
	} {
		if got := file.Verify(test.user, test.password); got != test.want {
			t.Errorf("%q: %v, want %v", test.user, got, test.want)
		}
	}
	var zero password.File
	if zero.Verify("alice", "") || zero.Has("alice") {
		t.Error("the zero file knows somebody")
	}
	if file.Mark("alice") != phpHash || file.Mark("mallory") != "" || !file.Has("bøb") || file.Has("mallory") {
		t.Error("a mark is not the hash")
	}
}

// An unknown user costs what most of the known ones do, of equally many the dearer.
func TestUnknown(t *testing.T) {
	t.Parallel()
	dear := strings.Replace(phpHash, "$10$", "$12$", 1)
	for lines, like := range map[string]string{
		"a:" + phpHash: "a", "a:" + argon2Hash: "a",
		"a:" + phpHash + "\nb:" + dear + "\nc:" + phpHash: "a", "a:" + phpHash + "\nb:" + dear: "b",
		"a:" + phpHash + "\nb:" + argon2Hash: "b", "a:" + phpHash + "\nb:" + argon2Hash + "\nc:" + phpHash: "a",
	} {
		if file := read(t, lines); password.Unknown(file) != password.Cost(file, like) {
			t.Errorf("of %q an unknown user costs %s", lines, password.Unknown(file))
		}
	}
}

// Each kind of line that is no user's, with its place.
func TestFaults(t *testing.T) {
	t.Parallel()
	argon2 := func(settings, salt, sum string) string { return "$argon2id$v=19$" + settings + "$" + salt + "$" + sum }
	const good, salt = "m=19456,t=2,p=1", "c29tZXNhbHQ"
	sum := base64.RawStdEncoding.EncodeToString(make([]byte, 32))
	for name, hash := range map[string]string{
		"plain":                     "secret",
		"empty":                     "",
		"crypt":                     "rqXexS6ZhobKA",
		"MD5 of Apache":             "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/",
		"SHA-1":                     "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=",
		"SHA-512":                   "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJu",
		"argon2i":                   "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA",
		"argon2 of another version": strings.Replace(argon2(good, salt, sum), "v=19", "v=16", 1),
		"argon2 without version":    strings.Replace(argon2(good, salt, sum), "v=19$", "", 1),
		"argon2, two parameters":    argon2("m=19456,t=2", salt, sum),
		"argon2, another order":     argon2("t=2,m=19456,p=1", salt, sum),
		"argon2, a leading zero":    argon2("m=019456,t=2,p=1", salt, sum),
		"argon2, a sign":            argon2("m=+19456,t=2,p=1", salt, sum),
		"argon2, overflow":          argon2("m=4294986752,t=2,p=1", salt, sum),
		"argon2, weak":              argon2("m=4096,t=3,p=1", salt, sum),
		"argon2, one pass":          argon2("m=19456,t=1,p=1", salt, sum),
		"argon2, too much memory":   argon2("m=65537,t=1,p=1", salt, sum),
		"argon2, too many passes":   argon2("m=8192,t=17,p=1", salt, sum),
		"argon2, too dear":          argon2("m=65536,t=5,p=1", salt, sum),
		"argon2, threads":           argon2("m=19456,t=2,p=5", salt, sum),
		"argon2, no threads":        argon2("m=19456,t=2,p=0", salt, sum),
		"argon2, short salt":        argon2(good, "c29t", sum),
		"argon2, padded salt":       argon2(good, "c29tZXNhbHQ=", sum),
		"argon2, salt with bits":    argon2(good, "c29tZXNhbHR", sum),
		"argon2, short hash":        argon2(good, salt, "c29tZXNhbHQ"),
		"argon2, more":              argon2(good, salt, sum) + "$",
		"bcrypt, cut off":           phpHash[:59],
		"bcrypt, more":              phpHash + "a",
		"bcrypt, another letter":    strings.Replace(phpHash, "$2y$10$.", "$2y$10$-", 1),
		"bcrypt, weak":              strings.Replace(phpHash, "$10$", "$09$", 1),
		"bcrypt, htpasswd's own":    strings.Replace(phpHash, "$10$", "$05$", 1),
		"bcrypt, too dear":          strings.Replace(phpHash, "$10$", "$15$", 1),
		"bcrypt, a sign":            strings.Replace(phpHash, "$10$", "$+9$", 1),
		"bcrypt with a bug":         strings.Replace(phpHash, "$2y$", "$2x$", 1),
		"space behind":              phpHash + " ",
		"more fields":               phpHash + ":1000",
	} {
		mustFail(t, name, "alice:"+phpHash+"\nbob:"+hash+"\n", 2, 5)
	}
	for name, line := range map[string]string{
		"no colon":       "bob",
		"no user":        ":" + phpHash,
		"space before":   " bob:" + phpHash,
		"space between":  "bob :" + phpHash,
		"a control":      "b\x01b:" + phpHash,
		"not UTF-8":      "b\xffb:" + phpHash,
		"too long":       strings.Repeat("b", 256) + ":" + phpHash,
		"a second line":  "alice:" + phpHash,
		"byte order":     "\ufeffbob :" + phpHash,
		"only a newline": "\rbob:" + phpHash,
	} {
		mustFail(t, name, "alice:"+phpHash+"\n"+line+"\n", 2, 1)
	}
	mustFail(t, "a long line", strings.Repeat("b", 1025), 1, 1025)
	mustFail(t, "an empty file", "", 1, 1)
	mustFail(t, "comments alone", "# nobody\n", 1, 1)
}

func mustFail(t *testing.T, name, text string, line, column int) {
	t.Helper()
	_, err := password.Read([]byte(text))
	var fault *password.Fault
	if !errors.As(err, &fault) || fault.Line != line || fault.Column != column {
		t.Errorf("%s: %+v, want a fault at %d:%d", name, fault, line, column)
	} else if strings.Contains(err.Error(), "bob") || strings.Contains(err.Error(), "secret") {
		t.Errorf("%s: the error has text of the file: %v", name, err)
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for text, want := range map[string][2]string{
		"QWxhZGRpbjpvcGVuIHNlc2FtZQ==": {"Aladdin", "open sesame"}, // RFC 7617, section 2
		"dGVzdDoxMjPCow==":             {"test", "123£"},           // section 2.1
		encode("a:b:c"):                {"a", "b:c"},
		encode(strings.Repeat("u", 255) + ":" + strings.Repeat("p", 1024)): {strings.Repeat("u", 255), strings.Repeat("p", 1024)},
	} {
		user, secret, err := password.Split(text)
		if err != nil || user != want[0] || secret != want[1] {
			t.Errorf("%q: %q, %v", text, user, err)
		}
	}
	for name, text := range map[string]string{
		"nothing":              "",
		"no base64":            "alice:secret",
		"no padding":           "dGVzdDoxMjPCow",
		"too much padding":     "dGVzdDoxMjPCow====",
		"unused bits":          "dGVzdDoxMjPCox==",
		"a line break":         "dGVz\ndDoxMjPCow==",
		"a carriage return":    "dGVzdDoxMjPCow==\r",
		"a space":              "dGVz dDoxMjPCow==",
		"base64url":            encode("a:\xc3\xbe\xc3\xbf>?")[:4] + "-_==",
		"no colon":             encode("alice"),
		"no user":              encode(":secret"),
		"no password":          encode("alice:"),
		"NUL":                  encode("alice:sec\x00ret"),
		"a tab":                encode("al\tice:secret"),
		"DEL":                  encode("alice:secret\x7f"),
		"a control of C1":      encode("alice:secret\u0085"),
		"Latin-1":              encode("alice:\xa3"),
		"a long user":          encode(strings.Repeat("u", 256) + ":p"),
		"a long password":      encode("u:" + strings.Repeat("p", 1025)),
		"a very long one":      encode(strings.Repeat("u", 100_000)),
		"another's parameters": "dGVzdDoxMjPCow==, charset=UTF-8",
	} {
		if _, _, err := password.Split(text); err == nil {
			t.Errorf("%s was read", name)
		} else if strings.Contains(err.Error(), "alice") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error has text of the credential: %v", name, err)
		}
	}
}

// A credential has one spelling, and every user and password that may be there is read as it was written.
func TestSplitIsTheOnlyReading(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		user := rapid.StringMatching(`[a-z0-9 é€@.-]{1,40}`).Draw(t, "user")
		secret := rapid.StringMatching(`[a-zA-Z0-9:é€ "\\]{1,80}`).Draw(t, "password")
		text := base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))
		gotUser, gotSecret, err := password.Split(text)
		if err != nil || gotUser != user || gotSecret != secret {
			t.Fatalf("%q is read as another: %v", text, err)
		}
	})
}

func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "dGVzdDoxMjPCow==", "", "Og==", "dGVzdDoxMjPCox=="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		user, secret, err := password.Split(text)
		if err != nil {
			return
		}
		if again := base64.StdEncoding.EncodeToString([]byte(user + ":" + secret)); again != text || user == "" || strings.Contains(user, ":") {
			t.Errorf("%q is read as another", text)
		}
	})
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{"alice:" + phpHash, "# a\n\nbob:" + argon2Hash + "\r\n", "", ":", "alice:" + phpHash + "\nalice:" + phpHash} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := password.Read(data)
		var fault *password.Fault
		switch {
		case err == nil:
			for line := range strings.Lines(string(data)) {
				line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
				if user, hash, _ := strings.Cut(line, ":"); line != "" && line[0] != '#' && file.Mark(user) != hash {
					t.Errorf("the line %q is not in the file", line)
				}
			}
		case !errors.As(err, &fault) || fault.Line < 1 || fault.Column < 1 || fault.Line > strings.Count(string(data), "\n")+1:
			t.Errorf("a fault without a place: %v", err)
		}
	})
}

// An unknown user costs what most of the known ones cost.
func BenchmarkVerify(b *testing.B) {
	for _, file := range []string{"alice:" + phpHash, "alice:" + argon2Hash} {
		f := read(b, file)
		for _, user := range []string{"alice", "nobody"} {
			b.Run(fmt.Sprintf("%s/%s", strings.Split(file, "$")[1], user), func(b *testing.B) {
				for b.Loop() {
					f.Verify(user, "wrong")
				}
			})
		}
	}
}
