package interpreted

import (
	"errors"
	"fmt"
	"sync"

	"github.com/casbin/casbin/v2"
	casbinmodel "github.com/casbin/casbin/v2/model"
	"github.com/casbin/casbin/v2/persist"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
)

// Evaluator asks Casbin. Its rules are loaded once and shared; what one evaluation changes is in a session,
// of which there are as many as there are evaluations at a time.
type Evaluator struct {
	loaded  casbinmodel.Model
	roles   map[string]*roleLinks   // by role definition
	index   map[*string]*model.Rule // by the first field of the rule's fields, as Casbin hands them back
	pool    sync.Pool               // of *session
	context casbin.EnforceContext
	request int // the number of fields of a request
}

// session is one Casbin enforcer over the shared rules, for one evaluation at a time.
type session struct {
	enforcer *casbin.Enforcer
	links    []*linkQuery
	own      *linkQuery // of the first role definition, where the caller's roles count; nil without one
	values   []any
}

// New loads the rules into Casbin. With tokenRoles the sessions know the caller's own roles.
func New(text string, rules []model.Rule, c model.Context, tokenRoles bool) (ev *Evaluator, err error) {
	defer model.Recovered(&err)
	parsed, err := casbinmodel.NewModelFromString(text)
	if err != nil {
		return nil, err
	}
	source := &ruleSource{rules: rules}
	enforcer, err := casbin.NewEnforcer(parsed, source)
	if err != nil {
		return nil, err
	}
	ev = &Evaluator{loaded: enforcer.GetModel(), index: make(map[*string]*model.Rule, len(rules))}
	ev.context = casbin.EnforceContext{RType: c.Request, PType: c.Policy, EType: c.Effect, MType: c.Matcher}
	ev.request = len(ev.loaded["r"][c.Request].Tokens)
	for i := range rules {
		ev.index[&rules[i].Row[1]] = &rules[i]
	}
	ev.roles, err = newRoleLinks(enforcer, parsed["g"], tokenRoles)
	if err != nil {
		return nil, err
	}
	s, err := ev.newSession()
	if err != nil {
		return nil, err
	}
	ev.pool.Put(s)
	return ev, nil
}

// take returns a session that is nobody else's until it is given back.
func (ev *Evaluator) take() (*session, error) {
	if s, ok := ev.pool.Get().(*session); ok {
		return s, nil
	}
	return ev.newSession()
}

// give takes a session back, without anything of the request that it was used for.
func (ev *Evaluator) give(s *session) {
	clear(s.values)
	for _, links := range s.links {
		links.forget()
	}
	ev.pool.Put(s)
}

// newSession returns an enforcer of its own over the same rules. Its role functions are ours, because Casbin
// remembers the answers of its own by name, without end and whoever asks.
func (ev *Evaluator) newSession() (s *session, err error) {
	defer model.Recovered(&err)
	own := casbinmodel.NewModel()
	for section, definitions := range ev.loaded {
		if section == "logger" {
			continue
		}
		own[section] = make(casbinmodel.AssertionMap, len(definitions))
		for key, d := range definitions {
			own[section][key] = &casbinmodel.Assertion{
				Key: d.Key, Value: d.Value, Tokens: d.Tokens, ParamsTokens: d.ParamsTokens,
				Policy: d.Policy, PolicyMap: d.PolicyMap, FieldIndexMap: map[string]int{},
			}
		}
	}
	s = &session{values: make([]any, ev.request)}
	s.enforcer, err = casbin.NewEnforcer(own)
	if err != nil {
		return nil, err
	}
	for key, d := range own["g"] {
		query := newLinkQuery(ev.roles[key])
		s.enforcer.AddFunction(key, query.call)
		d.RM, d.CondRM = nil, nil // either would give Casbin a function of its own
		s.links = append(s.links, query)
		if key == "g" {
			s.own = query
		}
	}
	return s, nil
}

// Decide asks Casbin about a request.
func (ev *Evaluator) Decide(values []any, roles []string, subject int) (allowed bool, decided *model.Rule, err error) {
	s, err := ev.take()
	if err != nil {
		return false, nil, err
	}
	defer ev.give(s)
	copy(s.values, values)
	if name, ok := values[subject].(string); ok && s.own != nil {
		s.own.bring(name, roles)
	}
	return ev.enforce(s)
}

// enforce asks Casbin about the session's values. The rule is the one that Casbin explains its verdict
// with, nil where it names none.
func (ev *Evaluator) enforce(s *session) (allowed bool, decided *model.Rule, err error) {
	defer model.Recovered(&err)
	allowed, explained, err := s.enforcer.EnforceEx(append([]any{ev.context}, s.values...)...)
	if err != nil {
		return false, nil, model.Brief(err)
	}
	if len(explained) > 0 {
		decided = ev.index[&explained[0]]
	}
	return allowed, decided, nil
}

// ruleSource gives Casbin the rules that were read. It is an adapter that only loads.
type ruleSource struct{ rules []model.Rule }

var errReadOnly = errors.New("the rules of a snapshot do not change")

func (s *ruleSource) LoadPolicy(m casbinmodel.Model) error {
	for i := range s.rules {
		if err := persist.LoadPolicyArray(s.rules[i].Row, m); err != nil {
			return fmt.Errorf("line %d: %w", s.rules[i].Line, err)
		}
	}
	return nil
}

func (*ruleSource) SavePolicy(casbinmodel.Model) error                        { return errReadOnly }
func (*ruleSource) AddPolicy(string, string, []string) error                  { return errReadOnly }
func (*ruleSource) RemovePolicy(string, string, []string) error               { return errReadOnly }
func (*ruleSource) RemoveFilteredPolicy(string, string, int, ...string) error { return errReadOnly }

// BySubject returns a function that orders rules as Casbin orders them under an effect by subject priority.
func BySubject(text string, links []model.Rule, policy string) func([]*model.Rule) ([]*model.Rule, error) {
	return func(rules []*model.Rule) (ordered []*model.Rule, err error) {
		defer model.Recovered(&err)
		m, err := casbinmodel.NewModelFromString(text)
		if err != nil {
			return nil, err
		}
		byFields := make(map[*string]*model.Rule, len(rules))
		for _, r := range rules {
			byFields[&r.Row[1]] = r
			m["p"][policy].Policy = append(m["p"][policy].Policy, r.Fields())
		}
		for i := range links {
			if links[i].Type() == "g" {
				m["g"]["g"].Policy = append(m["g"]["g"].Policy, links[i].Fields())
			}
		}
		if err := m.SortPoliciesBySubjectHierarchy(); err != nil {
			return nil, err
		}
		for _, fields := range m["p"][policy].Policy {
			ordered = append(ordered, byFields[&fields[0]])
		}
		return ordered, nil
	}
}
