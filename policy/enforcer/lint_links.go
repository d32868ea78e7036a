package enforcer

import (
	"maps"
	"math"
	"slices"
	"strings"
)

// linkSet are the links of each role definition, whatever their domain is.
type linkSet struct {
	names int // how many symbols there are
	of    map[string][]roleLink
}

type roleLink struct {
	user, role symbol
	number     int // of the rule, among all rules
}

func (e *Enforcer) readLinks() *linkSet {
	links := &linkSet{names: e.compiled.symbols.count(), of: map[string][]roleLink{}}
	number := 0
	for r := range e.rules.all {
		if _, ok := e.compiled.program.names.roles[r.ptype()]; ok {
			link := roleLink{e.compiled.find(r.fields()[0]), e.compiled.find(r.fields()[1]), number}
			links.of[r.ptype()] = append(links.of[r.ptype()], link)
		}
		number++
	}
	return links
}

// transitive returns the role definitions in which a role's roles are held by all who hold it. Links are followed ten deep
// (maxChain), of which one may lead from a caller to a role that it brings, and none may come round.
func (l *linkSet) transitive() map[string]bool {
	short := map[string]bool{}
	for definition, links := range l.of {
		short[definition] = longest(links, l.names) < maxChain
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
	roles, filled := make([]symbol, len(links)), slices.Clone(from)
	for _, link := range links {
		roles[filled[link.user]] = link.role
		filled[link.user]++
	}
	var queue []symbol
	for name := range names {
		if open[name] == 0 && from[name] < from[name+1] {
			queue = append(queue, symbol(name))
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
func (e *Enforcer) lintLinks(links *linkSet, r *report) {
	program := e.compiled.program
	if len(links.of) == 0 || program.sortsBySubject { // where links also order the rules
		return
	}
	spoken := make([]bool, links.names) // in a rule
	for at := range e.compiled.inOrder() {
		for _, id := range at.layer.row(at.number) {
			spoken[id] = true
		}
	}
	for rule := range e.rules.all {
		if _, ok := program.names.roles[rule.ptype()]; ok || rule.ptype() == program.names.policy {
			continue
		}
		for _, field := range rule.fields() {
			if id := e.compiled.find(field); id != noSymbol {
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
			if len(idle) <= maxFindings && !spoken[link.role] && !users[link.role] && !strings.Contains(e.model, e.compiled.text(link.role)) {
				idle[link.number] = true
			}
		}
	}
	e.reportIdleLinks(idle, r)
	if e.roles == nil {
		e.lintSubjects(links, r)
	}
}

func (e *Enforcer) reportIdleLinks(idle map[int]bool, r *report) {
	number := 0
	for rule := range e.rules.all {
		if idle[number] {
			r.warnf(rule.place(2), "the role link leads to nothing: no rule and no other link speaks of %q", rule.fields()[1])
		}
		number++
	}
}

// isAskedPlainly reports whether the roles that a role function is asked about are written in the policy's rules or in
// the model.
func (e *Enforcer) isAskedPlainly(definition string) bool {
	plain := true
	var look func(n *node)
	look = func(n *node) {
		if n.op == opCall && n.name == definition {
			plain = plain && len(n.args) > 1 && fixed(n.args[1])
		}
		for _, arg := range n.args {
			look(arg)
		}
	}
	look(e.compiled.program.matcher)
	for _, l := range e.compiled.layers {
		if l == nil {
			continue
		}
		for _, tree := range l.evals {
			plain = plain && !tree.calls(definition) // the role is then part of a longer text
		}
	}
	return plain
}

// lintSubjects reports rules for a role that no link gives to anybody, where there is one that differs in upper and
// lower case only.
func (e *Enforcer) lintSubjects(links *linkSet, r *report) {
	program := e.compiled.program
	for _, definition := range slices.Sorted(maps.Keys(links.of)) {
		own, columns := links.of[definition], roleColumns(program.matcher, definition)
		if len(columns) == 0 {
			continue
		}
		linked, roles, folded := make([]bool, links.names), make([]bool, links.names), map[string]symbol{}
		for _, link := range own {
			if linked[link.user], linked[link.role] = true, true; !roles[link.role] {
				roles[link.role] = true
				folded[strings.ToLower(e.compiled.text(link.role))] = link.role
			}
		}
		for at := range e.compiled.inOrder() {
			row := at.layer.row(at.number)
			for _, column := range columns {
				if linked[row[column]] {
					continue
				}
				name := e.compiled.text(row[column])
				if role, ok := folded[strings.ToLower(name)]; ok {
					r.warnf(e.standing(at).place(column+1), "no role link gives anybody the role %q; there is one named %q", name, e.compiled.text(role))
				}
			}
		}
	}
}

// roleColumns returns the columns in which a role function looks for roles.
func roleColumns(n *node, definition string) (columns []int) {
	if n.op == opCall && n.name == definition && len(n.args) > 1 && n.args[1].op == opPolicy {
		columns = append(columns, n.args[1].field)
	}
	for _, arg := range n.args {
		columns = append(columns, roleColumns(arg, definition)...)
	}
	slices.Sort(columns)
	return slices.Compact(columns)
}
