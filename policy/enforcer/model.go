package enforcer

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// sectionKeys are the sections of a model, and the first key of each.
var sectionKeys = map[string]string{
	"request_definition": "r",
	"policy_definition":  "p",
	"role_definition":    "g",
	"policy_effect":      "e",
	"matchers":           "m",
}

const sectionNames = "[request_definition], [policy_definition], [role_definition], [policy_effect] and [matchers]"

// The effects that Casbin knows. It compares them letter by letter.
const (
	allowOverride   = "some(where (p.eft == allow))"
	denyOverride    = "!some(where (p.eft == deny))"
	allowAndDeny    = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"
	priority        = "priority(p.eft) || deny"
	subjectPriority = "subjectPriority(p.eft) || deny"
)

var effects = []string{allowOverride, denyOverride, allowAndDeny, priority, subjectPriority}

// Context says which definitions of a model decide, for a model that has several of a kind. It is Casbin's
// EnforceContext. An empty name stands for the first: r, p, e, m.
type Context struct{ Request, Policy, Effect, Matcher string }

func (c Context) withDefaults() Context {
	return Context{
		Request: cmp.Or(c.Request, "r"), Policy: cmp.Or(c.Policy, "p"),
		Effect: cmp.Or(c.Effect, "e"), Matcher: cmp.Or(c.Matcher, "m"),
	}
}

// modelDefinition is a model that was read and found whole.
type modelDefinition struct {
	context  Context
	byKey    map[string]*definition
	requests map[string][]field // by key: r, r2, …
	policies map[string][]field // p, p2, …
	roles    map[string]role    // g, g2, …
	effect   string             // of e
	matcher  *expression        // of m
	patterns []pattern          // in all matchers
}

// field is one field of a request or policy definition.
type field struct {
	name string
	at   place
}

// role is what a role definition says of its links.
type role struct {
	names      int // two, or with domains more
	conditions int // parameters for a condition on the link
}

var (
	identifier     = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)
	roleDefinition = regexp.MustCompile(`^_ *, *_( *, *_)*( *, *\( *_( *, *_)* *\))?$`)
)

// readModel returns the model, or nil where the report holds an error.
func readModel(text []byte, context Context, r *report) *modelDefinition {
	m := &modelDefinition{
		context:  context.withDefaults(),
		byKey:    map[string]*definition{},
		requests: map[string][]field{}, policies: map[string][]field{}, roles: map[string]role{},
	}
	definitions := readDefinitions(text, r)
	for i := range definitions {
		m.define(&definitions[i], r)
	}
	if r.failed() {
		return nil // a definition that was not read would be reported again as missing
	}
	for _, section := range []string{"request_definition", "policy_definition", "policy_effect", "matchers"} {
		if m.byKey[sectionKeys[section]] == nil {
			r.errorf(place{1, 1}, "the model defines no %s, in section [%s]", sectionKeys[section], section)
		}
	}
	for _, key := range []string{m.context.Request, m.context.Policy, m.context.Effect, m.context.Matcher} {
		if len(key) > 1 && m.byKey[key] == nil {
			r.errorf(place{1, 1}, "the configuration asks for the definition %s, which the model does not have", key)
		}
	}
	for key, d := range m.byKey {
		if before := predecessor(key); before != "" && m.byKey[before] == nil {
			r.errorf(d.at, "%s without %s; Casbin numbers them without a gap and would never read it", key, before)
		}
	}
	if r.failed() {
		return nil
	}
	m.checkEffect(r)
	m.checkDomains(r)
	m.readMatchers(r)
	if r.failed() {
		return nil
	}
	return m
}

// define takes one definition into the model.
func (m *modelDefinition) define(d *definition, r *report) {
	first, known := sectionKeys[d.section]
	switch {
	case !known:
		return // reported with its section
	case !isKey(d.key, first):
		r.errorf(d.at, "%q in section [%s], where Casbin looks for %s, %s2, …", d.key, d.section, first, first)
		return
	case m.byKey[d.key] != nil:
		r.errorf(d.at, "a second definition of %s; the first is in line %d", d.key, m.byKey[d.key].at.line)
		return
	case d.value == "":
		r.errorf(d.at, "the definition of %s is empty", d.key)
		return
	}
	m.byKey[d.key] = d
	switch first {
	case "r":
		m.requests[d.key] = readFields(d, r)
	case "p":
		m.policies[d.key] = readFields(d, r)
	case "g":
		m.roles[d.key] = readRole(d, r)
	}
}

