package policy_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
)

// found is what a router says of a request: the pattern that won, and what its wildcards stand for.
type found struct {
	Pattern string
	Values  map[string]string
}

// routed asks a pipeline whose routes are named by their patterns.
func routed(t *rapid.T, p *policy.Pipeline, host, method, path string) found {
	req := &policy.Request{Host: host, Method: method, Path: path}
	d := p.Decide(t.Context(), req)
	if (d.Route == "") != (d.Reason == policy.NoRoute) {
		t.Fatalf("route %q with the reason %v", d.Route, d.Reason)
	}
	if d.Route == "" {
		return found{}
	}
	f := found{Pattern: d.Route, Values: map[string]string{}}
	for _, param := range req.Params {
		f.Values[param.Name] = param.Value
	}
	return f
}

var (
	anySegments = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "a", "b", "{x}", "{y}", "{z}"}), 0, 4)
	anyEnd      = rapid.SampledFrom([]string{"", "", "/", "/{$}", "/{r...}"})
	anyHost     = rapid.SampledFrom([]string{"", "", "h.example", "www.h.example"})
)

func anyPattern(t *rapid.T) string {
	path := ""
	for _, segment := range anySegments.Draw(t, "segments") {
		path += "/" + segment
	}
	path += anyEnd.Draw(t, "end")
	if path == "" {
		path = "/"
	}
	return path
}

func anyPath(t *rapid.T) string {
	path := ""
	for _, segment := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 5).Draw(t, "path") {
		path += "/" + segment
	}
	if path == "" || rapid.Bool().Draw(t, "slash") {
		path += "/"
	}
	return path
}

// mux is net/http's router over the same patterns.
type mux struct {
	*http.ServeMux
	last found
}

func (m *mux) add(pattern string) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%v", v)
		}
	}()
	m.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) {
		m.last = found{Pattern: r.Pattern, Values: map[string]string{}}
		for _, name := range []string{"x", "y", "z", "r"} {
			if strings.Contains(pattern, "{"+name+"}") || strings.Contains(pattern, "{"+name+"...}") {
				m.last.Values[name] = r.PathValue(name)
			}
		}
	})
	return nil
}

// ask returns what net/http serves. It redirects "/a" to "/a/" where only that is known; we do not, ok is false.
func (m *mux) ask(host, method, path string) (f found, ok bool) {
	m.last = found{}
	recorder := httptest.NewRecorder()
	m.ServeHTTP(recorder, httptest.NewRequest(method, "http://"+host+path, http.NoBody))
	return m.last, recorder.Code != http.StatusMovedPermanently && recorder.Code != http.StatusTemporaryRedirect
}

func TestRouterIsServeMux(t *testing.T) {
	t.Parallel()
	compared, conflicts := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		oracle := &mux{ServeMux: http.NewServeMux()}
		var routes []policy.Route
		pipeline, err := policy.NewPipeline(nil)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 8).Draw(t, "patterns") {
			host, path := anyHost.Draw(t, "host"), anyPattern(t)
			method := rapid.SampledFrom([]string{"", "GET", "POST"}).Draw(t, "method")
			name, match := strings.TrimSpace(method+" "+host+path), policy.Match{Host: host, Path: path}
			if method != "" {
				match.Methods = []string{method}
			}
			with := append(slices.Clip(routes), policy.Route{Name: name, Matches: []policy.Match{match}})
			extended, ours := policy.NewPipeline(with)
			theirs := oracle.add(name)
			if (ours != nil) != (theirs != nil) {
				t.Fatalf("adding %s: we say %v, net/http %v", name, ours, theirs)
			}
			if ours != nil {
				conflicts++
				continue
			}
			routes, pipeline = with, extended
		}
		for range 20 {
			host, path := anyHost.Draw(t, "host"), anyPath(t)
			if host == "" {
				host = "other.example"
			}
			method := rapid.SampledFrom([]string{"GET", "POST", "DELETE"}).Draw(t, "method")
			want, ok := oracle.ask(host, method, path)
			if !ok {
				continue
			}
			compared++
			if diff := cmp.Diff(want, routed(t, pipeline, host, method, path)); diff != "" {
				t.Fatalf("%s %s%s (-net/http +ours):\n%s", method, host, path, diff)
			}
		}
	})
	if compared < 500 || conflicts < 50 {
		t.Errorf("only %d requests and %d conflicts were compared", compared, conflicts)
	}
}

