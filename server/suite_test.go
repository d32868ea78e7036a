package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/suite"
)

// written returns the request of a suite's only case, nil where suites do not take it.
func written(t interface{ Fatal(...any) }, host, path, query string) *policy.Request {
	var quoted [3]string
	for i, text := range []string{host, path, query} {
		data, err := json.Marshal(text) // JSON's texts are YAML's
		if err != nil {
			t.Fatal(err)
		}
		quoted[i] = string(data)
	}
	text := fmt.Sprintf("enforcer: e\ncases:\n- {name: n, principal: anonymous, want: deny, request: {method: GET, host: %s, path: %s, query: %s}}\n", quoted[0], quoted[1], quoted[2])
	s, _ := suite.Parse("x_test.yaml", []byte(text))
	if s == nil {
		return nil
	}
	return s.Cases[0].Request
}

// TestSuitesTakeWhatTheEdgeLetsThrough: a suite can write every path, query and host that a policy may be asked about, and
// is refused one that no policy ever sees. A test that asks what no client can is no test.
func TestSuitesTakeWhatTheEdgeLetsThrough(t *testing.T) {
	for _, raw := range ambiguousPaths() {
		decoded := strings.ContainsAny(raw, "? é") // what is encoded in a request, a suite writes decoded
		if !decoded && written(t, "", raw, "") != nil {
			t.Errorf("a suite may ask about %q", raw)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		pieces := []string{"/", "/", "a", "B", "7", "%20", "%C3%A9", "%2f", "%00", "..", ".", ";", "*", ":", "?", "&=", "#", "\\", " ", "é", "%7E", "~"}
		raw := "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 8).Draw(t, "path"), "")
		path, query, err := canonicalPath(raw)
		if err == nil {
			if req := written(t, "", path, query); req == nil || req.Path != path || req.Query != query {
				t.Fatalf("%q is %q and %q, which no suite can ask about: %+v", raw, path, query, req)
			}
		} else if decoded := strings.ContainsAny(raw, "? é"); !decoded && written(t, "", raw, "") != nil {
			t.Fatalf("a suite may ask about %q: %v", raw, err)
		}
		host := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "B", "-", "_", ".", ".", ":80", "[", "::1", "]", "/", "é", " ", "9"}), 1, 6).Draw(t, "host"), "")
		canonical, err := canonicalHost(host)
		if seen := err == nil && canonical == host; seen != (written(t, host, "/", "") != nil) {
			t.Fatalf("policies see %q: %t, and suites may write it: %t", host, seen, !seen)
		}
	})
}
