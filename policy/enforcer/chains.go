package enforcer

import (
	"maps"
	"slices"
)

// maxChain is how many role links Casbin follows from a name.
const maxChain = 10

// chainGraph is the role links of one role definition in one domain.
type chainGraph struct {
	roles map[string][]string // of a name
	users map[string]int      // how many links lead to a role and have not been walked
	links []*rule
}

// checkChains reports role links that Casbin does not follow to their end, or that lead back to where
// they began.
func checkChains(rules []rule, m *modelDefinition, r *report) {
	graphs := map[[2]string]*chainGraph{}
	for i := range rules {
		link := &rules[i]
		definition, ok := m.roles[link.ptype()]
		if !ok {
			continue
		}
		key := [2]string{link.ptype()}
		if definition.names > 2 {
			key[1] = link.fields()[2]
		}
		graph := graphs[key]
		if graph == nil {
			graph = &chainGraph{roles: map[string][]string{}, users: map[string]int{}}
			graphs[key] = graph
		}
		graph.add(link)
	}
	for _, key := range slices.SortedFunc(maps.Keys(graphs), compareKeys) {
		graphs[key].check(m.effect == subjectPriority && key[0] == "g", r)
	}
}

func compareKeys(a, b [2]string) int { return slices.Compare(a[:], b[:]) }

func (g *chainGraph) add(link *rule) {
	user, role := link.fields()[0], link.fields()[1]
	g.roles[user] = append(g.roles[user], role)
	g.users[role]++
	g.links = append(g.links, link)
}

// check walks the links from the names that nobody inherits, each link once when all that lead to it have
// been walked; what cannot be walked so is on a circle or behind one.
func (g *chainGraph) check(ordersRules bool, r *report) {
	depth := map[string]int{}
	ways := map[string]int{} // how many lead to a name
	total, bound := 0, maxWays+64*len(g.links)
	queue := g.leaves()
	for _, name := range queue {
		ways[name] = 1
	}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		total = min(total+ways[name], bound)
		for _, role := range g.roles[name] {
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
		r.errorf(g.links[0].place(0), "the role links make %d paths or more, and Casbin walks each of them to order the rules by subject", bound)
	}
}

// maxWays bounds what Casbin spends on ordering rules by subject: it walks every path from a role to those
// who have it, of which a few dozen links can make billions.
const maxWays = 1 << 20

// leaves returns the names that nobody inherits.
func (g *chainGraph) leaves() []string {
	var leaves []string
	known := map[string]bool{}
	for _, link := range g.links {
		user := link.fields()[0]
		if g.users[user] == 0 && !known[user] {
			known[user] = true
			leaves = append(leaves, user)
		}
	}
	return leaves
}

func (g *chainGraph) reportLong(depth map[string]int, r *report) {
	for _, link := range g.links {
		user, role := link.fields()[0], link.fields()[1]
		if depth[user] == maxChain && depth[role] == maxChain+1 {
			r.warnf(link.place(0), "a chain of role links is longer than %d here; Casbin does not follow it to %q", maxChain, role)
			return
		}
	}
}

// reportCircle reports one circle, where there is any. Every name that was not walked is inherited by
// another such name, so that going from role to user among them must come round.
func (g *chainGraph) reportCircle(ordersRules bool, r *report) {
	to := map[string]*rule{} // a link to each role
	var link *rule
	for _, l := range slices.Backward(g.links) {
		user, role := l.fields()[0], l.fields()[1]
		if g.users[user] > 0 && g.users[role] > 0 {
			to[role], link = l, l
		}
	}
	if link == nil {
		return
	}
	for seen := map[*rule]bool{}; !seen[link]; link = to[link.fields()[0]] {
		seen[link] = true
	}
	if ordersRules {
		r.errorf(link.place(0), "the role links from %q lead back to it, and Casbin would never finish ordering the rules by subject", link.fields()[0])
		return
	}
	r.warnf(link.place(0), "the role links from %q lead back to it", link.fields()[0])
}

// depths is how far below roles that inherit nothing a name is.
type depths struct {
	root      string // one of those roles
	several   bool   // there are others
	low, high int
}

// reportDepths warns of a name below several roots in different depths. Casbin orders rules by the depth of
// their subject, and takes it from whichever of the roots it happens to come to last.
func (g *chainGraph) reportDepths(r *report) {
	users, open := map[string][]string{}, map[string]int{}
	for _, link := range g.links {
		user, role := link.fields()[0], link.fields()[1]
		users[role] = append(users[role], user)
		open[user]++
	}
	below := map[string]*depths{}
	var queue []string
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
	for _, link := range g.links {
		if d := below[link.fields()[0]]; d != nil && d.several && d.low != d.high {
			r.warnf(link.place(0), "%q is %d role links below one role and %d below another, and Casbin takes either depth to order its rules by", link.fields()[0], d.low, d.high)
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
