package server

import (
	"context"
	"log/slog"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// Enforcers compiles the enforcers of the configuration, by name, as a Server would, for tests of their policies. Of the
// Config it needs Path and Now, and LookupEnv as a Server does. It reads the tables that the enforcers name, once, and
// waits no longer for them than ctx; and nothing else that the configuration names: a test needs no keys. If a finding is an
// error, there are no enforcers.
func Enforcers(ctx context.Context, cfg Config) (map[string]*enforcer.Enforcer, policy.Findings) {
	sources := newSources(ctx, cfg.Now, slog.New(slog.DiscardHandler))
	defer sources.close()
	c, findings := newCompiler(cfg.Path, inputs{files: newFiles(), tables: newTables(sources), env: cfg.LookupEnv})
	if c == nil {
		return nil, findings
	}
	enforcers := c.enforcers(c.document.Config().GetEnforcers())
	if c.findings.Err() != nil {
		return nil, c.findings
	}
	return enforcers, c.findings
}
