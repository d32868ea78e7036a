package config

import (
	"strings"

	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// plain refuses what is fetched over plain http, unless the provider's servers may be at private addresses: anyone on the way
// could put keys of his own, or what he wants to be true of a token, in place of the issuer's.
func (l *linter) plain(index int) {
	provider, at := l.config.GetProviders()[index], l.root.field("providers").item(index)
	if provider.GetClient().GetPrivateAddresses() {
		return
	}
	for _, fetched := range fetchedFrom(provider) {
		if where := fetched.place(at); where != nil && strings.HasPrefix(strings.ToLower(fetched.url), "http:") {
			l.fault(where, "it is not fetched over plain http: use https or, in a network of our own, write client: {private_addresses: true} beside it")
		}
	}
}

// keySets compares the times of key sets as they will be, defaults included.
func (l *linter) keySets() {
	given := l.config.GetKeySets()
	times := &configv1.KeySets{MaxAge: given.GetMaxAge(), MinRefresh: given.GetMinRefresh(), MaxRefresh: given.GetMaxRefresh()}
	fillKeySets(times)
	at := l.root.field("key_sets")
	least, most, age := times.GetMinRefresh().AsDuration(), times.GetMaxRefresh().AsDuration(), times.GetMaxAge().AsDuration()
	switch {
	case at == nil: // the defaults are fine
	case least > most:
		l.fault(at, "min_refresh (%s) is more than max_refresh (%s)", least, most)
	case most >= age:
		l.fault(at, "max_age (%s) is not more than max_refresh (%s), so that keys would end before they are fetched again", age, most)
	}
}

// fetched is a URL that a provider's servers are asked at, and the fields that lead to it.
type fetched struct {
	url  string
	path []string
}

// place returns where the URL stands in the provider.
func (f fetched) place(at *place) *place {
	for _, name := range f.path {
		at = at.field(name)
	}
	return at
}

// fetchedFrom returns the URLs at which a provider's servers are asked.
func fetchedFrom(provider *configv1.Provider) []fetched {
	var all []fetched
	if jwt := provider.GetJwt(); jwt != nil {
		all = append(all, keysFrom(jwt.GetIssuer(), jwt.GetJwks(), len(jwt.GetSecrets()) > 0, "jwt")...)
	}
	if enrich := provider.GetEnrich(); enrich != nil { // a token goes there, or a secret
		all = append(all, fetched{enrich.GetHttp().GetUrl(), []string{"enrich", "http", "url"}}, fetched{enrich.GetUserinfo().GetUrl(), []string{"enrich", "userinfo", "url"}})
		if from := enrich.GetUserinfo(); from != nil && from.GetUrl() == "" && (provider.GetJwt().GetJwks() != nil || provider.GetIntrospection() != nil) {
			issuer := provider.GetJwt().GetIssuer() + provider.GetIntrospection().GetIssuer() // one of the two
			all = append(all, fetched{issuer, []string{"enrich", "userinfo"}})
		}
	}
	if introspection := provider.GetIntrospection(); introspection != nil {
		all = append(all, fetched{introspection.GetUrl(), []string{"introspection", "url"}})
		if signed := introspection.GetSigned(); signed != nil {
			all = append(all, keysFrom(signed.GetIssuer(), signed.GetJwks(), false, "introspection", "signed")...)
		}
	}
	return all
}

// keysFrom returns the URL of a key set, or of the issuer that it is discovered at.
func keysFrom(issuer string, jwks *configv1.Jwks, secrets bool, path ...string) []fetched {
	switch {
	case jwks.GetUrl() != "":
		return []fetched{{jwks.GetUrl(), append(path, "jwks", "url")}}
	case jwks == nil && !secrets:
		return []fetched{{issuer, append(path, "issuer")}}
	}
	return nil
}
