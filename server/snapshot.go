package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// A Snapshot is all that a decision needs. It is immutable; a reload builds another one beside it.
type Snapshot struct {
	generation uint64
	digest     string // SHA-256 over every file that it was built from
	tables     tableVersions
	loaded     time.Time

	pipeline  *policy.Pipeline
	providers []*keys.Provider
	revoked   *keys.Revocations
	logout    http.Handler // nil: no issuer is heard
	enforcers map[string]*enforcer.Enforcer
	tls       *tls.Config  // nil: plain text
	minter    *keys.Minter // nil: no tokens of our own are made

	maxBody         int
	decisionTimeout time.Duration
	log             logging
	settings        *configv1.Server // for what is taken at the start only; never read under a check
	keySets         *configv1.KeySets
}

// rules returns how many rules an enforcer has, 0 for one that there is not.
func (s *Snapshot) rules(name string) int {
	if e := s.enforcers[name]; e != nil {
		return e.Rules()
	}
	return 0
}

// logging is what one snapshot says of the log.
type logging struct {
	level     slog.Level
	text      bool
	decisions configv1.LogDecisions
}

func newLogging(message *configv1.Log) logging {
	l := logging{
		text:      message.GetFormat() == configv1.LogFormat_LOG_FORMAT_TEXT,
		decisions: message.GetDecisions(),
	}
	switch message.GetLevel() {
	case configv1.LogLevel_LOG_LEVEL_DEBUG:
		l.level = slog.LevelDebug
	case configv1.LogLevel_LOG_LEVEL_WARN:
		l.level = slog.LevelWarn
	case configv1.LogLevel_LOG_LEVEL_ERROR:
		l.level = slog.LevelError
	case configv1.LogLevel_LOG_LEVEL_UNSPECIFIED, configv1.LogLevel_LOG_LEVEL_INFO:
		l.level = slog.LevelInfo
	}
	return l
}

// permitEveryone is the stage of a public route.
type permitEveryone struct{}

func (permitEveryone) Name() string { return "public" }

func (permitEveryone) Evaluate(context.Context, *policy.Request, *policy.Principal) (policy.Outcome, error) {
	return policy.Outcome{Verdict: policy.Permitted}, nil
}

// permitPrincipals is the stage of a route that any authenticated caller may pass.
type permitPrincipals struct{}

func (permitPrincipals) Name() string { return "authorize" }

func (permitPrincipals) Evaluate(_ context.Context, _ *policy.Request, principal *policy.Principal) (policy.Outcome, error) {
	if principal.Anonymous() {
		return policy.Outcome{Reason: policy.MissingCredential}, nil
	}
	return policy.Outcome{Verdict: policy.Permitted}, nil
}
