package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
	"github.com/kasbah-authz/kasbah/policy/expression"
	"github.com/kasbah-authz/kasbah/proto/config"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
	"github.com/kasbah-authz/kasbah/proto/schema"
)

// inputs are what one load reads its configuration with.
type inputs struct {
	files  *files
	tables *tables // nil: none can be read
	store  *keys.Store
	env    func(name string) (value string, ok bool) // nil: there is none
	before *Snapshot                                 // in force; nil at a start
	caller policy.Stage                              // in place of the stages that authenticate; nil: they do
}

// compile builds a Snapshot of the configuration in that file, reading every file through files. On an error the
// Snapshot is nil and the findings say where; with a Snapshot they are warnings.
func compile(path string, in inputs) (*Snapshot, policy.Findings) {
	c, findings := newCompiler(path, in)
	if c == nil {
		return nil, findings
	}
	snapshot := c.snapshot()
	if c.findings.Err() != nil {
		return nil, c.findings
	}
	snapshot.digest, snapshot.tables = in.files.digest(), in.tables.version
	return snapshot, c.findings
}

// compileOnce builds a Snapshot that no Server serves: it reads the tables that the configuration names once, and waits no
// longer for them than ctx. With a caller nobody is authenticated.
func compileOnce(ctx context.Context, cfg Config, caller policy.Stage) (*Snapshot, policy.Findings) {
	logger := slog.New(slog.DiscardHandler)
	store, err := keys.NewStore(keys.Options{Now: cfg.Now, Logger: logger})
	if err != nil {
		return nil, policy.Findings{{Message: err.Error()}}
	}
	sources := newSources(ctx, cfg.Now, logger)
	defer sources.close()
	return compile(cfg.Path, inputs{files: newFiles(), tables: newTables(sources), store: store, env: cfg.LookupEnv, caller: caller})
}

// compiler carries what the parts of one compile share. Its methods add findings and go on, so that an
// operator sees all faults at once.
type compiler struct {
	inputs
	document *config.Document
	findings policy.Findings
	revoked  *keys.Revocations
	minter   *keys.Minter // nil: no tokens of our own are made
	schemas  map[string]*schema.Schema
	replay   *keys.Replay
}

// newCompiler loads the configuration in that file. Files that it names are below the file's folder.
func newCompiler(path string, in inputs) (*compiler, policy.Findings) {
	data, err := in.files.read(path)
	if err != nil {
		return nil, policy.Findings{{Position: policy.Position{File: path}, Message: err.Error()}}
	}
	document, findings := config.Load(path, data)
	if document == nil {
		return nil, findings
	}
	in.files = in.files.below(filepath.Dir(path))
	return &compiler{inputs: in, document: document, findings: findings}, nil
}

func (c *compiler) fault(prefix string, err error) {
	c.findings = append(c.findings, c.document.Finding(prefix, err))
}

func (c *compiler) snapshot() *Snapshot {
	cfg := c.document.Config()
	settings := cfg.GetServer()
	s := &Snapshot{
		maxBody:         int(settings.GetMaxBodyBytes()),
		decisionTimeout: settings.GetDecisionTimeout().AsDuration(),
		log:             newLogging(settings.GetLog()),
		settings:        settings,
		keySets:         cfg.GetKeySets(),
	}
	s.tls = c.tls(settings.GetTls())
	c.replay = c.replays(cfg.GetReplay())
	providers := c.providers(cfg.GetProviders())
	for _, p := range cfg.GetProviders() {
		if compiled := providers[p.GetName()]; compiled != nil {
			s.providers = append(s.providers, compiled)
		}
	}
	c.revoked = c.revocations(cfg.GetRevocations())
	c.minter = c.internalToken(cfg.GetInternalToken())
	s.minter = c.minter
	s.revoked, s.logout = c.revoked, c.logout(cfg.GetRevocations(), s.providers)
	enforcers := c.enforcers(cfg.GetEnforcers())
	s.enforcers = enforcers
	c.schemas = c.compileSchemas(cfg.GetSchemas())
	routes := make([]policy.Route, len(cfg.GetRoutes()))
	for i, r := range cfg.GetRoutes() {
		routes[i] = c.route(fmt.Sprintf("routes[%d]", i), r, providers, enforcers)
	}
	pipeline, err := policy.NewPipeline(routes)
	if err != nil {
		c.fault("", err)
	}
	s.pipeline = pipeline
	return s
}

func (c *compiler) providers(messages []*configv1.Provider) map[string]*keys.Provider {
	providers := make(map[string]*keys.Provider, len(messages))
	for i, message := range messages {
		provider, err := c.store.Provider(message, c.keyFiles())
		if err != nil {
			c.fault(fmt.Sprintf("providers[%d]", i), err)
			continue
		}
		providers[message.GetName()] = provider
	}
	return providers
}

// keyFiles are what providers may name.
func (c *compiler) keyFiles() keys.Files {
	return keys.Files{
		Read: c.files.read, Resolve: c.files.resolve, APIKeys: c.apiKeys, KeyTable: c.keyTable, Condition: expression.Condition, Claim: expression.Claim,
		Replay: c.replay,
		Secret: func(message *configv1.Secret) (string, error) {
			text, err := c.secret(message)
			return string(text), err
		},
	}
}

