package model

import (
	"maps"
	"slices"
)

// MaxChain is how many role links Casbin follows from a name.
const MaxChain = 10

// chainGraph is the role links of one role definition in one domain. Names are numbers in it: a policy may have a
// million.
type chainGraph struct {
	names map[string]int32
	edges []chainEdge
	from  []int32 // by name, where its edges begin among those sorted by user
	next  []int32 // the edges sorted by user
	users []int32 // by name, how many links lead to it and have not been walked
}

// chainEdge is one link.
type chainEdge struct {
	user, role int32
	link       *Rule
}

// checkChains reports role links that Casbin does not follow to their end, or that lead back to where
// they began.
func checkChains(rules []Rule, m *Model, r *Report) {
	graphs := map[[2]string]*chainGraph{}
	for i := range rules {
		link := &rules[i]
		definition, ok := m.Roles[link.Type()]
		if !ok {
			continue
		}
		key, prefix := [2]string{link.Type()}, ""
		switch fields := link.Fields(); {
		case m.SortsBySubject() && link.Type() == "g": // Casbin then walks the links of all domains at once
			if len(fields) > 2 {
				prefix = fields[2]
			}
			prefix += "::"
		case definition.Names > 2:
			key[1] = fields[2]
		}
		graph := graphs[key]
		if graph == nil {
			graph = &chainGraph{names: map[string]int32{}}
			graphs[key] = graph
		}
		graph.edges = append(graph.edges, chainEdge{graph.number(prefix + link.Fields()[0]), graph.number(prefix + link.Fields()[1]), link})
	}
	for _, key := range slices.SortedFunc(maps.Keys(graphs), compareKeys) {
		graphs[key].check(m.SortsBySubject() && key[0] == "g", r)
	}
}

func compareKeys(a, b [2]string) int { return slices.Compare(a[:], b[:]) }

func (g *chainGraph) number(name string) int32 {
	n, known := g.names[name]
	if !known {
		n = int32(len(g.names))
		g.names[name] = n
	}
	return n
}

// sort makes the edges of a name one run.
func (g *chainGraph) sort() {
	g.from, g.next, g.users = make([]int32, len(g.names)+1), make([]int32, len(g.edges)), make([]int32, len(g.names))
	for i := range g.edges {
		g.from[g.edges[i].user+1]++
		g.users[g.edges[i].role]++
	}
	for n := 1; n < len(g.from); n++ {
		g.from[n] += g.from[n-1]
	}
	filled := slices.Clone(g.from)
	for i := range g.edges {
		user := g.edges[i].user
		g.next[filled[user]] = int32(i)
		filled[user]++
	}
}

// of returns the numbers of the edges of a name.
func (g *chainGraph) of(name int32) []int32 { return g.next[g.from[name]:g.from[name+1]] }

// check walks the links from the names that nobody inherits, each link once when all that lead to it have
// been walked; what cannot be walked so is on a circle or behind one.
func (g *chainGraph) check(ordersRules bool, r *Report) {
	g.sort()
	depth := make([]int32, len(g.names))
	ways := make([]int, len(g.names)) // how many lead to a name
	total, bound := 0, maxWays+64*len(g.edges)
	queue := g.leaves()
	for _, name := range queue {
		ways[name] = 1
	}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		total = min(total+ways[name], bound)
		for _, edge := range g.of(name) {
			role := g.edges[edge].role
			depth[role] = max(depth[role], depth[name]+1)
			ways[role] = min(ways[role]+ways[name], bound)
			g.users[role]--
			if g.users[role] == 0 {
				queue = append(queue, role)
			}
		}
	}
	g.reportLong(depth, r)
	g.reportCircle(ordersRules, r)
	if !ordersRules {
		return
	}
	g.reportDepths(r)
	if total >= bound {
		r.Errorf(g.edges[0].link.Place(0), "the role links make %d paths or more, and Casbin walks each of them to order the rules by subject", bound)
	}
}

// maxWays bounds what Casbin spends on ordering rules by subject: it walks every path from a role to those
// who have it, of which a few dozen links can make billions.
const maxWays = 1 << 20

// leaves returns the names that nobody inherits.
func (g *chainGraph) leaves() []int32 {
	var leaves []int32
	for name, users := range g.users {
		if users == 0 {
			leaves = append(leaves, int32(name))
		}
	}
	return leaves
}

func (g *chainGraph) reportLong(depth []int32, r *Report) {
	for _, edge := range g.edges {
		if depth[edge.user] == MaxChain && depth[edge.role] == MaxChain+1 {
			r.Warnf(edge.link.Place(0), "a chain of role links is longer than %d here; Casbin does not follow it to %q", MaxChain, edge.link.Fields()[1])
			return
		}
	}
}

// reportCircle reports one circle, where there is any. Every name that was not walked is inherited by
// another such name, so that going from role to user among them must come round.
func (g *chainGraph) reportCircle(ordersRules bool, r *Report) {
	to := map[int32]chainEdge{} // a link to each role
	var edge chainEdge
	for _, e := range slices.Backward(g.edges) {
		if g.users[e.user] > 0 && g.users[e.role] > 0 {
			to[e.role], edge = e, e
		}
	}
	if edge.link == nil {
		return
	}
	for seen := map[*Rule]bool{}; !seen[edge.link]; edge = to[edge.user] {
		seen[edge.link] = true
	}
	name := edge.link.Fields()[0]
	if ordersRules {
		r.Errorf(edge.link.Place(0), "the role links from %q lead back to it, and Casbin would never finish ordering the rules by subject", name)
		return
	}
	r.Warnf(edge.link.Place(0), "the role links from %q lead back to it", name)
}

// depths is how far below roles that inherit nothing a name is.
type depths struct {
	root      int32 // one of those roles
	several   bool  // there are others
	low, high int
}

// reportDepths warns of a name below several roots in different depths. Casbin orders rules by the depth of
// their subject, and takes it from whichever of the roots it happens to come to last.
func (g *chainGraph) reportDepths(r *Report) {
	users, open := map[int32][]int32{}, make([]int, len(g.names))
	for _, edge := range g.edges {
		users[edge.role] = append(users[edge.role], edge.user)
		open[edge.user]++
	}
	below := make([]*depths, len(g.names))
	var queue []int32
	for role := range users {
		if open[role] == 0 {
			below[role] = &depths{root: role}
			queue = append(queue, role)
		}
	}
	for len(queue) > 0 {
		from := below[queue[0]]
		for _, user := range users[queue[0]] {
			below[user] = below[user].join(from)
			if open[user]--; open[user] == 0 {
				queue = append(queue, user)
			}
		}
		queue = queue[1:]
	}
	for _, edge := range g.edges {
		if d := below[edge.user]; d != nil && d.several && d.low != d.high {
			r.Warnf(edge.link.Place(0), "%q is %d role links below one role and %d below another, and Casbin takes either depth to order its rules by", edge.link.Fields()[0], d.low, d.high)
			return
		}
	}
}

// join returns the depths of a name that is also one link below from.
func (d *depths) join(from *depths) *depths {
	if d == nil {
		return &depths{from.root, from.several, from.low + 1, from.high + 1}
	}
	return &depths{d.root, d.several || from.several || from.root != d.root, min(d.low, from.low+1), max(d.high, from.high+1)}
}
