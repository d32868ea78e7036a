package enforcer

import (
	"fmt"
	"slices"
)

// satisfied reports whether a condition holds for the rule that the query is about.
func (q *query) satisfied(condition *node) (holds bool) {
	defer func() {
		if recover() != nil { // as in evaluating it for a verdict, which then is an error
			holds = false
		}
	}()
	v, err := q.evaluate(condition)
	return err == nil && (v.kind == isBool || v.kind == isNumber) && v.holds()
}

// written returns the condition with what stands in the rule in place of the names of its fields.
func (q *query) written(n *node) string {
	if n.op == opPolicy {
		return fmt.Sprintf("%q", q.within.text(q.row[n.field]))
	}
	copied := *n
	copied.args = make([]*node, len(n.args))
	for i, arg := range n.args {
		copied.args[i] = &node{op: opPolicy, name: q.written(arg)}
	}
	return copied.format(func(field *node) string { return field.name })
}

// rolePath is the way from a name to a role, for one call of a role function.
type rolePath struct {
	call   *node
	domain string
	names  []string // the name, the roles on the way, and the role
}

// paths returns the ways to the roles that a condition calls for.
func (q *query) paths(n *node) []rolePath {
	var paths []rolePath
	for _, arg := range n.args {
		paths = append(paths, q.paths(arg)...)
	}
	graph, ok := q.within.graphs[n.name]
	if n.op != opCall || !ok {
		return paths
	}
	args, err := q.arguments(n.args)
	if err != nil || len(args) < 2 || args[0].kind != isString || args[1].kind != isString || args[0].text == args[1].text {
		return paths
	}
	domain := ""
	if len(args) > 2 && q.within.program.names.roles[n.name].names > 2 {
		domain = args[2].text
	}
	names := q.shortest(graph, n.name, []string{args[0].text, args[1].text, domain})
	if names == nil {
		return paths
	}
	return append(paths, rolePath{call: n, domain: domain, names: names})
}

// shortest returns the shortest way by role links: of is a name, a role and a domain.
func (q *query) shortest(graph *roleGraph, definition string, of []string) []string {
	within := q.within
	domains := graph.matching(of[2], []symbol{within.find(of[2])})
	from := map[string]string{of[0]: of[0]}
	queue := []string{of[0]}
	for len(queue) > 0 && from[of[1]] == "" {
		name := queue[0]
		queue = queue[1:]
		for _, role := range q.linked(graph, definition, name, domains) {
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

// linked returns the roles of a name that are one link away.
func (q *query) linked(graph *roleGraph, definition, name string, domains []symbol) []string {
	within := q.within
	var roles []string
	for _, domain := range domains {
		for _, role := range graph.of(linkKey(within.find(name), domain)) {
			roles = append(roles, within.text(symbol(role)))
		}
	}
	if definition == within.ownRoles && name == q.caller.subject {
		roles = append(roles, q.caller.roles...)
	}
	return roles
}
