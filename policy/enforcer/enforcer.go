package enforcer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/compiled"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/index"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/interpreted"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
)

// maxRoles bounds the roles that one caller brings along.
const maxRoles = 1000

// Field computes one field of the request definition. It returns what a matcher can compare: a string, a
// bool, a number, nil, a []any or a map[string]any of these. An error denies.
type Field func(req *policy.Request, principal *policy.Principal) (any, error)

// Roles returns the roles that the caller brings along, at most 1000. An error denies.
type Roles func(req *policy.Request, principal *policy.Principal) ([]string, error)

// Text is the text of a model or a policy. File names it in findings and in the rule of an outcome.
type Text struct {
	File string
	Data []byte
}

// Table is a policy that stands in a table.
type Table struct {
	// Name names the table in findings and in the rule of an outcome, as a file's name does.
	Name string
	// Rows are in the order in which Casbin's adapters load them: by ID.
	Rows []Row
}

// Row is one row of a table of rules, as Casbin's adapters for databases write them.
type Row = model.Row

// Context says which definitions of a model decide, for a model that has several of a kind.
type Context = model.Context

// Config is what an [Enforcer] is built of.
type Config struct {
	// Name is the enforcer's own, for messages.
	Name string
	// Model and Policy are an ordinary Casbin model and policy.
	Model, Policy Text
	// Context says which definitions decide, where the model has several of a kind.
	Context Context
	// Table is the policy in place of Policy, where it is not nil.
	Table *Table
	// Fields compute the request, by field name of the request definition. For sub, obj and act the
	// defaults are the principal's ID, the request's path and its method.
	Fields map[string]Field
	// Roles count as role links of the request's subject, in the first role definition, g: g(r.sub, "admin")
	// holds for a caller who brings the role admin, or a role that has admin by the policy's links, in
	// whatever domain is asked about. The subject is the field sub, else the first. They count where g is asked
	// about the subject itself, and not where it is asked about a name that has the subject for a role. Nil: none.
	Roles Roles
	// Previous, where it is not nil, is an enforcer of an earlier policy. If the policy differs from that one's in
	// a few rules only, New takes time in proportion to these. The texts and rows of both must not be changed.
	Previous *Enforcer
	// AllowIfEmpty accepts a policy without rules under a model that then allows.
	AllowIfEmpty bool
}

// Enforcer decides by one Casbin model and policy. It is the stage "authorize", immutable, and safe for use
// by many goroutines at once.
type Enforcer struct {
	name       string
	fields     []requestField
	subject    int // the index of the subject's field
	roles      Roles
	rules      *ruleSet
	asked      int         // the rules that the matcher is asked about
	byRule     bool        // the matcher is asked about each rule
	matcher    policy.Rule // what decides where it does not
	policyFile string
	linear     string // the part of the matcher for which each rule is looked at

	// What a later enforcer must have in common with this one to be made by changing it.
	model        string
	context      Context
	allowIfEmpty bool
	incremental  bool
	origin       origin

	compiled  *compiled.Policy // nil where Casbin evaluates
	queries   *sync.Pool
	evaluator *interpreted.Evaluator
}

type requestField struct {
	name  string
	value Field
}

var defaultFields = map[string]Field{
	"sub": func(_ *policy.Request, principal *policy.Principal) (any, error) { return principal.ID, nil },
	"obj": func(req *policy.Request, _ *policy.Principal) (any, error) { return req.Path, nil },
	"act": func(req *policy.Request, _ *policy.Principal) (any, error) { return req.Method, nil },
}

// New returns the Enforcer of that model and policy, and what reading them brought up, in the order of the
// text. If a finding is an error, the Enforcer is nil.
func New(cfg Config) (*Enforcer, policy.Findings) {
	if cfg.Table != nil {
		cfg.Policy.File = cfg.Table.Name
	}
	onModel, onPolicy := &model.Report{File: cfg.Model.File}, &model.Report{File: cfg.Policy.File}
	e := build(cfg, onModel, onPolicy)
	findings := append(ordered(onModel), ordered(onPolicy)...)
	if findings.Err() != nil {
		return nil, findings
	}
	return e, findings
}

func readPolicy(cfg Config, r *model.Report) []model.Rule {
	if cfg.Table != nil {
		return model.ReadRows(cfg.Table.Rows, r)
	}
	return model.ReadRules(cfg.Policy.Data, r)
}

func ordered(r *model.Report) policy.Findings {
	r.Findings.Sort()
	return r.Findings
}