func isKey(key, first string) bool {
	number, ok := strings.CutPrefix(key, first)
	if !ok || number == "" {
		return ok
	}
	n, err := strconv.Atoi(number)
	return err == nil && n >= 2 && strconv.Itoa(n) == number
}

// predecessor returns the key that Casbin must have found before it looks for this one.
func predecessor(key string) string {
	if len(key) == 1 {
		return ""
	}
	n, _ := strconv.Atoi(key[1:])
	if n == 2 {
		return key[:1]
	}
	return key[:1] + strconv.Itoa(n-1)
}

func readFields(d *definition, r *report) []field {
	var fields []field
	offset := 0
	for part := range strings.SplitSeq(d.value, ",") {
		name := strings.TrimSpace(part)
		f := field{name, d.place(offset + strings.Index(part, name))}
		switch {
		case !identifier.MatchString(name):
			r.errorf(f.at, "%q is not a field name; a name is a letter, then letters, digits and _", name)
		case slices.ContainsFunc(fields, func(other field) bool { return other.name == name }):
			r.errorf(f.at, "a second field named %s", name)
		}
		fields = append(fields, f)
		offset += len(part) + 1
	}
	return fields
}

func readRole(d *definition, r *report) role {
	if !roleDefinition.MatchString(d.value) {
		r.errorf(d.place(0), "%q is not a role definition, such as _, _ or with domains _, _, _", d.value)
		return role{}
	}
	names, conditions, conditional := strings.Cut(d.value, "(")
	if !conditional {
		return role{names: strings.Count(names, "_")}
	}
	r.warnf(d.place(0), "the links' conditions are functions that a program registers with Casbin; without one the links hold unconditionally")
	return role{names: strings.Count(names, "_"), conditions: strings.Count(conditions, "_")}
}

func (m *modelDefinition) checkEffect(r *report) {
	d := m.byKey[m.context.Effect]
	m.effect = strings.ReplaceAll(d.value, "p_eft", "p.eft")
	if !slices.Contains(effects, m.effect) {
		r.errorf(d.place(0), "unknown effect %q; Casbin knows these, letter by letter: %s", d.value, strings.Join(effects, "; "))
	}
	if (m.effect == subjectPriority || m.sortsBySubject()) && len(m.roles) == 0 {
		r.errorf(d.place(0), "an effect by subject priority needs a [role_definition]")
	}
}

// checkDomains refuses what Casbin panics at when it loads the links.
func (m *modelDefinition) checkDomains(r *report) {
	for key, definition := range m.roles {
		if definition.names > 2 && definition.conditions > 0 && takesDomainPatterns(m) {
			r.errorf(m.byKey[key].place(0), "Casbin cannot load links with conditions in domains that are patterns, as keyMatch(r.dom, p.dom) in the matcher makes them; leave out one of the two")
		}
	}
}

// sortsBySubject reports whether Casbin orders rules by subject. It goes by the first effect, whichever decides.
func (m *modelDefinition) sortsBySubject() bool {
	return strings.ReplaceAll(m.byKey["e"].value, "p_eft", "p.eft") == subjectPriority
}

// fieldIndex returns where that field is in the definition, or -1.
func fieldIndex(fields []field, name string) int {
	return slices.IndexFunc(fields, func(f field) bool { return f.name == name })
}

// readMatchers checks every matcher. The verdict is that of m.
func (m *modelDefinition) readMatchers(r *report) {
	for key, d := range m.byKey {
		if key[0] != 'm' {
			continue
		}
		e := &expression{text: d.value, scope: m.scope(key), place: d.place}
		m.patterns = append(m.patterns, e.check(r)...)
		if key == m.context.Matcher {
			m.matcher = e
		}
	}
	if m.effect == denyOverride && m.matcher != nil && !m.matcher.usesPolicy {
		r.errorf(m.byKey[m.context.Matcher].place(0), "the matcher names no field of the policy, and under the effect %s every request is then allowed", denyOverride)
	}
}
