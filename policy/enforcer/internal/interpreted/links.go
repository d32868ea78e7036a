package interpreted

import (
	"errors"
	"fmt"
	"strings"

	"github.com/casbin/casbin/v2"
	casbinmodel "github.com/casbin/casbin/v2/model"
	"github.com/casbin/casbin/v2/rbac"
	defaultrolemanager "github.com/casbin/casbin/v2/rbac/default-role-manager"
	"github.com/casbin/casbin/v2/util"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
)

const (
	// maxCachedNames bounds the role names that one session remembers. What requests can fill is at most that
	// many names of maxCachedName bytes: 4 MiB a session, of which there is about one for each processor.
	maxCachedNames = 1 << 14
	// maxCachedName is the longest name that a session remembers roles for, in bytes, its domain included.
	maxCachedName = 256
)

// roleLinks are the role links of one role definition, which all sessions share.
type roleLinks struct {
	conditional bool // the definition has parameters for conditions
	// whole follows links as far as Casbin does from a name. behind follows one link less: it is for the
	// roles that a caller brings along, which are one link away from the caller. It is nil where none count.
	whole, behind rbac.RoleManager
}

// newRoleLinks returns the links that were loaded, by the key of their definition. The definitions come as
// the model's text has them, since a loaded model has lost what it knew of conditions.
func newRoleLinks(loaded *casbin.Enforcer, definitions casbinmodel.AssertionMap, tokenRoles bool) (map[string]*roleLinks, error) {
	links := make(map[string]*roleLinks, len(definitions))
	for key := range definitions {
		links[key] = &roleLinks{whole: loaded.GetNamedRoleManager(key), conditional: len(definitions[key].ParamsTokens) > 0}
	}
	if !tokenRoles || links["g"] == nil {
		return links, nil
	}
	m := loaded.GetModel()
	manager := newRoleManager(len(definitions["g"].Tokens), links["g"].conditional, model.MaxChain-1)
	if strings.Contains(m["m"]["m"].Value, "keyMatch(r_dom, p_dom)") && len(definitions["g"].Tokens) > 2 {
		manager.AddDomainMatchingFunc("g", util.KeyMatch) // as Casbin does for its own
	}
	for _, rule := range m["g"]["g"].Policy {
		if err := manager.AddLink(rule[0], rule[1], rule[2:len(definitions["g"].Tokens)]...); err != nil {
			return nil, fmt.Errorf("linking %q to %q: %w", rule[0], rule[1], err)
		}
	}
	links["g"].behind = manager
	return links, nil
}

// newRoleManager returns the kind of manager that Casbin takes for such a definition.
func newRoleManager(names int, conditional bool, levels int) rbac.RoleManager {
	switch {
	case names > 2 && conditional:
		return defaultrolemanager.NewConditionalDomainManager(levels)
	case names > 2:
		return defaultrolemanager.NewRoleManager(levels)
	case conditional:
		return defaultrolemanager.NewConditionalRoleManager(levels)
	}
	return defaultrolemanager.NewRoleManagerImpl(levels)
}

// linkQuery answers the role function g of one session. It remembers the roles of names, as long as the
// policy lives, and the roles that the caller brought along, as long as the request does.
type linkQuery struct {
	links *roleLinks

	inherited      map[scopedName]map[string]struct{} // by the policy's links, without the name itself
	inheritedNames int

	subject string
	roles   []string
	held    map[scopedName]struct{} // what the roles give the subject
	heldIn  map[string]struct{}     // the domains for which held is filled
}

type scopedName struct{ name, domain string }

func newLinkQuery(links *roleLinks) *linkQuery {
	return &linkQuery{
		links: links, inherited: map[scopedName]map[string]struct{}{},
		held: map[scopedName]struct{}{}, heldIn: map[string]struct{}{},
	}
}

// bring sets the roles that the caller brings along, until forget.
func (q *linkQuery) bring(subject string, roles []string) { q.subject, q.roles = subject, roles }

// forget ends the request.
func (q *linkQuery) forget() {
	q.subject, q.roles = "", nil
	if len(q.held) > maxCachedNames {
		q.held, q.heldIn = map[scopedName]struct{}{}, map[string]struct{}{}
	}
	clear(q.held)
	clear(q.heldIn)
}

var errArguments = errors.New("a role function takes two strings, or three with a domain")

// call is the role function. Like Casbin's it looks at no argument behind the domain, but where the definition has no
// conditions it takes none that is not a string. A name that the role manager cannot answer for has no role.
func (q *linkQuery) call(args ...any) (any, error) {
	names := make([]string, len(args))
	for i, arg := range args {
		name, ok := arg.(string)
		if !ok && (i < 3 || !q.links.conditional) {
			return nil, errArguments
		}
		names[i] = name
	}
	if len(names) < 2 {
		return nil, errArguments
	}
	has, _ := q.hasLink(names[0], names[1], names[2:min(3, len(names))]...)
	return has, nil
}

// hasLink reports whether the name is, or has, that role.
func (q *linkQuery) hasLink(name, role string, domains ...string) (bool, error) {
	if name == role {
		return true, nil
	}
	has, err := q.inherits(name, role, domains)
	if has || err != nil || len(q.roles) == 0 || name != q.subject {
		return has, err
	}
	domain := domainOf(domains)
	if _, ok := q.heldIn[domain]; !ok {
		if err := q.hold(domain, domains); err != nil {
			return false, err
		}
	}
	_, has = q.held[scopedName{role, domain}]
	return has, nil
}

func domainOf(domains []string) string {
	if len(domains) == 0 {
		return ""
	}
	return domains[0]
}

// inherits answers by the policy's links.
func (q *linkQuery) inherits(name, role string, domains []string) (bool, error) {
	key := scopedName{name, domainOf(domains)}
	roles, known := q.inherited[key]
	if !known {
		if len(key.name)+len(key.domain) > maxCachedName {
			return q.links.whole.HasLink(name, role, domains...)
		}
		names, err := q.links.whole.GetImplicitRoles(name, domains...)
		if err != nil {
			return false, err
		}
		roles = make(map[string]struct{}, len(names))
		for _, n := range names {
			roles[n] = struct{}{}
		}
		q.inheritedNames += len(names) + 1
		if q.inheritedNames > maxCachedNames {
			clear(q.inherited)
			q.inheritedNames = len(names) + 1
		}
		q.inherited[key] = roles
	}
	_, has := roles[role]
	return has, nil
}

// hold works out what the caller's roles give the subject in one domain.
func (q *linkQuery) hold(domain string, domains []string) error {
	for _, role := range q.roles {
		if role == "" {
			continue
		}
		q.held[scopedName{role, domain}] = struct{}{}
		inherited, err := q.links.behind.GetImplicitRoles(role, domains...)
		if err != nil {
			return err
		}
		for _, name := range inherited {
			q.held[scopedName{name, domain}] = struct{}{}
		}
	}
	q.heldIn[domain] = struct{}{}
	return nil
}