func (c *compiler) enforcers(messages []*configv1.Enforcer) map[string]*enforcer.Enforcer {
	enforcers := make(map[string]*enforcer.Enforcer, len(messages))
	for i, message := range messages {
		prefix := fmt.Sprintf("enforcers[%d]", i)
		context := message.GetContext()
		cfg := enforcer.Config{
			Name: message.GetName(), AllowIfEmpty: message.GetAllowIfEmpty(),
			Context: enforcer.Context{Request: context.GetRequest(), Policy: context.GetPolicy(), Effect: context.GetEffect(), Matcher: context.GetMatcher()},
		}
		before := len(c.findings)
		cfg.Model = c.text(prefix+".model", message.GetModel())
		c.policy(prefix+".policy", message.GetPolicy(), &cfg)
		if c.findings[before:].Err() != nil {
			continue // what is not there cannot be read
		}
		cfg.Fields = c.fields(prefix+".request", message.GetRequest())
		if source := message.GetRoles(); source != "" {
			if roles := c.expression(prefix+".roles", source); roles != nil {
				cfg.Roles = roles.Strings
			}
		}
		if c.before != nil {
			cfg.Previous = c.before.enforcers[message.GetName()]
		}
		built, findings := enforcer.New(cfg)
		for _, finding := range findings {
			if finding.File == "" { // of the configuration itself
				finding.Position = c.document.Position(prefix)
			}
		}
		c.findings = append(c.findings, findings...)
		if built != nil {
			c.checkShrink(prefix, message, built.Rules())
			enforcers[message.GetName()] = built
		}
	}
	return enforcers
}

func (c *compiler) fields(prefix string, sources map[string]string) map[string]enforcer.Field {
	fields := make(map[string]enforcer.Field, len(sources))
	for name, source := range sources {
		if compiled := c.expression(fmt.Sprintf("%s[%q]", prefix, name), source); compiled != nil {
			fields[name] = compiled.Value
		}
	}
	return fields
}

// textSource is where a text is: a file, or the configuration itself.
type textSource interface {
	GetFile() string
	GetInline() string
}

// text reads the text of a model or a policy. What stands inline is named by the configuration's own file.
func (c *compiler) text(prefix string, source textSource) enforcer.Text {
	file := source.GetFile()
	if file == "" {
		return enforcer.Text{File: c.document.Position(prefix+".inline").String() + " (inline)", Data: []byte(source.GetInline())}
	}
	data, err := c.files.read(file)
	if err != nil {
		c.fault(prefix+".file", err)
	}
	return enforcer.Text{File: c.files.resolve(file), Data: data}
}

func (c *compiler) expression(field, source string) *expression.Expression {
	compiled, err := expression.Compile(source)
	if err != nil {
		c.syntax(field, err)
		return nil
	}
	return compiled
}

// syntax reports what is wrong with an expression.
func (c *compiler) syntax(field string, err error) {
	finding := c.document.Finding(field, err)
	var fault *expression.SyntaxError
	if errors.As(err, &fault) && fault.Line == 1 { // the rest of the line that the expression begins on
		finding.Column += fault.Column - 1
		finding.Message = fault.Message
	}
	c.findings = append(c.findings, finding)
}

func (c *compiler) route(prefix string, message *configv1.Route, providers map[string]*keys.Provider, enforcers map[string]*enforcer.Enforcer) policy.Route {
	route := policy.Route{
		Name:     message.GetName(),
		Headers:  c.injections(prefix+".headers", message.GetHeaders()),
		Response: c.injections(prefix+".response_headers", message.GetResponseHeaders()),
		Query:    c.injections(prefix+".query", message.GetQuery()),
	}
	if message.GetInternalToken() {
		route.Headers = append(route.Headers, c.tokenFor(message.GetInternalTokenAudiences()))
	}
	for _, m := range message.GetMatch() {
		route.Matches = append(route.Matches, policy.Match{Host: m.GetHost(), Path: m.GetPath(), Methods: m.GetMethods()})
	}
	if message.GetPublic() {
		route.Stages = append(c.validates(prefix, message), permitEveryone{})
		return route
	}
	if c.caller != nil {
		route.Stages = append(route.Stages, c.caller)
	} else {
		route.Stages = append(route.Stages, keys.NewAuthenticator(trusted(message.GetAuthenticate(), providers), keys.Demand{
			Also: trusted(message.GetAuthenticateAlso(), providers), Anonymous: message.GetAnonymous(), Revoked: c.revoked,
		}))
	}
	if demanded := message.GetStepUp(); demanded != nil {
		route.Stages = append(route.Stages, c.store.StepUp(demanded))
	}
	route.Stages = append(route.Stages, c.validates(prefix, message)...)
	if message.GetAnyPrincipal() {
		route.Stages = append(route.Stages, permitPrincipals{})
	} else if e := enforcers[message.GetAuthorize()]; e != nil {
		route.Stages = append(route.Stages, e)
	}
	return route
}

// trusted returns the providers of those names; the configuration is refused where one is missing.
func trusted(names []string, providers map[string]*keys.Provider) []*keys.Provider {
	var list []*keys.Provider
	for _, name := range names {
		if provider := providers[name]; provider != nil {
			list = append(list, provider)
		}
	}
	return list
}

func (c *compiler) injections(prefix string, sources map[string]string) []policy.Injection {
	var injections []policy.Injection
	for _, name := range sortedKeys(sources) {
		if compiled := c.expression(fmt.Sprintf("%s[%q]", prefix, name), sources[name]); compiled != nil {
			injections = append(injections, policy.Injection{Name: strings.ToLower(name), Value: compiled.Text})
		}
	}
	return injections
}