func build(cfg Config, onModel, onPolicy *model.Report) *Enforcer {
	m := model.Read(cfg.Model.Data, cfg.Context, onModel)
	if m == nil {
		readPolicy(cfg, onPolicy) // for what is wrong with it too
		return nil
	}
	model.CheckLiterals(m, onModel)
	if !cfg.AllowIfEmpty {
		model.CheckDeniable(m, onModel)
	}
	matcher := m.ByKey[m.Context.Matcher]
	e := &Enforcer{
		name: cfg.Name, roles: cfg.Roles, byRule: model.AsksRules(matcher.Value, m.Context.Policy), policyFile: cfg.Policy.File,
		model: string(cfg.Model.Data), context: m.Context, allowIfEmpty: cfg.AllowIfEmpty,
	}
	e.matcher = policy.Rule{Text: matcher.Key + " = " + matcher.Value, Position: onModel.Position(matcher.At)}
	e.readFields(cfg, m, onModel)
	if err := model.CompareReading(string(cfg.Model.Data), m); err != nil {
		onModel.Errorf(model.Place{Line: 1, Column: 1}, "%v", err)
	}
	if !onModel.Failed() && e.change(cfg, m, onPolicy) {
		return e
	}
	read := readPolicy(cfg, onPolicy)
	rules := model.CheckRules(read, m, onPolicy)
	if onModel.Failed() || onPolicy.Failed() {
		return nil
	}
	if err := e.compile(cfg, m, rules, onModel); err != nil {
		onPolicy.Errorf(model.Place{}, "loading the rules: %v", err)
		return nil
	}
	e.origin = newOrigin(cfg)
	units := len(e.origin.rows)
	if cfg.Table == nil {
		units = countLines(e.origin.text)
	}
	e.rules = newRuleSet(rules, units, cfg.Table != nil)
	if e.compiled != nil && cfg.Table == nil {
		forget(rules)
		forget(e.compiled.Layers[0].Rules)
	}
	e.incremental = e.isIncremental(m, len(read))
	if e.asked == 0 {
		model.CheckEmpty(m, cfg.AllowIfEmpty, e.allowsAnyone, onPolicy)
	}
	return e
}

// forget drops the fields of rules whose text has them too: four million strings of a million rules, which take room
// and the garbage collector's time.
func forget(rules []model.Rule) {
	for i := range rules {
		rules[i].Row = nil
	}
}

// compile makes the rules ready to be asked: indexed where the matcher can be compiled, else in Casbin.
func (e *Enforcer) compile(cfg Config, m *model.Model, rules []model.Rule, onModel *model.Report) error {
	for i := range rules {
		if rules[i].Type() == m.Context.Policy {
			e.asked++
		}
	}
	program, err := compiled.NewProgram(m)
	if err != nil {
		e.linear = err.Error()
		onModel.Warnf(m.ByKey[m.Context.Matcher].Place(0), "Casbin evaluates this matcher, rule by rule: %v", err)
		e.evaluator, err = interpreted.New(string(cfg.Model.Data), rules, m.Context, cfg.Roles != nil)
		return err
	}
	order := compiled.ByPriority(program.PriorityColumn)
	if m.SortsBySubject() {
		order = compiled.InTurn(interpreted.BySubject(string(cfg.Model.Data), rules, m.Context.Policy), order)
	}
	ownRoles := ""
	if _, ok := m.Roles["g"]; ok && cfg.Roles != nil {
		ownRoles = "g"
	}
	e.compiled, err = compiled.New(program, rules, ownRoles, order)
	if err != nil {
		return err
	}
	e.queries = &sync.Pool{New: func() any { return &compiled.Query{} }}
	e.linear = e.compiled.Linear
	if e.linear != "" {
		onModel.Warnf(m.ByKey[m.Context.Matcher].Place(0), "every rule is looked at, because of %s", e.linear)
	}
	return nil
}

// readFields binds each field of the request definition to what computes it.
func (e *Enforcer) readFields(cfg Config, m *model.Model, r *model.Report) {
	definition := m.Requests[m.Context.Request]
	for _, f := range definition {
		value := cfg.Fields[f.Name]
		if value == nil {
			value = defaultFields[f.Name]
		}
		if value == nil {
			r.Errorf(f.At, "enforcer %q does not say what the request's field %s is", cfg.Name, f.Name)
		}
		e.fields = append(e.fields, requestField{f.Name, value})
	}
	for name := range cfg.Fields {
		if model.FieldIndex(definition, name) < 0 {
			r.Errorf(m.ByKey[m.Context.Request].At, "enforcer %q says what the field %q is, which the request definition does not have", cfg.Name, name)
		}
	}
	e.subject = max(model.FieldIndex(definition, "sub"), 0)
	if _, ok := m.Roles["g"]; !ok && cfg.Roles != nil {
		r.Warnf(m.ByKey[m.Context.Request].At, "the caller's roles have no effect, because the model has no role definition")
	}
}

// allowsAnyone reports whether requests are allowed that no rule can be meant for.
func (e *Enforcer) allowsAnyone() bool {
	return slices.ContainsFunc([]string{"", "nobody"}, func(text string) bool {
		values := make([]any, len(e.fields))
		for i := range values {
			values[i] = text
		}
		values[e.subject] = "nobody"
		allowed, _, _, err := e.decide(context.Background(), values, nil, false)
		return err == nil && allowed
	})
}

// Name returns "authorize".
func (e *Enforcer) Name() string { return "authorize" }

