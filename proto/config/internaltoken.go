package config

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// internalToken reports routes that ask for tokens which nobody makes, tokens that nobody asks for or can verify, and a header
// that cannot be theirs.
func (l *linter) internalToken() {
	token, at := l.config.GetInternalToken(), l.root.field("internal_token")
	asked := false
	for i, route := range l.config.GetRoutes() {
		if !route.GetInternalToken() {
			continue
		}
		asked = true
		if token == nil {
			l.fault(l.root.field("routes").item(i).field("internal_token"), "there is no internal_token beside the routes, which says how the token is made")
		}
	}
	if token == nil || at == nil {
		return
	}
	if !asked {
		l.warn(at, "no route has internal_token: true")
	}
	if l.config.GetServer().GetPublic() == "" {
		l.warn(at, "without server.public nobody can fetch the public keys")
	}
	header := strings.ToLower(cmp.Or(token.GetHeader(), "x-internal-token"))
	if reserved[header] || strings.HasPrefix(header, envoyPrefix) {
		l.fault(at.field("header"), "the header %s belongs to Envoy and the connection, and cannot be injected", quote(header))
	}
	for i, route := range l.config.GetRoutes() {
		for _, name := range slices.Sorted(maps.Keys(route.GetHeaders())) {
			entry := l.root.field("routes").item(i).field("headers").field(name)
			if entry != nil && hyphens.Replace(strings.ToLower(name)) == hyphens.Replace(header) {
				l.errorf(entry.keyLine, entry.keyColumn, "%s is the header of internal_token", quote(name))
			}
		}
	}
}
