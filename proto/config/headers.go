package config

import (
	"maps"
	"slices"
	"strings"

	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// reserved are the headers that frame a message or belong to one connection (RFC 9110, sections 7.6.1 and 7.8;
// RFC 9113, section 8.2.2), and Host. Envoy refuses to set some of them, and setting the others
// would let the next hop read another message than Envoy sent.
var reserved = map[string]bool{
	"host": true, "connection": true, "content-length": true, "keep-alive": true, "proxy-connection": true, "te": true,
	"trailer": true, "transfer-encoding": true, "upgrade": true, "http2-settings": true,
}

// envoyPrefix begins the names of the headers by which Envoy itself is told what to do.
const envoyPrefix = "x-envoy-"

// foldHeaders writes the names of injected headers in lower case, in the message and in its places. No
// two are then the same: lint has refused them.
func foldHeaders(config *configv1.Config, root *place) {
	for i, route := range config.GetRoutes() {
		at := root.field("routes").item(i)
		route.Headers = folded(route.GetHeaders(), at.field("headers"))
		route.ResponseHeaders = folded(route.GetResponseHeaders(), at.field("response_headers"))
	}
}

func folded(headers map[string]string, at *place) map[string]string {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		lower := strings.ToLower(name)
		if lower == name {
			continue
		}
		headers[lower] = headers[name]
		delete(headers, name)
		at.fields[lower] = at.fields[name]
	}
	return headers
}

// headers reports injected headers that must not be, and two spellings of one header: a reader that takes
// x_user for x-user would see whichever it likes. Requests and responses are two worlds.
func (l *linter) headers() {
	for _, field := range []string{"headers", "response_headers"} {
		spellings := map[string]spelling{}
		for i := range l.config.GetRoutes() {
			l.spelled(l.root.field("routes").item(i).field(field), spellings)
		}
	}
}

// spelling is the first of its kind: in lower case, as it was written, and where.
type spelling struct {
	name, written string
	line          int
	entries       *place
}

var hyphens = strings.NewReplacer("_", "-", ".", "-")

func (l *linter) spelled(entries *place, spellings map[string]spelling) {
	if entries == nil {
		return
	}
	inOrder := slices.SortedFunc(maps.Keys(entries.fields), func(a, b string) int {
		return entries.fields[a].compareKeys(entries.fields[b])
	})
	for _, name := range inOrder {
		at, lower := entries.fields[name], strings.ToLower(name)
		if reserved[lower] || strings.HasPrefix(lower, envoyPrefix) {
			l.errorf(at.keyLine, at.keyColumn, "the header %s belongs to Envoy and the connection, and cannot be injected", quote(name))
		}
		key := hyphens.Replace(lower)
		first, known := spellings[key]
		switch {
		case !known:
			spellings[key] = spelling{name: lower, written: name, line: at.keyLine, entries: entries}
		case first.name != lower, first.entries == entries:
			l.errorf(at.keyLine, at.keyColumn, "%s and %s on line %d are two spellings of one header; use one of them",
				quote(name), quote(first.written), first.line)
		}
	}
}
