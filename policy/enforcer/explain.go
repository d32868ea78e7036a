package enforcer

import (
	"context"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/compiled"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/index"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/matcher"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
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
	q := &compiled.Query{Frame: compiled.Frame{Meter: index.Meter{Context: ctx}}}
	q.Ask(e.compiled, values, x.Roles, e.subject)
	explaining := &explaining{Enforcer: e, query: q, explanation: x, ways: matcher.Ways(e.compiled.Program.Matcher)}
	if e.byRule {
		for at := range e.compiled.InOrder() {
			if ctx.Err() != nil {
				return x
			}
			explaining.look(at)
		}
	}
	return x
}

type explaining struct {
	*Enforcer
	query       *compiled.Query
	explanation *Explanation
	ways        [][]*matcher.Node
}

// look takes note of one rule, if the matcher holds for it or misses by one condition.
func (x *explaining) look(at compiled.Rank) {
	x.query.Row = at.Layer.Row(at.Number)
	var missed *matcher.Node
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
func (x *explaining) failed(conditions []*matcher.Node) []*matcher.Node {
	var failed []*matcher.Node
	for _, condition := range conditions {
		if !x.query.Satisfied(condition) {
			if failed = append(failed, condition); len(failed) > 1 {
				break
			}
		}
	}
	return failed
}

func (x *explaining) match(at compiled.Rank, conditions []*matcher.Node) {
	x.explanation.Matching++
	if len(x.explanation.Matches) == maxExplained {
		return
	}
	m := Match{Rule: x.ruleOf(x.standing(at)), Deny: at.Denies()}
	for _, condition := range conditions {
		for _, path := range x.query.Paths(condition) {
			m.Paths = append(m.Paths, x.linked(&path))
		}
	}
	x.explanation.Matches = append(x.explanation.Matches, m)
}

func (x *explaining) miss(at compiled.Rank, condition *matcher.Node) {
	x.explanation.Missing++
	if len(x.explanation.Misses) == maxExplained {
		return
	}
	x.explanation.Misses = append(x.explanation.Misses, Miss{
		Rule: x.ruleOf(x.standing(at)), Deny: at.Denies(),
		Condition: condition.String(), Values: x.query.Written(condition),
	})
}

// standing returns the rule where it stands now.
func (e *Enforcer) standing(at compiled.Rank) *model.Rule {
	if at.Layer == e.compiled.Layers[0] {
		return e.rules.at(at.Rule())
	}
	return at.Rule()
}

// linked adds the rules that make the way.
func (x *explaining) linked(path *compiled.RolePath) RolePath {
	way := RolePath{Call: path.Call.String(), Names: path.Names}
	for i := range len(path.Names) - 1 {
		way.Links = append(way.Links, x.link(path.Call.Name, path.Names[i], path.Names[i+1], path.Domain))
	}
	return way
}

// link returns the rule that links a name to a role, or one without a text where the caller brings the role.
func (x *explaining) link(definition, name, role, domain string) policy.Rule {
	var found policy.Rule
	x.rules.all(func(r model.Rule) bool {
		if r.Type() != definition || r.Fields()[0] != name || r.Fields()[1] != role {
			return true
		}
		if x.query.Within.Program.Names.Roles[definition].Names > 2 && r.Fields()[2] != domain && !x.query.Within.Graphs[definition].TakesPatterns() {
			return true
		}
		found = x.ruleOf(&r)
		return false
	})
	return found
}
