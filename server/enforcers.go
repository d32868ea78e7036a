package server

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
	"github.com/kasbah-authz/kasbah/proto/config"
)

// Enforcers compiles the enforcers of the configuration, by name, as a Server would, for tests of their policies. Of the
// Config it needs Path and Now, and LookupEnv as a Server does. It reads the tables that the enforcers name, once, and
// waits no longer for them than ctx; and nothing else that the configuration names: a test needs no keys. If a finding is an
// error, there are no enforcers.
func Enforcers(ctx context.Context, cfg Config) (map[string]*enforcer.Enforcer, policy.Findings) {
	files := newFiles()
	data, err := files.read(cfg.Path)
	if err != nil {
		return nil, policy.Findings{{Position: policy.Position{File: cfg.Path}, Message: err.Error()}}
	}
	document, findings := config.Load(cfg.Path, data)
	if document == nil {
		return nil, findings
	}
	sources := newSources(cfg.Now, slog.New(slog.DiscardHandler))
	defer sources.close()
	defer context.AfterFunc(ctx, sources.end)()
	if ctx.Err() != nil {
		sources.end() // now, and not soon
	}
	c := &compiler{
		document: document, files: files.below(filepath.Dir(cfg.Path)), tables: newTables(sources), env: cfg.LookupEnv, findings: findings,
	}
	enforcers := c.enforcers(document.Config().GetEnforcers())
	if c.findings.Err() != nil {
		return nil, c.findings
	}
	return enforcers, c.findings
}
