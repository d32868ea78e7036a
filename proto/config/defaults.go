package config

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// fillDefaults gives every absent field the default that its comment in config.proto documents. Three stay absent, because
// absence itself means something that no value says: the types of a token, among which is none, an enforcer's
// request, whose default depends on its model, and the content types of a body, whose default depends on its schema.
func fillDefaults(c *configv1.Config) {
	if c.Server == nil {
		c.Server = &configv1.Server{}
	}
	fillServer(c.Server)
	if c.Replay == nil {
		c.Replay = &configv1.Replay{}
	}
	fillReplay(c.Replay)
	if token := c.GetInternalToken(); token != nil {
		orDuration(&token.Lifetime, time.Minute)
		orValue(&token.Header, "x-internal-token")
	}
	for _, provider := range c.Providers {
		if jwt := provider.GetJwt(); jwt != nil {
			fillJWT(jwt)
		}
		if introspection := provider.GetIntrospection(); introspection != nil {
			fillIntrospection(introspection)
		}
		if enrich := provider.GetEnrich(); enrich != nil {
			orDuration(&enrich.MaxAge, time.Minute)
			orDuration(&enrich.Timeout, 2*time.Second)
			orValue(&enrich.OnFailure, configv1.EnrichmentFailure_ENRICHMENT_FAILURE_REFUSE)
		}
		if signature := provider.GetHttpSignature(); signature != nil {
			orDuration(&signature.MaxAge, time.Minute)
			orDuration(&signature.Leeway, 30*time.Second)
		}
		if forwarded := provider.GetClientCertificate().GetForwarded(); forwarded != nil {
			orValue(&forwarded.Element, 1)
		}
		if key := provider.GetApiKey(); key != nil && len(provider.GetFrom()) == 0 {
			orValue(&key.Header, "x-api-key")
		}
		if store := provider.GetApiKey().GetStore(); store != nil {
			fillAPIKeyStore(store)
		}
	}
	if c.KeySets == nil {
		c.KeySets = &configv1.KeySets{}
	}
	fillKeySets(c.KeySets)
	if revocations := c.GetRevocations(); revocations != nil {
		fillRevocations(revocations)
	}
	for _, enforcer := range c.Enforcers {
		if enforcer.Context == nil {
			enforcer.Context = &configv1.Context{}
		}
		orValue(&enforcer.Context.Request, "r")
		orValue(&enforcer.Context.Policy, "p")
		orValue(&enforcer.Context.Effect, "e")
		orValue(&enforcer.Context.Matcher, "m")
		if postgres := enforcer.GetPolicy().GetPostgres(); postgres != nil {
			orValue(&postgres.Table, "casbin_rule")
			orDuration(&postgres.Poll, 30*time.Second)
		}
		if sqlite := enforcer.GetPolicy().GetSqlite(); sqlite != nil {
			orValue(&sqlite.Table, "casbin_rule")
			orDuration(&sqlite.Poll, time.Second)
		}
	}
	modes := make(map[string]configv1.ValidationMode, len(c.Schemas))
	for _, schema := range c.Schemas {
		orValue(&schema.Mode, configv1.ValidationMode_VALIDATION_MODE_ENFORCE)
		modes[schema.Name] = schema.Mode
		if protobuf := schema.GetProtobuf(); protobuf != nil {
			orValue(&protobuf.UnknownFields, configv1.UnknownFields_UNKNOWN_FIELDS_REFUSE)
			orValue(&protobuf.MaxValues, 10_000)
			orValue(&protobuf.MaxDepth, 32)
		}
	}
	for _, route := range c.Routes {
		if route.Validate != "" && route.Body == nil {
			route.Body = &configv1.Body{Mode: modes[route.Validate]}
		}
		for _, rule := range route.Rules {
			orValue(&rule.Mode, configv1.ValidationMode_VALIDATION_MODE_ENFORCE)
		}
		if route.Body != nil {
			fillBody(route.Body, c.Server.MaxBodyBytes)
		}
	}
}

// fillBody fills in what a body must be. Which content types it may be of depends on the route's schema, where it has one.
func fillBody(body *configv1.Body, longest uint32) {
	orValue(&body.MaxBytes, longest)
	orValue(&body.Mode, configv1.ValidationMode_VALIDATION_MODE_ENFORCE)
	if body.Json == nil {
		body.Json = &configv1.JsonLimits{}
	}
	orValue(&body.Json.MaxDepth, 32)
	orValue(&body.Json.MaxMembers, 1000)
	orValue(&body.Json.MaxElements, 10_000)
	orValue(&body.Json.MaxValues, 20_000)
	orValue(&body.Json.MaxStringBytes, 65_536)
	orValue(&body.Json.MaxNameBytes, 256)
	orValue(&body.Json.MaxNumberBytes, 32)
}