// covers is the plainest reading of a pattern: whether it takes a path.
func covers(pattern, path string) bool {
	want, have := strings.Split(pattern[1:], "/"), strings.Split(path[1:], "/")
	for i, segment := range want {
		last := i == len(want)-1
		switch {
		case last && (segment == "" || strings.HasSuffix(segment, "...}")):
			return len(have) > i
		case i >= len(have):
			return false
		case last && segment == "{$}":
			if have[i] != "" {
				return false
			}
		case segment[0] == '{':
			if have[i] == "" {
				return false
			}
		case segment != have[i]:
			return false
		}
	}
	return len(want) == len(have)
}

func serves(match policy.Match, method, path string) bool {
	return (len(match.Methods) == 0 || slices.Contains(match.Methods, method)) && covers(match.Path, path)
}

// universe is every path of up to four segments over two known and one unknown word, with and without a slash
// at its end: enough to tell any two patterns of three segments apart.
func universe() []string {
	paths, level := []string{"/"}, []string{""}
	for range 4 {
		var next []string
		for _, path := range level {
			for _, segment := range []string{"a", "b", "c"} {
				next = append(next, path+"/"+segment)
				paths = append(paths, path+"/"+segment, path+"/"+segment+"/")
			}
		}
		level = next
	}
	return paths
}

// relate counts the requests that only a, only b, and both take.
func relate(a, b policy.Match, paths []string) (onlyA, onlyB, both int) {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT"} {
		for _, path := range paths {
			switch x, y := serves(a, method, path), serves(b, method, path); {
			case x && y:
				both++
			case x:
				onlyA++
			case y:
				onlyB++
			}
		}
	}
	return onlyA, onlyB, both
}

// With several methods net/http is no oracle; the definition is: the winner's requests are a strict subset of
// those of every other pattern that takes the request, and two patterns without that order conflict.
func TestRouterIsItsDefinition(t *testing.T) {
	t.Parallel()
	paths := universe()
	methods := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"GET", "HEAD", "POST"}), 0, 3, rapid.ID[string])
	rapid.Check(t, func(t *rapid.T) {
		var routes []policy.Route
		pipeline, err := policy.NewPipeline(nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rapid.IntRange(1, 6).Draw(t, "patterns") {
			match := policy.Match{Path: anyPattern(t), Methods: methods.Draw(t, "methods")}
			if strings.Count(match.Path, "/") > 3 || repeats(match.Path) {
				continue
			}
			conflict := false
			for _, other := range routes {
				onlyNew, onlyOld, both := relate(match, other.Matches[0], paths)
				conflict = conflict || both > 0 && (onlyNew == 0) == (onlyOld == 0)
			}
			with := append(slices.Clip(routes), policy.Route{Name: fmt.Sprint(i), Matches: []policy.Match{match}})
			extended, err := policy.NewPipeline(with)
			if conflict != (err != nil) {
				t.Fatalf("adding %v to %v: %v", match, routes, err)
			}
			if err == nil {
				routes, pipeline = with, extended
			}
		}
		for range 20 {
			method, path := rapid.SampledFrom([]string{"GET", "HEAD", "POST", "PUT"}).Draw(t, "method"), anyPath(t)
			best := policy.Route{}
			for _, route := range routes {
				if !serves(route.Matches[0], method, path) {
					continue
				}
				if best.Name == "" {
					best = route
				} else if onlyNew, _, _ := relate(route.Matches[0], best.Matches[0], paths); onlyNew == 0 {
					best = route
				}
			}
			if got := routed(t, pipeline, "h", method, path); got.Pattern != best.Name {
				t.Fatalf("%s %s: %q; want %q of %v", method, path, got.Pattern, best.Name, routes)
			}
		}
	})
}

func repeats(path string) bool {
	for _, name := range []string{"{x}", "{y}", "{z}"} {
		if strings.Count(path, name) > 1 {
			return true
		}
	}
	return false
}

