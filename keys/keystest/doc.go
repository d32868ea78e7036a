// Package keystest is a development OIDC issuer: it mints good tokens, forges bad ones, and publishes its
// keys, for tests and for `kasbah demo`.
//
// An [Issuer] is an http.Handler with a discovery document, a key set, a token endpoint and a rotation
// endpoint. [Issuer.Token] returns a good token; [Issuer.Forge] returns a bad one of a named kind, and
// [Forgeries] lists the kinds, so that a test can demand a verdict for each.
//
// It gives a token to whoever asks and keeps its keys in memory. It protects nothing and must never be
// trusted by anything that does.
package keystest
