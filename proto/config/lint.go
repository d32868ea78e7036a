package config

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// linter reports what is wrong between fields. It sees the message before its defaults are filled in, and
// without a fault of its shape.
type linter struct {
	*report
	config    *configv1.Config
	root      *place
	providers map[string]*configv1.Provider
}

func lint(r *report, config *configv1.Config, root *place) {
	l := &linter{report: r, config: config, root: root, providers: map[string]*configv1.Provider{}}
	l.addresses()
	l.names()
	for i := range config.GetRoutes() {
		l.catchAll(i)
		l.issuers(i)
		l.body(i)
		l.rules(i)
	}
	l.headers()
	l.internalToken()
	for i := range config.GetProviders() {
		l.plain(i)
	}
	l.keySets()
	l.logouts()
}

// logouts reports who is heard where nothing can be written, or nobody can speak.
func (l *linter) logouts() {
	for i, p := range l.config.GetProviders() {
		at := l.root.field("providers").item(i).field("jwt").field("logout")
		if p.GetJwt().GetLogout() == nil || at == nil {
			continue
		}
		if store := l.config.GetRevocations(); store == nil || store.GetFile() != "" {
			l.fault(at, "a logout is for every replica, and is written into revocations: they must be in redis or postgres for it")
		}
		if l.config.GetServer().GetPublic() == "" {
			l.warn(at, "nobody can send a logout token without server.public")
		}
		if !p.GetJwt().GetLogout().GetUntyped() {
			continue
		}
		if p.GetJwt().GetAnyAudience() || slices.ContainsFunc(p.GetJwt().GetAudiences(), func(audience string) bool {
			return slices.Contains(p.GetJwt().GetLogout().GetAudiences(), audience)
		}) {
			l.fault(at, "a logout token without a type of its own cannot be told apart from an access token for the same audience: leave out untyped, or name other audiences")
		}
	}
}

func (l *linter) fault(at *place, format string, arguments ...any) {
	l.errorf(at.line, at.column, format, arguments...)
}

func (l *linter) warn(at *place, format string, arguments ...any) {
	l.warnf(at.line, at.column, format, arguments...)
}

// addresses compares the listeners as they will be, defaults included.
func (l *linter) addresses() {
	settings := &configv1.Server{Listen: l.config.GetServer().GetListen(), Admin: l.config.GetServer().GetAdmin()}
	fillServer(settings)
	server := l.root.field("server")
	if at, public := server.field("public"), l.config.GetServer().GetPublic(); at != nil {
		for name, other := range map[string]string{"listen": settings.GetListen(), "admin": settings.GetAdmin()} {
			if sameAddress(other, public) {
				l.fault(at, "%s (%s) and public (%s) are the same address", name, other, public)
			}
		}
	}
	at := server.field("admin")
	if at == nil {
		at = server.field("listen")
	}
	if at == nil {
		return // the defaults are fine
	}
	if sameAddress(settings.GetListen(), settings.GetAdmin()) {
		l.fault(at, "listen (%s) and admin (%s) are the same address", settings.GetListen(), settings.GetAdmin())
	}
	host, _, err := net.SplitHostPort(settings.GetAdmin())
	if err != nil { // "off", or a finding of its constraint
		return
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		l.warn(at, "the admin service asks nobody who they are, and %s is not a loopback address", settings.GetAdmin())
	}
}

// sameAddress reports whether two listeners would be in each other's way. A port 0 is any free one.
func sameAddress(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return strings.EqualFold(hostA, hostB) || unspecified(hostA) || unspecified(hostB)
}

func unspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// named is a list of things with names, in the order of the file.
type named struct {
	field, noun string
	names       []string
	lines       map[string]int // where each name stands first
	used        map[string]bool
}