func TestHostPrecedence(t *testing.T) {
	t.Parallel()
	route := func(host, path string) policy.Route {
		return policy.Route{Name: host + path, Matches: []policy.Match{{Host: host, Path: path}}}
	}
	pipeline, err := policy.NewPipeline([]policy.Route{
		route("", "/"), route("*.example.com", "/"), route("*.api.example.com", "/v1/"), route("a.api.example.com", "/v1/exact"),
		route("", "/v1/exact"), route("*.example.com", "/v1/exact"), route("example.com", "/"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]string{
		"a.api.example.com/v1/exact":   "a.api.example.com/v1/exact",
		"a.api.example.com/v1/other":   "*.api.example.com/v1/",
		"b.api.example.com/v1/exact":   "*.api.example.com/v1/",
		"b.api.example.com/v2":         "*.example.com/",
		"api.example.com/v1/exact":     "*.example.com/v1/exact",
		"x.y.z.example.com/":           "*.example.com/",
		"example.com/v1/exact":         "example.com/",
		"evilexample.com/v1/exact":     "/v1/exact",
		".example.com/v1":              "/",
		"example.com.evil/v1":          "/",
		"*.example.com.evil/v1":        "/",
		"/v1":                          "/",
		"a.api.example.com./v1/exact":  "/v1/exact",
		"a.api.example.com:80/v1":      "/",
		"A.API.EXAMPLE.COM/v1/exact":   "/v1/exact",
		"a.api.example.com/v1/exact/":  "*.api.example.com/v1/",
		"aXapi.example.com/v1/exact":   "*.example.com/v1/exact",
		"xn--a.api.example.com/v1/a/b": "*.api.example.com/v1/",
	} {
		host, path, _ := strings.Cut(request, "/")
		if d := pipeline.Decide(t.Context(), &policy.Request{Host: host, Method: "GET", Path: "/" + path}); d.Route != want {
			t.Errorf("%s is of %q; want %q", request, d.Route, want)
		}
	}
}

func TestRoutesRefused(t *testing.T) {
	t.Parallel()
	one := func(name string, matches ...policy.Match) policy.Route {
		return policy.Route{Name: name, Matches: matches}
	}
	tests := map[string]struct {
		routes []policy.Route
		field  string
	}{
		"no slash":        {[]policy.Route{one("a", policy.Match{Path: "a"})}, "routes[0].match[0].path"},
		"empty segment":   {[]policy.Route{one("a", policy.Match{Path: "/a//b"})}, "routes[0].match[0].path"},
		"only slashes":    {[]policy.Route{one("a", policy.Match{Path: "//"})}, "routes[0].match[0].path"},
		"dot":             {[]policy.Route{one("a", policy.Match{Path: "/a/./b"})}, "routes[0].match[0].path"},
		"dot dot":         {[]policy.Route{one("a", policy.Match{Path: "/.."})}, "routes[0].match[0].path"},
		"part wildcard":   {[]policy.Route{one("a", policy.Match{Path: "/a{x}"})}, "routes[0].match[0].path"},
		"open wildcard":   {[]policy.Route{one("a", policy.Match{Path: "/{x"})}, "routes[0].match[0].path"},
		"nested wildcard": {[]policy.Route{one("a", policy.Match{Path: "/{{x}}"})}, "routes[0].match[0].path"},
		"no name":         {[]policy.Route{one("a", policy.Match{Path: "/{}"})}, "routes[0].match[0].path"},
		"rest no name":    {[]policy.Route{one("a", policy.Match{Path: "/{...}"})}, "routes[0].match[0].path"},
		"digit name":      {[]policy.Route{one("a", policy.Match{Path: "/{1}"})}, "routes[0].match[0].path"},
		"rest inside":     {[]policy.Route{one("a", policy.Match{Path: "/{x...}/b"})}, "routes[0].match[0].path"},
		"end inside":      {[]policy.Route{one("a", policy.Match{Path: "/{$}/b"})}, "routes[0].match[0].path"},
		"name twice":      {[]policy.Route{one("a", policy.Match{Path: "/{x}/{x}"})}, "routes[0].match[0].path"},
		"tie in a route":  {[]policy.Route{one("a", policy.Match{Path: "/{x}"}, policy.Match{Path: "/{y}"})}, "routes[0].match[1]"},
		"tie":             {[]policy.Route{one("a", policy.Match{Path: "/a/{x}"}), one("b", policy.Match{Path: "/{x}/b"})}, "routes[1].match[0]"},
		"tie of methods":  {[]policy.Route{one("a", policy.Match{Methods: []string{"GET", "PUT"}}), one("b", policy.Match{Methods: []string{"PUT", "POST"}})}, "routes[1].match[0]"},
		"name of another": {[]policy.Route{one("a"), one("b"), one("a")}, "routes[2].name"},
	}
	for name, test := range tests {
		p, err := policy.NewPipeline(test.routes)
		var field *policy.FieldError
		if p != nil || !errors.As(err, &field) || field.Field != test.field {
			t.Errorf("%s: %v; want a fault of %s", name, err, test.field)
		}
	}
}

func TestRouteByName(t *testing.T) {
	t.Parallel()
	permit := stage{name: "s", outcome: policy.Outcome{Verdict: policy.Permitted}}
	p, err := policy.NewPipeline([]policy.Route{
		{Name: "named", Stages: []policy.Stage{permit}},
		{Name: "matched", Matches: []policy.Match{{Path: "/"}}, Stages: []policy.Stage{permit}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := p.Decide(t.Context(), &policy.Request{Path: "/", RouteName: "named"}); d.Route != "named" || d.Effect != policy.Allow {
		t.Errorf("by name: %+v", d)
	}
	if d := p.Decide(t.Context(), &policy.Request{Path: "/", RouteName: "gone"}); d.Reason != policy.NoRoute || d.Effect != policy.Deny {
		t.Errorf("a name that no route has: %+v", d)
	}
	for _, path := range []string{"", "*", "a", "\x00", "http://h/"} {
		if d := p.Decide(t.Context(), &policy.Request{Path: path}); d.Reason != policy.NoRoute {
			t.Errorf("the path %q: %+v", path, d)
		}
	}
}

// A client's long path costs no more than the operator's patterns are long.
func TestLongPaths(t *testing.T) {
	t.Parallel()
	var routes []policy.Route
	for i := range 200 { // every second level a wildcard, so that each literal has a wildcard to go back to
		path := ""
		for depth := range 60 {
			if (depth+i)%(i%7+2) == 0 {
				path += fmt.Sprintf("/{w%d}", depth)
			} else {
				path += "/a"
			}
		}
		routes = append(routes, policy.Route{Name: fmt.Sprint(i), Matches: []policy.Match{{Path: fmt.Sprintf("/p%d%s/end", i%20, path)}}})
	}
	var kept []policy.Route
	for _, route := range routes {
		if _, err := policy.NewPipeline(append(slices.Clip(kept), route)); err == nil {
			kept = append(kept, route)
		}
	}
	if len(kept) < 20 {
		t.Fatalf("only %d routes stand beside one another", len(kept))
	}
	p, err := policy.NewPipeline(kept)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/p1" + strings.Repeat("/a", 4000), "/p1" + strings.Repeat("/a", 60) + "/x", strings.Repeat("/", 8<<10), "/p1/" + strings.Repeat("a", 8<<10),
	} {
		for range 1000 {
			if d := p.Decide(t.Context(), &policy.Request{Path: path}); d.Route != "" {
				t.Fatalf("%.20s… is of %s", path, d.Route)
			}
		}
	}
}

func FuzzRoute(f *testing.F) {
	f.Add("/a/{x}", "/{r...}", "GET", "h", "/a/b")
	f.Add("/{x}/{y}", "/a/", "", "*.h", "/a//b")
	f.Add("/{$}", "/", "GET,POST", "", "/")
	f.Add("/{x}/{$}", "/{...}", "\x00", ".", "\xff")
	f.Add(strings.Repeat("/{a}", 100), strings.Repeat("/a", 100), "GET", "h", strings.Repeat("/a", 4000))
	f.Fuzz(func(t *testing.T, first, second, methods, host, path string) {
		matches := []policy.Match{{Path: first, Host: host}, {Path: second, Methods: strings.Split(methods, ",")}}
		p, err := policy.NewPipeline([]policy.Route{{Name: "0", Matches: matches[:1]}, {Name: "1", Matches: matches[1:]}})
		if err != nil {
			return
		}
		req := &policy.Request{Host: "a.h", Method: "GET", Path: path}
		d := p.Decide(t.Context(), req)
		if d.Effect != policy.Deny {
			t.Fatalf("%+v", d)
		}
		plain := func(p string) bool { return strings.HasPrefix(p, "/") && strings.HasPrefix(path, "/") }
		switch d.Route {
		case "1":
			if plain(second) && !serves(matches[1], "GET", path) {
				t.Fatalf("%q does not cover %q", second, path)
			}
		case "":
			if plain(second) && serves(matches[1], "GET", path) {
				t.Fatalf("%q covers %q", second, path)
			}
		}
	})
}
