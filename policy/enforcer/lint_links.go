package enforcer

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/compiled"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/index"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/matcher"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
)

// linkSet are the links of each role definition, whatever their domain is.
type linkSet struct {
	names int // how many symbols there are
	of    map[string][]roleLink
}

type roleLink struct {
	user, role index.Symbol
	number     int // of the rule, among all rules
}

func (e *Enforcer) readLinks() *linkSet {
	links := &linkSet{names: e.compiled.Symbols.Count(), of: map[string][]roleLink{}}
	number := 0
	for r := range e.rules.all {
		if _, ok := e.compiled.Program.Names.Roles[r.Type()]; ok {
			link := roleLink{e.compiled.Find(r.Fields()[0]), e.compiled.Find(r.Fields()[1]), number}
			links.of[r.Type()] = append(links.of[r.Type()], link)
		}
		number++
	}
	return links
}

// transitive returns the role definitions in which a role's roles are held by all who hold it. Links are followed ten deep
// (MaxChain), of which one may lead from a caller to a role that it brings, and none may come round.
func (l *linkSet) transitive() map[string]bool {
	short := map[string]bool{}
	for definition, links := range l.of {
		short[definition] = longest(links, l.names) < model.MaxChain
	}
	return short
}

// longest returns how many links there are in the longest chain, or the largest number if one comes round.
func longest(links []roleLink, names int) int {
	from, open := make([]uint32, names+1), make([]uint32, names)
	for _, link := range links {
		from[link.user+1]++
		open[link.role]++
	}
	for i := range names {
		from[i+1] += from[i]
	}
	roles, filled := make([]index.Symbol, len(links)), slices.Clone(from)
	for _, link := range links {
		roles[filled[link.user]] = link.role
		filled[link.user]++
	}
	var queue []index.Symbol
	for name := range names {
		if open[name] == 0 && from[name] < from[name+1] {
			queue = append(queue, index.Symbol(name))
		}
	}
	depth, walked, most := make([]uint32, names), 0, uint32(0)
	for next := 0; next < len(queue); next++ {
		name := queue[next]
		for _, role := range roles[from[name]:from[name+1]] {
			walked++
			depth[role] = max(depth[role], depth[name]+1)
			most = max(most, depth[role])
			if open[role]--; open[role] == 0 {
				queue = append(queue, role)
			}
		}
	}
	if walked < len(links) {
		return math.MaxInt
	}
	return int(most)
}

// lintLinks reports links to roles of which nothing speaks, and rules for roles that nobody has.
func (e *Enforcer) lintLinks(links *linkSet, r *model.Report) {
	program := e.compiled.Program
	if len(links.of) == 0 || program.SortsBySubject { // where links also order the rules
		return
	}
	spoken := make([]bool, links.names) // in a rule
	for at := range e.compiled.InOrder() {
		for _, id := range at.Layer.Row(at.Number) {
			spoken[id] = true
		}
	}
	for rule := range e.rules.all {
		if _, ok := program.Names.Roles[rule.Type()]; ok || rule.Type() == program.Names.Policy {
			continue
		}
		for _, field := range rule.Fields() {
			if id := e.compiled.Find(field); id != index.NoSymbol {
				spoken[id] = true
			}
		}
	}
	idle := map[int]bool{} // links, by number
	for _, definition := range slices.Sorted(maps.Keys(links.of)) {
		own := links.of[definition]
		if !e.isAskedPlainly(definition) {
			continue
		}
		users := make([]bool, links.names)
		for _, link := range own {
			users[link.user] = true
		}
		for _, link := range own {
			if len(idle) <= model.MaxFindings && !spoken[link.role] && !users[link.role] && !strings.Contains(e.model, e.compiled.Text(link.role)) {
				idle[link.number] = true
			}
		}
	}
	e.reportIdleLinks(idle, r)
	if e.roles == nil {
		e.lintSubjects(links, r)
	}
}

func (e *Enforcer) reportIdleLinks(idle map[int]bool, r *model.Report) {
	number := 0
	for rule := range e.rules.all {
		if idle[number] {
			r.Warnf(rule.Place(2), "the role link leads to nothing: no rule and no other link speaks of %q", rule.Fields()[1])
		}
		number++
	}
}

// isAskedPlainly reports whether the roles that a role function is asked about are written in the policy's rules or in
// the model.
func (e *Enforcer) isAskedPlainly(definition string) bool {
	plain := true
	var look func(n *matcher.Node)
	look = func(n *matcher.Node) {
		if n.Op == matcher.OpCall && n.Name == definition {
			plain = plain && len(n.Args) > 1 && compiled.Fixed(n.Args[1])
		}
		for _, arg := range n.Args {
			look(arg)
		}
	}
	look(e.compiled.Program.Matcher)
	for _, l := range e.compiled.Layers {
		if l == nil {
			continue
		}
		for _, tree := range l.Evals {
			plain = plain && !tree.Calls(definition) // the role is then part of a longer text
		}
	}
	return plain
}

// lintSubjects reports rules for a role that no link gives to anybody, where there is one that differs in upper and
// lower case only.
func (e *Enforcer) lintSubjects(links *linkSet, r *model.Report) {
	program := e.compiled.Program
	for _, definition := range slices.Sorted(maps.Keys(links.of)) {
		own, columns := links.of[definition], roleColumns(program.Matcher, definition)
		if len(columns) == 0 {
			continue
		}
		linked, roles, folded := make([]bool, links.names), make([]bool, links.names), map[string]index.Symbol{}
		for _, link := range own {
			if linked[link.user], linked[link.role] = true, true; !roles[link.role] {
				roles[link.role] = true
				folded[strings.ToLower(e.compiled.Text(link.role))] = link.role
			}
		}
		for at := range e.compiled.InOrder() {
			row := at.Layer.Row(at.Number)
			for _, column := range columns {
				if linked[row[column]] {
					continue
				}
				name := e.compiled.Text(row[column])
				if role, ok := folded[strings.ToLower(name)]; ok {
					r.Warnf(e.standing(at).Place(column+1), "no role link gives anybody the role %q; there is one named %q", name, e.compiled.Text(role))
				}
			}
		}
	}
}

// roleColumns returns the columns in which a role function looks for roles.
func roleColumns(n *matcher.Node, definition string) (columns []int) {
	if n.Op == matcher.OpCall && n.Name == definition && len(n.Args) > 1 && n.Args[1].Op == matcher.OpPolicy {
		columns = append(columns, n.Args[1].Field)
	}
	for _, arg := range n.Args {
		columns = append(columns, roleColumns(arg, definition)...)
	}
	slices.Sort(columns)
	return slices.Compact(columns)
}