// names reports names that are given twice, that are used and not there, and that are there and not used.
func (l *linter) names() {
	providers := named{field: "providers", noun: "provider"}
	for _, p := range l.config.GetProviders() {
		providers.names = append(providers.names, p.GetName())
		l.providers[p.GetName()] = p
	}
	enforcers := named{field: "enforcers", noun: "enforcer"}
	for _, e := range l.config.GetEnforcers() {
		enforcers.names = append(enforcers.names, e.GetName())
	}
	schemas := named{field: "schemas", noun: "schema"}
	for _, s := range l.config.GetSchemas() {
		schemas.names = append(schemas.names, s.GetName())
	}
	routes := named{field: "routes", noun: "route"}
	for _, r := range l.config.GetRoutes() {
		routes.names = append(routes.names, r.GetName())
	}
	for _, list := range []*named{&providers, &enforcers, &schemas, &routes} {
		l.unique(list)
	}
	for i, route := range l.config.GetRoutes() {
		at := l.root.field("routes").item(i)
		for j, name := range route.GetAuthenticate() {
			l.use(&providers, name, at.field("authenticate").item(j))
		}
		for j, name := range route.GetAuthenticateAlso() {
			l.use(&providers, name, at.field("authenticate_also").item(j))
		}
		if name := route.GetAuthorize(); name != "" {
			l.use(&enforcers, name, at.field("authorize"))
		}
		if name := route.GetValidate(); name != "" {
			l.use(&schemas, name, at.field("validate"))
		}
	}
	if !l.failed() { // what seems unused is often what another name was meant to be
		l.unused(&providers)
		l.unused(&enforcers)
		l.unused(&schemas)
	}
}

func (l *linter) unique(list *named) {
	list.lines, list.used = make(map[string]int, len(list.names)), make(map[string]bool, len(list.names))
	for i, name := range list.names {
		at := l.root.field(list.field).item(i).field("name")
		switch {
		case at == nil: // a constraint has reported it
		case list.lines[name] != 0:
			l.fault(at, "a second %s named %s; the first is on line %d", list.noun, quote(name), list.lines[name])
		default:
			list.lines[name] = at.line
		}
	}
}

func (l *linter) use(list *named, name string, at *place) {
	list.used[name] = true
	switch {
	case list.lines[name] != 0:
	case l.full():
		l.fault(at, "unknown %s", list.noun)
	default:
		l.fault(at, "unknown %s %s%s", list.noun, quote(name), suggestion(name, list.names))
	}
}

func (l *linter) unused(list *named) {
	for i, name := range list.names {
		if at := l.root.field(list.field).item(i).field("name"); at != nil && !list.used[name] {
			l.warn(at, "no route uses the %s %s", list.noun, quote(name))
		}
	}
}

// catchAll warns of a public route that takes what nobody thought of.
func (l *linter) catchAll(index int) {
	route := l.config.GetRoutes()[index]
	if !route.GetPublic() {
		return
	}
	for i, match := range route.GetMatch() {
		if match.GetHost() != "" || !everyPath(match.GetPath()) {
			continue
		}
		what := "request"
		if methods := match.GetMethods(); len(methods) > 0 {
			what = quote(strings.Join(methods, ", "))
		}
		l.warn(l.root.field("routes").item(index).field("match").item(i),
			"every %s that no other route matches is public", what)
	}
}

func everyPath(path string) bool {
	return path == "" || path == "/" || strings.HasPrefix(path, "/{") && strings.HasSuffix(path, "...}") && strings.Count(path, "/") == 1
}

// issuers warns where it depends on their order which of two providers vouches for a token.
func (l *linter) issuers(index int) {
	first := map[string]string{}
	for i, name := range l.config.GetRoutes()[index].GetAuthenticate() {
		issuer := l.providers[name].GetJwt().GetIssuer()
		switch {
		case issuer == "":
		case first[issuer] == "":
			first[issuer] = name
		case first[issuer] != name:
			l.warn(l.root.field("routes").item(index).field("authenticate").item(i),
				"the providers %s and %s have the same issuer; of a token that both accept, %s makes the principal",
				quote(first[issuer]), quote(name), quote(first[issuer]))
		}
	}
}

// rules reports ids that a route's rules have twice.
func (l *linter) rules(index int) {
	lines := map[string]int{}
	for i, rule := range l.config.GetRoutes()[index].GetRules() {
		at := l.root.field("routes").item(index).field("rules").item(i).field("id")
		switch {
		case at == nil: // a constraint has reported it
		case lines[rule.GetId()] != 0:
			l.fault(at, "a second rule %s of the route; the first is on line %d", quote(rule.GetId()), lines[rule.GetId()])
		default:
			lines[rule.GetId()] = at.line
		}
	}
}

// body compares the longest body of a route with the longest that there is.
func (l *linter) body(index int) {
	settings := &configv1.Server{MaxBodyBytes: l.config.GetServer().GetMaxBodyBytes()}
	fillServer(settings)
	if longest := l.config.GetRoutes()[index].GetBody().GetMaxBytes(); longest > settings.GetMaxBodyBytes() {
		l.fault(l.root.field("routes").item(index).field("body").field("max_bytes"),
			"no body of more than %d bytes is looked at: raise server.max_body_bytes, and Envoy's max_request_bytes, too", settings.GetMaxBodyBytes())
	}
}
