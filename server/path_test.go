package server

import (
	"net/url"
	pathpkg "path"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestPathsWithOneReading shows paths that are matched, and as what.
func TestPathsWithOneReading(t *testing.T) {
	for raw, want := range map[string][2]string{
		"/":                    {"/", ""},
		"/orders":              {"/orders", ""},
		"/orders/":             {"/orders/", ""},
		"/orders/7?x=1&y=%2f":  {"/orders/7", "x=1&y=%2f"},
		"/public?x=/admin":     {"/public", "x=/admin"},
		"/public?x=/../admin":  {"/public", "x=/../admin"},
		"/admin?":              {"/admin", ""},
		"/admin?x=1":           {"/admin", "x=1"},
		"/%61dmin":             {"/admin", ""},
		"/caf%C3%A9/%20":       {"/café/ ", ""},
		"/a/...":               {"/a/...", ""},
		"/a/.hidden":           {"/a/.hidden", ""},
		"/admin/*":             {"/admin/*", ""},
		"/~user/a+b,c=d:e@f!$": {"/~user/a+b,c=d:e@f!$", ""},
	} {
		path, query, err := canonicalPath(raw)
		if err != nil || path != want[0] || query != want[1] {
			t.Errorf("canonicalPath(%q) = %q, %q, %v; want %q, %q", raw, path, query, err, want[0], want[1])
		}
	}
}

// ambiguousPaths are spellings that some reader takes for another path than another reader does (THREATS a.1).
func ambiguousPaths() []string {
	paths := []string{
		"", "*", "admin", "http://example.com/admin", "//admin", "///admin", "//x/../admin",
		"/public//admin", "/admin//", "/#", "/admin#x", "/admin#x?y=1", "/a?x#y", "/a?x y", "/a?\x80", "/a?\n",
		"/admin;x=y", "/;/admin", "/public/..;x/admin", "/%3b/admin", "/a\\b", "/a\\..\\admin",
		"/a b", "/a\tb", "/a\x00b", "/a\x7fb", "/caf\xc3\xa9", "/a%", "/a%2", "/a%zz", "/a%%32f", "/%", "/a%c3", "/a%ff",
		"/%00", "/a%0a", "/a%0d%0a", "/a%7f", "/%u002e", "/" + strings.Repeat("a", maxPath),
	}
	dots := []string{"..", ".", "%2e%2e", "%2E%2e", ".%2e", "%2e.", "%252e%252e", "..%00", "%2e"}
	separators := []string{"/", "%2f", "%2F", "%5c", "%5C", "\\", "%252f", "%255c", "/./", "//", ";/"}
	for _, dot := range dots {
		for _, separator := range separators {
			paths = append(paths, "/public"+separator+dot+separator+"admin", "/"+dot+separator+"admin")
		}
		paths = append(paths, "/public/"+dot)
	}
	return paths
}

// TestPathsWithTwoReadings shows that each of them is refused.
func TestPathsWithTwoReadings(t *testing.T) {
	for _, raw := range ambiguousPaths() {
		if path, _, err := canonicalPath(raw); err == nil {
			t.Errorf("canonicalPath(%q) = %q, want it refused", raw, path)
		}
	}
}

// checkPath holds an accepted path against the standard library's readers: all see the same.
func checkPath(t interface{ Errorf(string, ...any) }, raw string) {
	path, query, err := canonicalPath(raw)
	if err != nil {
		return
	}
	u, err := url.ParseRequestURI(raw)
	if err != nil || u.Path != path || u.RawQuery != query || u.Host != "" || u.Fragment != "" {
		t.Errorf("canonicalPath(%q) = %q, %q; net/url reads %v, %v", raw, path, query, u, err)
	}
	clean := pathpkg.Clean(path)
	if clean != "/" && strings.HasSuffix(path, "/") {
		clean += "/"
	}
	if clean != path {
		t.Errorf("canonicalPath(%q) = %q, which cleans to %q", raw, path, clean)
	}
	again, err := url.PathUnescape(path)
	if err != nil || again != path {
		t.Errorf("canonicalPath(%q) = %q, which decodes once more to %q, %v", raw, path, again, err)
	}
	escaped := (&url.URL{Path: path}).EscapedPath()
	if twice, _, err := canonicalPath(escaped); !strings.ContainsAny(path, `;\`) && (err != nil || twice != path) {
		t.Errorf("canonicalPath(%q) = %q, and of that, encoded as %q: %q, %v", raw, path, escaped, twice, err)
	}
}

func FuzzCanonicalPath(f *testing.F) {
	for _, raw := range ambiguousPaths() {
		f.Add(raw)
	}
	f.Add("/orders/7?x=1")
	f.Add("/caf%C3%A9/%20")
	f.Fuzz(func(t *testing.T, raw string) { checkPath(t, raw) })
}

// TestPathsAgainstStandardLibrary generates paths of the pieces that matter.
func TestPathsAgainstStandardLibrary(t *testing.T) {
	pieces := []string{
		"/", "/", "a", "admin", ".", "..", "%2e", "%2F", "%5c", "\\", ";", "?", "#", "%", "%25", "%61", "é", "%C3%A9", "\x80", " ", "+", "*", ":", "=", "&", "//",
	}
	rapid.Check(t, func(t *rapid.T) {
		checkPath(t, strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 12).Draw(t, "pieces"), ""))
	})
}

func TestHosts(t *testing.T) {
	for raw, want := range map[string]string{
		"api.example.com":        "api.example.com",
		"API.Example.COM":        "api.example.com",
		"api.example.com.":       "api.example.com",
		"api.example.com:443":    "api.example.com",
		"api.example.com:0443":   "api.example.com",
		"api.example.com.:8443":  "api.example.com",
		"localhost":              "localhost",
		"127.0.0.1:10000":        "127.0.0.1",
		"[::1]":                  "[::1]",
		"[2001:DB8::1]:443":      "[2001:db8::1]",
		"xn--admin-hva.example":  "xn--admin-hva.example",
		"my_service.default.svc": "my_service.default.svc",
	} {
		if got, err := canonicalHost(raw); err != nil || got != want {
			t.Errorf("canonicalHost(%q) = %q, %v; want %q", raw, got, err, want)
		}
	}
	for _, raw := range []string{
		"", ".", ":", ":80", "a:", "a:x", "a:80:80", "a:-1", "a: 80", "a:99999999", "a..b", ".a", "a..", "a b", "a/b", "a@b", "a#b", "a?b", "a\\b",
		"a\x00b", "é.example", "a%2eb", "[::1", "[]", "[::1]x", "[::1]:", "[::1]:x", "[zz]", "[::1%25eth0]", "a,b", "*.example.com",
		strings.Repeat("a", maxHost+1),
	} {
		if got, err := canonicalHost(raw); err == nil {
			t.Errorf("canonicalHost(%q) = %q, want it refused", raw, got)
		}
	}
}

func FuzzCanonicalHost(f *testing.F) {
	for _, raw := range []string{"api.example.com", "API.example.com.:0443", "[::1]:80", "a:b", "[", "..."} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		host, err := canonicalHost(raw)
		if err != nil {
			return
		}
		if twice, err := canonicalHost(host); err != nil || twice != host {
			t.Errorf("canonicalHost(%q) = %q, and of that %q, %v", raw, host, twice, err)
		}
		if other, err := canonicalHost(strings.ToUpper(raw)); err != nil || other != host {
			t.Errorf("canonicalHost(%q) = %q, and in capitals %q, %v", raw, host, other, err)
		}
	})
}
