package compiled

import (
	"fmt"
	"slices"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/index"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/matcher"
)

// Satisfied reports whether a condition holds for the rule that the query is about.
func (q *Query) Satisfied(condition *matcher.Node) (holds bool) {
	defer func() {
		if recover() != nil { // as in evaluating it for a verdict, which then is an error
			holds = false
		}
	}()
	v, err := q.evaluate(condition)
	return err == nil && (v.Kind == matcher.IsBool || v.Kind == matcher.IsNumber) && v.Holds()
}

// Written returns the condition with what stands in the rule in place of the names of its fields.
func (q *Query) Written(n *matcher.Node) string {
	if n.Op == matcher.OpPolicy {
		return fmt.Sprintf("%q", q.Within.Text(q.Row[n.Field]))
	}
	copied := *n
	copied.Args = make([]*matcher.Node, len(n.Args))
	for i, arg := range n.Args {
		copied.Args[i] = &matcher.Node{Op: matcher.OpPolicy, Name: q.Written(arg)}
	}
	return copied.Format(func(field *matcher.Node) string { return field.Name })
}

// RolePath is the way from a name to a role, for one call of a role function.
type RolePath struct {
	Call   *matcher.Node
	Domain string
	Names  []string // the name, the roles on the way, and the role
}

// Paths returns the ways to the roles that a condition calls for.
func (q *Query) Paths(n *matcher.Node) []RolePath {
	var paths []RolePath
	for _, arg := range n.Args {
		paths = append(paths, q.Paths(arg)...)
	}
	graph, ok := q.Within.Graphs[n.Name]
	if n.Op != matcher.OpCall || !ok {
		return paths
	}
	args, err := q.arguments(n.Args)
	if err != nil || len(args) < 2 || args[0].Kind != matcher.IsString || args[1].Kind != matcher.IsString || args[0].Text == args[1].Text {
		return paths
	}
	domain := ""
	if len(args) > 2 && q.Within.Program.Names.Roles[n.Name].Names > 2 {
		domain = args[2].Text
	}
	names := q.shortest(graph, n.Name, []string{args[0].Text, args[1].Text, domain})
	if names == nil {
		return paths
	}
	return append(paths, RolePath{Call: n, Domain: domain, Names: names})
}

// shortest returns the shortest way by role links: of is a name, a role and a domain.
func (q *Query) shortest(graph *index.RoleGraph, definition string, of []string) []string {
	within := q.Within
	domains := graph.Matching(of[2], []index.Symbol{within.Find(of[2])})
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
func (q *Query) linked(graph *index.RoleGraph, definition, name string, domains []index.Symbol) []string {
	within := q.Within
	var roles []string
	for _, domain := range domains {
		for _, role := range graph.Of(index.LinkKey(within.Find(name), domain)) {
			roles = append(roles, within.Text(index.Symbol(role)))
		}
	}
	if definition == within.ownRoles && name == q.caller.subject {
		roles = append(roles, q.caller.roles...)
	}
	return roles
}
