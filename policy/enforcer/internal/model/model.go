package model

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
	AllowOverride   = "some(where (p.eft == allow))"
	DenyOverride    = "!some(where (p.eft == deny))"
	AllowAndDeny    = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"
	Priority        = "priority(p.eft) || deny"
	SubjectPriority = "subjectPriority(p.eft) || deny"
)

var effects = []string{AllowOverride, DenyOverride, AllowAndDeny, Priority, SubjectPriority}

// Context says which definitions of a model decide, for a model that has several of a kind. It is Casbin's
// EnforceContext. An empty name stands for the first: r, p, e, m.
type Context struct{ Request, Policy, Effect, Matcher string }

// WithDefaults returns the context with a name in every place.
func (c Context) WithDefaults() Context {
	return Context{
		Request: cmp.Or(c.Request, "r"), Policy: cmp.Or(c.Policy, "p"),
		Effect: cmp.Or(c.Effect, "e"), Matcher: cmp.Or(c.Matcher, "m"),
	}
}

// Model is a model that was read and found whole.
type Model struct {
	Context  Context
	ByKey    map[string]*Definition
	Requests map[string][]Field // by key: r, r2, …
	Policies map[string][]Field // p, p2, …
	Roles    map[string]Role    // g, g2, …
	Effect   string             // of e
	matcher  *expression        // of m
	patterns []patternUse       // in all matchers
}

// Field is one field of a request or policy definition.
type Field struct {
	Name string
	At   Place
}

// Role is what a role definition says of its links.
type Role struct {
	Names      int // two, or with domains more
	Conditions int // parameters for a condition on the link
}

var (
	identifier     = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)
	roleDefinition = regexp.MustCompile(`^_ *, *_( *, *_)*( *, *\( *_( *, *_)* *\))?$`)
)

// Read returns the model, or nil where the report holds an error.
func Read(text []byte, context Context, r *Report) *Model {
	m := &Model{
		Context:  context.WithDefaults(),
		ByKey:    map[string]*Definition{},
		Requests: map[string][]Field{}, Policies: map[string][]Field{}, Roles: map[string]Role{},
	}
	definitions := readDefinitions(text, r)
	for i := range definitions {
		m.define(&definitions[i], r)
	}
	if r.Failed() {
		return nil // a definition that was not read would be reported again as missing
	}
	for _, section := range []string{"request_definition", "policy_definition", "policy_effect", "matchers"} {
		if m.ByKey[sectionKeys[section]] == nil {
			r.Errorf(Place{1, 1}, "the model defines no %s, in section [%s]", sectionKeys[section], section)
		}
	}
	for _, key := range []string{m.Context.Request, m.Context.Policy, m.Context.Effect, m.Context.Matcher} {
		if len(key) > 1 && m.ByKey[key] == nil {
			r.Errorf(Place{1, 1}, "the configuration asks for the definition %s, which the model does not have", key)
		}
	}
	for key, d := range m.ByKey {
		if before := predecessor(key); before != "" && m.ByKey[before] == nil {
			r.Errorf(d.At, "%s without %s; Casbin numbers them without a gap and would never read it", key, before)
		}
	}
	if r.Failed() {
		return nil
	}
	m.checkEffect(r)
	m.checkDomains(r)
	m.readMatchers(r)
	if r.Failed() {
		return nil
	}
	return m
}

// define takes one definition into the model.
func (m *Model) define(d *Definition, r *Report) {
	first, known := sectionKeys[d.section]
	switch {
	case !known:
		return // reported with its section
	case !isKey(d.Key, first):
		r.Errorf(d.At, "%q in section [%s], where Casbin looks for %s, %s2, …", d.Key, d.section, first, first)
		return
	case m.ByKey[d.Key] != nil:
		r.Errorf(d.At, "a second definition of %s; the first is in line %d", d.Key, m.ByKey[d.Key].At.Line)
		return
	case d.Value == "":
		r.Errorf(d.At, "the definition of %s is empty", d.Key)
		return
	}
	m.ByKey[d.Key] = d
	switch first {
	case "r":
		m.Requests[d.Key] = readFields(d, r)
	case "p":
		m.Policies[d.Key] = readFields(d, r)
	case "g":
		m.Roles[d.Key] = readRole(d, r)
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

func readFields(d *Definition, r *Report) []Field {
	var fields []Field
	offset := 0
	for part := range strings.SplitSeq(d.Value, ",") {
		name := strings.TrimSpace(part)
		f := Field{name, d.Place(offset + strings.Index(part, name))}
		switch {
		case !identifier.MatchString(name):
			r.Errorf(f.At, "%q is not a field name; a name is a letter, then letters, digits and _", name)
		case slices.ContainsFunc(fields, func(other Field) bool { return other.Name == name }):
			r.Errorf(f.At, "a second field named %s", name)
		}
		fields = append(fields, f)
		offset += len(part) + 1
	}
	return fields
}

func readRole(d *Definition, r *Report) Role {
	if !roleDefinition.MatchString(d.Value) {
		r.Errorf(d.Place(0), "%q is not a role definition, such as _, _ or with domains _, _, _", d.Value)
		return Role{}
	}
	names, conditions, conditional := strings.Cut(d.Value, "(")
	if !conditional {
		return Role{Names: strings.Count(names, "_")}
	}
	r.Warnf(d.Place(0), "the links' conditions are functions that a program registers with Casbin; without one the links hold unconditionally")
	return Role{Names: strings.Count(names, "_"), Conditions: strings.Count(conditions, "_")}
}

func (m *Model) checkEffect(r *Report) {
	d := m.ByKey[m.Context.Effect]
	m.Effect = strings.ReplaceAll(d.Value, "p_eft", "p.eft")
	if !slices.Contains(effects, m.Effect) {
		r.Errorf(d.Place(0), "unknown effect %q; Casbin knows these, letter by letter: %s", d.Value, strings.Join(effects, "; "))
	}
	if (m.Effect == SubjectPriority || m.SortsBySubject()) && len(m.Roles) == 0 {
		r.Errorf(d.Place(0), "an effect by subject priority needs a [role_definition]")
	}
}

// checkDomains refuses what Casbin panics at when it loads the links.
func (m *Model) checkDomains(r *Report) {
	for key, definition := range m.Roles {
		if definition.Names > 2 && definition.Conditions > 0 && TakesDomainPatterns(m) {
			r.Errorf(m.ByKey[key].Place(0), "Casbin cannot load links with conditions in domains that are patterns, as keyMatch(r.dom, p.dom) in the matcher makes them; leave out one of the two")
		}
	}
}

// SortsBySubject reports whether Casbin orders rules by subject. It goes by the first effect, whichever decides.
func (m *Model) SortsBySubject() bool {
	return strings.ReplaceAll(m.ByKey["e"].Value, "p_eft", "p.eft") == SubjectPriority
}

// FieldIndex returns where that field is in the definition, or -1.
func FieldIndex(fields []Field, name string) int {
	return slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
}

// readMatchers checks every matcher. The verdict is that of m.
func (m *Model) readMatchers(r *Report) {
	for key, d := range m.ByKey {
		if key[0] != 'm' {
			continue
		}
		e := &expression{text: d.Value, scope: m.scope(key), place: d.Place}
		m.patterns = append(m.patterns, e.check(r)...)
		if key == m.Context.Matcher {
			m.matcher = e
		}
	}
	if m.Effect == DenyOverride && m.matcher != nil && !m.matcher.usesPolicy {
		r.Errorf(m.ByKey[m.Context.Matcher].Place(0), "the matcher names no field of the policy, and under the effect %s every request is then allowed", DenyOverride)
	}
}
