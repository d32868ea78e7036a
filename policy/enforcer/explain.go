package enforcer

import (
	"context"
	"fmt"
	"slices"

	"github.com/kasbah-authz/kasbah/policy"
)

// maxExplained bounds the rules of each kind that an explanation names.
const maxExplained = 10

// Explanation says how an Enforcer comes to its outcome about one request.
type Explanation struct {
	// Outcome and Err are what Evaluate returns.
	Outcome policy.Outcome
	Err     error
	// Fields are the fields of the request as the matcher compares them.
	Fields []FieldValue
	// Roles are those that the caller brings along.
	Roles []string
	// Matches are the rules for which the matcher holds, in the order in which they are asked, at most ten;
	// Matching is how many there are.
	Matches  []Match
	Matching int
	// Misses are the rules for which all of the matcher holds but one condition, at most ten; Missing is how
	// many there are.
	Misses  []Miss
	Missing int
	// Casbin says why Casbin itself evaluates the matcher; there are then neither matches nor misses.
	Casbin string
}

// FieldValue is one field of a request.
type FieldValue struct {
	Name  string
	Value any
}

// Match is a rule that matches, and the role links that led to it.
type Match struct {
	Rule  policy.Rule
	Deny  bool
	Paths []RolePath
}

// RolePath is the way from a name to a role, for one call of a role function such as g(r.sub, p.sub).
type RolePath struct {
	Call string
	// Names are the name, the roles on the way, and the role.
	Names []string
	// Links are the rules that link each name to the next. One without a text is a role that the caller brings.
	Links []policy.Rule
}

// Miss is a rule that would match, were it not for one condition.
type Miss struct {
	Rule      policy.Rule
	Condition string // of the matcher, with the names of its fields
	Values    string // the same with what stands in the rule
	Deny      bool
}

// Explain returns what Evaluate would, and why. It looks at every rule, and is for people who ask.
func (e *Enforcer) Explain(ctx context.Context, req *policy.Request, principal *policy.Principal) *Explanation {
	asked := *req
	asked.NoWait = false
	x := &Explanation{}
	x.Outcome, x.Err = e.Evaluate(ctx, &asked, principal)
	values, err := e.values(req, principal)
	if err != nil {
		return x
	}
	for i, v := range values {
		x.Fields = append(x.Fields, FieldValue{e.fields[i].name, v})
	}
	if x.Roles, err = e.callersRoles(req, principal, values[e.subject]); err != nil {
		return x
	}
	if e.compiled == nil {
		x.Casbin = e.linear
		return x
	}
	q := &query{frame: frame{meter: meter{ctx: ctx}}}
	q.ask(e.compiled, values, x.Roles, e.subject)
	explaining := &explaining{Enforcer: e, query: q, explanation: x, ways: ways(e.compiled.program.matcher)}
	if e.byRule {
		for at := range e.compiled.inOrder() {
			if ctx.Err() != nil {
				return x
			}
			explaining.look(at)
		}
	}
	return x
}

// ways are the alternatives of a matcher, each of which is a list of conditions that must all hold.
func ways(n *node) [][]*node {
	if n.op == opOr {
		return append(ways(n.args[0]), ways(n.args[1])...)
	}
	return [][]*node{conditionsOf(n)}
}

func conditionsOf(n *node) []*node {
	if n.op == opAnd {
		return append(conditionsOf(n.args[0]), conditionsOf(n.args[1])...)
	}
	return []*node{n}
}

type explaining struct {
	*Enforcer
	query       *query
	explanation *Explanation
	ways        [][]*node
}

// look takes note of one rule, if the matcher holds for it or misses by one condition.
func (x *explaining) look(at rank) {
	x.query.row = at.layer.row(at.number)
	var missed *node
	for _, conditions := range x.ways {
		failed := x.failed(conditions)
		if len(failed) == 0 {
			x.match(at, conditions)
			return
		}
		if len(failed) == 1 && len(conditions) > 1 && missed == nil {
			missed = failed[0]
		}
	}
	if missed != nil {
		x.miss(at, missed)
	}
}

// failed returns the conditions that do not hold, up to two.
func (x *explaining) failed(conditions []*node) []*node {
	var failed []*node
	for _, condition := range conditions {
		if !x.holds(condition) {
			if failed = append(failed, condition); len(failed) > 1 {
				break
			}
		}
	}
	return failed
}

func (x *explaining) holds(condition *node) (holds bool) {
	defer func() {
		if recover() != nil { // as in evaluating it for a verdict, which then is an error
			holds = false
		}
	}()
	v, err := x.query.evaluate(condition)
	return err == nil && (v.kind == isBool || v.kind == isNumber) && v.holds()
}