// Rules returns how many rules are in force: lines of the policy, role links among them, each counted once.
func (e *Enforcer) Rules() int { return e.rules.count }

// Linear returns the part of the matcher for which every rule is looked at, so that a decision takes longer the
// more rules there are. It is empty where the rules are indexed.
func (e *Enforcer) Linear() string { return e.linear }

// All yields the rules in force, in the order of the policy.
func (e *Enforcer) All() iter.Seq[policy.Rule] {
	return func(yield func(policy.Rule) bool) {
		e.rules.all(func(r model.Rule) bool { return yield(e.ruleOf(&r)) })
	}
}

func (e *Enforcer) ruleOf(r *model.Rule) policy.Rule {
	return policy.Rule{Text: r.Text, Position: policy.Position{File: e.policyFile, Line: r.Line, Column: r.Column}}
}

// Evaluate permits the request or denies it, with the rule that decided. Where the model or a field cannot
// be evaluated it returns a [*policy.StageError] with [policy.PolicyError]; for a request that may not wait,
// [policy.ErrWouldWait] if there are more than 10,000 rules to ask.
func (e *Enforcer) Evaluate(ctx context.Context, req *policy.Request, principal *policy.Principal) (policy.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return policy.Outcome{}, &policy.StageError{Reason: policy.Deadline, Err: err}
	}
	values, err := e.values(req, principal)
	if err != nil {
		return policy.Outcome{}, e.fault(err)
	}
	roles, err := e.callersRoles(req, principal, values[e.subject])
	if err != nil {
		return policy.Outcome{}, e.fault(err)
	}
	allowed, decided, detail, err := e.decide(ctx, values, roles, req.NoWait)
	switch {
	case errors.Is(err, policy.ErrWouldWait):
		return policy.Outcome{}, policy.ErrWouldWait
	case err != nil && ctx.Err() != nil:
		return policy.Outcome{}, &policy.StageError{Reason: policy.Deadline, Err: err}
	case err != nil:
		return policy.Outcome{}, e.fault(err)
	}
	return e.outcome(allowed, decided, detail), nil
}

// decide gives the verdict on a request, and the rule that it comes from, or else why no rule allows.
func (e *Enforcer) decide(ctx context.Context, values []any, roles []string, noWait bool) (allowed bool, decided *model.Rule, detail string, err error) {
	if e.compiled == nil {
		if noWait && e.asked > index.MaxUnwaited {
			return false, nil, "", policy.ErrWouldWait
		}
		allowed, decided, err = e.evaluator.Decide(values, roles, e.subject)
		return allowed, decided, "", err
	}
	q := e.queries.Get().(*compiled.Query) //nolint:forcetypeassert // the pool holds nothing else
	defer e.queries.Put(q)
	defer q.Forget()
	q.Ask(e.compiled, values, roles, e.subject)
	q.Meter = index.Meter{Context: ctx, NoWait: noWait}
	v, err := q.Decide()
	if v.By.Layer == nil {
		return v.Allowed, nil, q.Unmet, err
	}
	return v.Allowed, e.standing(v.By), "", err
}

func (e *Enforcer) fault(err error) error {
	return &policy.StageError{Reason: policy.PolicyError, Err: fmt.Errorf("enforcer %q: %w", e.name, err)}
}

func (e *Enforcer) outcome(allowed bool, decided *model.Rule, detail string) policy.Outcome {
	var by policy.Rule
	switch {
	case allowed && !e.byRule:
		by = e.matcher // Casbin then names the first rule, whatever it says
	case decided != nil:
		by = e.ruleOf(decided)
	}
	switch {
	case allowed:
		return policy.Outcome{Verdict: policy.Permitted, Rule: by}
	case decided != nil:
		return policy.Outcome{Verdict: policy.Denied, Reason: policy.DeniedByPolicy, Rule: by}
	}
	return policy.Outcome{Verdict: policy.Denied, Reason: policy.NoMatchingPolicy, Detail: detail}
}

// values computes the fields of the request.
func (e *Enforcer) values(req *policy.Request, principal *policy.Principal) ([]any, error) {
	values := make([]any, len(e.fields))
	for i, field := range e.fields {
		value, err := field.value(req, principal)
		if err == nil {
			value, err = checkValue(field.name, value)
		}
		if err != nil {
			return nil, fmt.Errorf("evaluating the request's field %s: %w", field.name, err)
		}
		values[i] = value
	}
	return values, nil
}

// callersRoles computes the roles that the caller brings along.
func (e *Enforcer) callersRoles(req *policy.Request, principal *policy.Principal, subject any) ([]string, error) {
	if _, named := subject.(string); e.roles == nil || !named {
		return nil, nil // g takes names only
	}
	roles, err := e.roles(req, principal)
	if err != nil {
		return nil, fmt.Errorf("evaluating the caller's roles: %w", err)
	}
	if len(roles) > maxRoles {
		return nil, fmt.Errorf("evaluating the caller's roles: %d of them, and at most %d are taken", len(roles), maxRoles)
	}
	return roles, nil
}