func fillServer(s *configv1.Server) {
	orValue(&s.Listen, "127.0.0.1:9191")
	orValue(&s.Admin, "127.0.0.1:9192")
	orDuration(&s.Drain, 5*time.Second)
	orDuration(&s.ShutdownTimeout, 10*time.Second)
	if s.Connection == nil {
		s.Connection = &configv1.Connection{}
	}
	orDuration(&s.Connection.MaxAge, 5*time.Minute)
	orDuration(&s.Connection.MaxAgeGrace, 30*time.Second)
	orValue(&s.Connection.MaxConcurrentStreams, 1024)
	orValue(&s.MaxBodyBytes, 1<<20)
	orDuration(&s.DecisionTimeout, time.Second)
	if s.Log == nil {
		s.Log = &configv1.Log{}
	}
	orValue(&s.Log.Level, configv1.LogLevel_LOG_LEVEL_INFO)
	orValue(&s.Log.Format, configv1.LogFormat_LOG_FORMAT_JSON)
	orValue(&s.Log.Decisions, configv1.LogDecisions_LOG_DECISIONS_DENIED)
	if s.CredentialCache == nil {
		s.CredentialCache = &configv1.CredentialCache{}
	}
	orValue(&s.CredentialCache.MaxEntries, 100_000)
	orValue(&s.CredentialCache.MaxBytes, 256<<20)
	orDuration(&s.CredentialCache.MaxAge, 5*time.Minute)
}

func fillKeySets(k *configv1.KeySets) {
	orDuration(&k.MaxAge, 24*time.Hour)
	orDuration(&k.MinRefresh, 30*time.Second)
	orDuration(&k.MaxRefresh, time.Hour)
}

func fillJWT(jwt *configv1.Jwt) {
	orDuration(&jwt.Leeway, 30*time.Second)
	orDuration(&jwt.MaxLifetime, 24*time.Hour)
	fillPrincipal(&jwt.Principal)
	fillProof(jwt.GetProof())
}

func fillIntrospection(i *configv1.Introspection) {
	orValue(&i.Authentication, configv1.ClientAuthentication_CLIENT_AUTHENTICATION_BASIC)
	orDuration(&i.MaxAge, time.Minute)
	orDuration(&i.InactiveMaxAge, 5*time.Second)
	orDuration(&i.Timeout, 2*time.Second)
	orDuration(&i.Leeway, 30*time.Second)
	fillPrincipal(&i.Principal)
	fillProof(i.GetProof())
}

func fillProof(proof *configv1.Proof) {
	if dpop := proof.GetDpop(); dpop != nil {
		orDuration(&dpop.MaxAge, time.Minute)
		if dpop.Nonce != nil {
			orDuration(&dpop.Nonce.MaxAge, 5*time.Minute)
		}
	}
}

func fillReplay(replay *configv1.Replay) {
	orValue(&replay.MaxEntries, 1_000_000)
	if redis := replay.GetRedis(); redis != nil {
		orValue(&redis.Prefix, "kasbah:")
		orValue(&replay.OnFailure, configv1.ReplayFailure_REPLAY_FAILURE_REFUSE)
		orDuration(&replay.Timeout, 250*time.Millisecond)
	}
}

func fillPrincipal(claims **configv1.PrincipalClaims) {
	if *claims == nil {
		*claims = &configv1.PrincipalClaims{}
	}
	orValue(&(*claims).Id, "sub")
	orValue(&(*claims).Roles, "roles")
	orValue(&(*claims).Scopes, "scope")
}

func fillAPIKeyStore(store *configv1.ApiKeyStore) {
	if store.GetFile() == "" {
		orDuration(&store.MaxAge, 5*time.Minute)
	}
	if postgres := store.GetPostgres(); postgres != nil {
		orValue(&postgres.Table, "kasbah_api_keys")
		orDuration(&postgres.Poll, 250*time.Millisecond)
	}
	if sqlite := store.GetSqlite(); sqlite != nil {
		orValue(&sqlite.Table, "kasbah_api_keys")
		orDuration(&sqlite.Poll, 250*time.Millisecond)
	}
}

func fillRevocations(store *configv1.RevocationStore) {
	orDuration(&store.Poll, 250*time.Millisecond)
	orValue(&store.OnFailure, configv1.RevocationFailure_REVOCATION_FAILURE_REFUSE)
	if store.GetOnFailure() == configv1.RevocationFailure_REVOCATION_FAILURE_REFUSE {
		orDuration(&store.MaxAge, 5*time.Minute)
	}
	if redis := store.GetRedis(); redis != nil {
		orValue(&redis.Prefix, "kasbah:")
	}
	if postgres := store.GetPostgres(); postgres != nil {
		orValue(&postgres.Table, "kasbah_revoked")
	}
}

// orValue sets an absent field. Load refuses a zero that is written out, so that the zero is always absence.
func orValue[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// orDuration sets an absent field; an explicit 0s stays.
func orDuration(field **durationpb.Duration, value time.Duration) {
	if *field == nil {
		*field = durationpb.New(value)
	}
}