func (x *explaining) match(at rank, conditions []*node) {
	x.explanation.Matching++
	if len(x.explanation.Matches) == maxExplained {
		return
	}
	m := Match{Rule: x.ruleOf(x.standing(at)), Deny: at.denies()}
	for _, condition := range conditions {
		m.Paths = append(m.Paths, x.paths(condition)...)
	}
	x.explanation.Matches = append(x.explanation.Matches, m)
}

func (x *explaining) miss(at rank, condition *node) {
	x.explanation.Missing++
	if len(x.explanation.Misses) == maxExplained {
		return
	}
	x.explanation.Misses = append(x.explanation.Misses, Miss{
		Rule: x.ruleOf(x.standing(at)), Deny: at.denies(),
		Condition: condition.String(), Values: x.written(condition),
	})
}

// standing returns the rule where it stands now.
func (e *Enforcer) standing(at rank) *rule {
	if at.layer == e.compiled.layers[0] {
		return e.rules.at(at.rule())
	}
	return at.rule()
}

// written returns the condition with what stands in the rule in place of the names of its fields.
func (x *explaining) written(n *node) string {
	if n.op == opPolicy {
		return fmt.Sprintf("%q", x.query.within.text(x.query.row[n.field]))
	}
	copied := *n
	copied.args = make([]*node, len(n.args))
	for i, arg := range n.args {
		copied.args[i] = &node{op: opPolicy, name: x.written(arg)}
	}
	return copied.format(func(field *node) string { return field.name })
}

// paths returns the ways to the roles that a condition calls for.
func (x *explaining) paths(n *node) []RolePath {
	var paths []RolePath
	for _, arg := range n.args {
		paths = append(paths, x.paths(arg)...)
	}
	graph, ok := x.query.within.graphs[n.name]
	if n.op != opCall || !ok {
		return paths
	}
	args, err := x.query.arguments(n.args)
	if err != nil || len(args) < 2 || args[0].kind != isString || args[1].kind != isString || args[0].text == args[1].text {
		return paths
	}
	domain := ""
	if len(args) > 2 && x.query.within.program.names.roles[n.name].names > 2 {
		domain = args[2].text
	}
	names := x.shortest(graph, n.name, []string{args[0].text, args[1].text, domain})
	if names == nil {
		return paths
	}
	path := RolePath{Call: n.String(), Names: names}
	for i := range len(names) - 1 {
		path.Links = append(path.Links, x.link(n.name, names[i], names[i+1], domain))
	}
	return append(paths, path)
}

// shortest returns the shortest way by role links: of is a name, a role and a domain.
func (x *explaining) shortest(graph *roleGraph, definition string, of []string) []string {
	within := x.query.within
	domains := []symbol{within.find(of[2])}
	if graph.domains != nil {
		domains = graph.domains.of(of[2], domains)
	}
	from := map[string]string{of[0]: of[0]}
	queue := []string{of[0]}
	for len(queue) > 0 && from[of[1]] == "" {
		name := queue[0]
		queue = queue[1:]
		for _, role := range x.rolesOf(graph, definition, name, domains) {
			if _, seen := from[role]; !seen {
				from[role] = name
				queue = append(queue, role)
			}
		}
	}
	if _, found := from[of[1]]; !found {
		return nil
	}
	names := []string{of[1]}
	for names[len(names)-1] != of[0] {
		names = append(names, from[names[len(names)-1]])
	}
	slices.Reverse(names)
	return names
}

// rolesOf returns the roles of a name that are one link away.
func (x *explaining) rolesOf(graph *roleGraph, definition, name string, domains []symbol) []string {
	within := x.query.within
	var roles []string
	for _, domain := range domains {
		for _, role := range graph.of(linkKey(within.find(name), domain)) {
			roles = append(roles, within.text(symbol(role)))
		}
	}
	if definition == within.ownRoles && name == x.query.caller.subject {
		roles = append(roles, x.query.caller.roles...)
	}
	return roles
}

// link returns the rule that links a name to a role, or one without a text where the caller brings the role.
func (x *explaining) link(definition, name, role, domain string) policy.Rule {
	var found policy.Rule
	x.rules.all(func(r rule) bool {
		if r.ptype() != definition || r.fields()[0] != name || r.fields()[1] != role {
			return true
		}
		if x.query.within.program.names.roles[definition].names > 2 && r.fields()[2] != domain && x.query.within.graphs[definition].domains == nil {
			return true
		}
		found = x.ruleOf(&r)
		return false
	})
	return found
}
