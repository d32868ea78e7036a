package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
)

// reloader builds Snapshots and puts them in force. It is the only writer of current: everything that can fail
// comes first, the swap last, and a load that fails changes nothing but the metrics.
type reloader struct {
	path    string
	store   *keys.Store
	sources *sources
	env     func(name string) (value string, ok bool)
	current *atomic.Pointer[Snapshot]
	metrics *metrics
	logger  *slog.Logger
	level   *slog.LevelVar
	now     func() time.Time

	refusals atomic.Uint64

	// Of the last attempt, accepted or not: what it read, and what that was.
	paths  []string
	digest string
	tables tableVersions
}

// load reads, compiles and puts in force. It returns nil when the new Snapshot is in force, else what is wrong. What
// has been read already is in files.
func (r *reloader) load(files *files) policy.Findings {
	tables, old := newTables(r.sources), r.current.Load()
	snapshot, findings := compile(r.path, inputs{files: files, tables: tables, store: r.store, env: r.env, before: old})
	r.paths, r.digest, r.tables = files.paths(), files.digest(), tables.version
	if snapshot != nil || old != nil { // else New's caller is told
		r.report(findings)
	}
	if snapshot == nil {
		if old != nil {
			r.store.Retain(old.providers, old.revoked) // what only the refused one named
			// Its tables stay: the change that makes it acceptable may come from one of them.
			r.sources.retain(old.tables, r.tables)
		}
		r.metrics.refused()
		r.refusals.Add(1)
		return findings
	}
	snapshot.generation, snapshot.loaded = 1, r.now()
	if old != nil {
		snapshot.generation = old.generation + 1
		r.reportFixed(old, snapshot)
	}
	r.level.Set(snapshot.log.level)
	r.current.Store(snapshot)
	r.store.Retain(snapshot.providers, snapshot.revoked)
	r.sources.retain(snapshot.tables)
	r.metrics.loaded(snapshot)
	r.logger.Info("configuration loaded", "generation", snapshot.generation, "digest", snapshot.digest, "files", len(r.paths))
	return nil
}

// reload loads if any file or table differs from what the last attempt read, or a table could not be read. Its caller need not look at the result:
// a refused load is logged and counted, and what was in force stays so.
func (r *reloader) reload() {
	files := readAll(r.paths)
	digest := files.digest()
	if current := r.current.Load(); current != nil && digest == current.digest && !r.sources.outdated(current.tables) {
		r.digest, r.tables = digest, current.tables
		r.sources.retain(current.tables) // a refused load in between may have opened others
		r.metrics.unchanged()
		return
	}
	if digest == r.digest && !r.sources.outdated(r.tables) {
		return
	}
	if findings := r.load(files.again()); findings != nil {
		r.logger.Error("configuration refused, the old one stays in force", "findings", len(findings))
	}
}

func (r *reloader) report(findings policy.Findings) {
	for _, finding := range findings {
		level := slog.LevelError
		if finding.Level == policy.LevelWarning {
			level = slog.LevelWarn
		}
		r.logger.Log(context.Background(), level, "configuration", "at", finding.Position.String(), "finding", finding.Message)
	}
}

// reportFixed warns of changes that only the next start takes.
func (r *reloader) reportFixed(old, next *Snapshot) {
	warn := func(setting string, before, after any) {
		if fmt.Sprint(before) != fmt.Sprint(after) {
			r.logger.Warn("a changed setting is taken at the next start", "setting", setting)
		}
	}
	warn("server.listen", old.settings.GetListen(), next.settings.GetListen())
	warn("server.admin", old.settings.GetAdmin(), next.settings.GetAdmin())
	warn("server.public", old.settings.GetPublic(), next.settings.GetPublic())
	warn("server.connection", old.settings.GetConnection(), next.settings.GetConnection())
	warn("server.reflection", old.settings.GetReflection(), next.settings.GetReflection())
	warn("server.max_body_bytes", old.settings.GetMaxBodyBytes(), next.settings.GetMaxBodyBytes())
	warn("server.credential_cache", old.settings.GetCredentialCache(), next.settings.GetCredentialCache())
	warn("key_sets", old.keySets, next.keySets)
	warn("server.tls", old.tls != nil, next.tls != nil)
}
