package demo_test

import (
	"strconv"
	"strings"
	"testing"
)

// maxReadings bounds the readings of one target. What has more is taken for below /admin, which is on the safe side.
const maxReadings = 4000

// leniencies are what upstreams do to a path, each on its own. An upstream may do any of them, in any order, and more
// than once; letters keep their case, because a policy is written for the paths that there are.
var leniencies = []func(string) string{
	func(s string) string { return cut(s, "?") },
	func(s string) string { return cut(s, "#") },
	func(s string) string { return cut(s, "\x00") },
	stripParameters,
	percentDecode,
	func(s string) string { return strings.ReplaceAll(s, `\`, "/") },
	mergeSlashes,
	resolveDots,
	overlong,
	func(s string) string { // an absolute target
		if _, rest, ok := strings.Cut(s, "://"); ok && !strings.HasPrefix(s, "/") {
			return "/" + cutBefore(rest, "/")
		}
		return s
	},
	func(s string) string { return "/" + strings.TrimLeft(s, "/\t ") },
}

// readsBelowAdmin says whether some upstream could take the target for /admin or something below it. Everybody takes
// what stands behind the first question mark for a query.
func readsBelowAdmin(target string) bool {
	target = cut(target, "?")
	seen := map[string]bool{target: true}
	for next := []string{target}; len(next) > 0; next = next[1:] {
		if below(next[0]) || len(seen) > maxReadings {
			return true
		}
		for _, read := range leniencies {
			if reading := read(next[0]); !seen[reading] {
				seen[reading] = true
				next = append(next, reading)
			}
		}
	}
	return false
}

func below(path string) bool { return path == "/admin" || strings.HasPrefix(path, "/admin/") }

func cut(s, separator string) string {
	before, _, _ := strings.Cut(s, separator)
	return before
}

// cutBefore is what stands behind the separator, empty where there is none.
func cutBefore(s, separator string) string {
	_, after, _ := strings.Cut(s, separator)
	return after
}

// stripParameters removes ";…" from every segment (RFC 3986, section 3.3), as servlet containers do.
func stripParameters(s string) string {
	segments := strings.Split(s, "/")
	for i := range segments {
		segments[i] = cut(segments[i], ";")
	}
	return strings.Join(segments, "/")
}

// percentDecode decodes what can be decoded, once, and leaves the rest; %uXXXX too, as IIS does.
func percentDecode(s string) string {
	var decoded strings.Builder
	for i := 0; i < len(s); i++ {
		if value, ok := hexadecimal(s, i+1, 2); s[i] == '%' && ok {
			decoded.WriteByte(byte(value))
			i += 2
			continue
		}
		if value, ok := hexadecimal(s, i+2, 4); s[i] == '%' && i+1 < len(s) && s[i+1]|0x20 == 'u' && ok {
			decoded.WriteRune(narrow(rune(value)))
			i += 5
			continue
		}
		decoded.WriteByte(s[i])
	}
	return decoded.String()
}

func hexadecimal(s string, from, digits int) (value int, ok bool) {
	if from+digits > len(s) {
		return 0, false
	}
	parsed, err := strconv.ParseUint(s[from:from+digits], 16, 32)
	return int(parsed), err == nil
}

// narrow returns the ASCII character of a full-width one, and of two that look like a slash.
func narrow(r rune) rune {
	switch {
	case r == 0x2215 || r == 0x2044:
		return '/'
	case 0xff01 <= r && r <= 0xff5e:
		return r - 0xfee0
	}
	return r
}

func mergeSlashes(s string) string {
	for strings.Contains(s, "//") {
		s = strings.ReplaceAll(s, "//", "/")
	}
	return s
}

// resolveDots resolves dot segments (RFC 3986, section 5.2.4).
func resolveDots(s string) string {
	var kept []string
	segments := strings.Split(s, "/")
	for i, segment := range segments {
		switch segment {
		case ".", "..":
			if segment == ".." && len(kept) > 1 {
				kept = kept[:len(kept)-1]
			}
			if i == len(segments)-1 {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, segment)
		}
	}
	return strings.Join(kept, "/")
}

// overlong reads the two-byte forms of dot, slash and backslash that UTF-8 forbids.
func overlong(s string) string {
	return strings.NewReplacer("\xc0\xae", ".", "\xc0\xaf", "/", "\xc1\x9c", `\`, "\xe0\x80\xae", ".", "\xe0\x80\xaf", "/").Replace(s)
}

// The oracle is worth something only if it sees through what the attacks do.
func TestReadings(t *testing.T) {
	for _, target := range []string{
		"/admin", "/admin/", "/admin?x", "/admin#x", "//admin", "/./admin", "/public/../admin", "/public/..%2fadmin", "/public/..%2Fadmin/x",
		"/public/..%252fadmin", "/%2561dmin", `/public\..\admin`, "/public%5c..%5cadmin", "/;/admin", "/admin;x=y", "/public/..;/admin",
		"/public/..;x=y/admin", "/public/%2e%2e/admin", "/public/%c0%ae%c0%ae%c0%afadmin", "/admin%00.png", "/admin%3fx", "/admin%23",
		"http://api.example.com/admin", "admin/x", "/public/%uff0e%uff0e/admin", "/public/..%u2215admin", "/public/%2e./%5cadmin/", "/x/..//;a/%61dmin",
	} {
		if !readsBelowAdmin(target) {
			t.Errorf("%s is not seen to be below /admin", target)
		}
	}
	for _, target := range []string{
		"/", "/public", "/administrator", "/public?x=/admin", "/public/admin", "/x/admin/../y", "/ADMIN", "/adm", "/public?/../admin", "*",
		"/public/x;/y?/admin", "/%61dmi", "/a%2fadmin", "/users/admin",
	} {
		if readsBelowAdmin(target) {
			t.Errorf("%s is taken for below /admin", target)
		}
	}
}
