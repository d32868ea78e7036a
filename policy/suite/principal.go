package suite

import (
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/kasbah-authz/kasbah/policy"
)

const (
	// anonymous is the principal whom nobody has authenticated.
	anonymous = "anonymous"
	// testProvider vouches for principals that name no provider of their own: one without is anonymous.
	testProvider = "test"
)

// principal reads who is calling: the name of a shared principal, or a mapping. It is nil after a finding.
func (r *reader) principal(node *yaml.Node) *policy.Principal {
	if node.Kind == yaml.ScalarNode {
		name := r.name(node)
		if name == anonymous {
			return &policy.Principal{}
		}
		if p := r.sharedPrincipal(node, name); p != nil {
			return r.finishPrincipal(node, *p)
		}
		return nil
	}
	if p := r.readPrincipal(node); p != nil {
		return r.finishPrincipal(node, *p)
	}
	return nil
}

func (r *reader) sharedPrincipal(node *yaml.Node, name string) *policy.Principal {
	p := r.principals[name]
	if p == nil && name != "" && !r.full() {
		r.errorf(node, "no principal is named %s%s", quote(name), among(append(slices.Collect(maps.Keys(r.principals)), anonymous)))
	}
	return p
}

// readPrincipal reads the mapping, over the principal that it is like.
func (r *reader) readPrincipal(node *yaml.Node) *policy.Principal {
	f := r.fields(node, "a principal", "like", "id", "provider", "issuer", "subject", "tenant", "roles", "scopes", "claims", "expires")
	if f == nil {
		return nil
	}
	p := r.defaultPrincipal
	if like := f["like"]; like != nil {
		shared := r.sharedPrincipal(like, r.name(like))
		if shared == nil {
			return nil
		}
		p = *shared
	}
	for name, field := range map[string]*string{"id": &p.ID, "provider": &p.Provider, "issuer": &p.Issuer, "subject": &p.Subject, "tenant": &p.Tenant} {
		if f[name] != nil {
			*field = r.text(f[name])
		}
	}
	for name, field := range map[string]*[]string{"roles": &p.Roles, "scopes": &p.Scopes} {
		if f[name] != nil {
			*field = r.texts(f[name])
			r.bound(f[name], len(*field))
		}
	}
	if claims := f["claims"]; claims != nil {
		p.Claims = r.object(claims, p.Claims)
	}
	if f["expires"] != nil {
		p.Expires = r.time(f["expires"])
	}
	return &p
}

// finishPrincipal fills in what follows from the rest, as authentication does.
func (r *reader) finishPrincipal(node *yaml.Node, p policy.Principal) *policy.Principal {
	switch {
	case p.ID == "" && p.Subject == "":
		r.errorf(node, "the principal has no id; for a caller whom nobody authenticated write %s", anonymous)
		return nil
	case p.ID == "":
		p.ID = p.Subject
	case p.Subject == "":
		p.Subject = p.ID
	}
	if p.Provider == "" {
		p.Provider = testProvider
	}
	return &p
}

// object reads a mapping to anything, over another one: each key that is written replaces that one's.
func (r *reader) object(node *yaml.Node, base map[string]any) map[string]any {
	if !r.bound(node, len(node.Content)/2) {
		return base
	}
	values := maps.Clone(base)
	if values == nil {
		values = map[string]any{}
	}
	r.entries(node, "expected a mapping", func(key, value *yaml.Node) { values[key.Value] = r.value(value) })
	r.bound(node, len(values))
	return values
}

// bound reports more entries than one principal or request may have. It is asked before they are read, which may take the
// square of their number, and again with those that were there before.
func (r *reader) bound(node *yaml.Node, count int) bool {
	if count > maxEntries {
		r.errorf(node, "there are %d entries, and at most %d are read", count, maxEntries)
		return false
	}
	return true
}
