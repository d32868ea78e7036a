// Package keys says who is calling: it turns a request's credential into a [policy.Principal].
//
// Most callers need three things. A [Store] holds what outlives a reload: the issuers' key sets, which its
// Run fetches and refreshes, and the cache of verified credentials. [Store.Provider] compiles one configured
// provider into a [Provider]. [NewAuthenticator] joins a route's providers into the [policy.Stage] that
// accepts a credential which any one of them vouches for.
//
// A JSON Web Token is looked at in this order, and the first fault decides:
//
//  1. One strict look at its text (token.go, json.go), before any library sees it: three parts of
//     canonical base64url, a header and a claims object with one reading each.
//  2. The provider is chosen by `iss`, compared whole.
//  3. The algorithm is one that the provider's configuration lists, the type likewise.
//  4. The key is found by `kid` in that provider's key set alone (set.go), and fits the algorithm.
//  5. The signature, by golang-jwt (key.go).
//  6. The claims: times, subject, audience, and those that make the principal (claims.go).
//
// An opaque token is what its server says of it (introspection.go), which is held to the rules of claims.go too.
//
// Where a provider says so, a server is asked what it knows of the caller of a good token (enrichment.go, enrich.go). What it says adds to the
// claims, and takes the place of none.
//
// A token that is bound to a key or a certificate is then held to its caller, at each request (possession.go, confirmation.go): by a
// proof (proof.go) that nobody has used before (replay.go), or by the certificate of Envoy's connection.
//
// An API key is looked at by its form and checksum (apikey.go), then by its id, its secret's hash, its times and the
// caller's address (apikeys.go).
//
// A client certificate is that of Envoy's connection or, from proxies that are trusted with it, that of an element of a header
// (certificates.go, forwarded.go). Its text and names are read (certificate.go), then its times, its chain and what was withdrawn
// (authorities.go, revocationlists.go), and last the one name that is the principal's id (certificatename.go).
//
// A user's password is looked at by its form, then by its hash (basic.go, internal/password).
//
// A signed request is looked at by its signature's form, key, times and what it covers, then by the signature itself, the body's
// digest, and last whether it came before (signatures.go, internal/signature, internal/replay).
//
// A route asks for several kinds of credentials in the order of its providers (authenticator.go), each where its provider looks
// for it (location.go), and takes it out (withhold.go).
//
// Whoever was accepted is then looked for among what was withdrawn (revocations.go), as the store of revocations has it at that moment;
// issuers may withdraw too, by logout tokens (logout.go).
//
// For the way on, a [Minter] makes tokens of our own about the principal (mint.go, internal/mint).
//
// What this package guarantees:
//
//   - The token's header chooses a key and nothing else. `jku`, `x5u`, `jwk` and `x5c` are ignored (a proof's `jwk` is what its
//     token says that it must be), `crit` and `b64` are refusals, and no connection is ever made to an address that a token names.
//   - A bad answer of an issuer never empties its key set; a key that the issuer removed stops verifying with
//     the answer that no longer has it, for cached tokens too. While no answer comes the last good set is in force, across a restart
//     too (kept.go), for a time that is bounded.
//   - An issuer's servers are reached at public addresses only, unless the provider says otherwise (reach.go).
//   - Unknown key ids cause one fetch in an interval, however many requests bring them.
//   - Only verified credentials enter the cache, so that no flood of bad ones pushes a good one out, and a
//     credential's own times are checked again on every hit.
//   - What is withdrawn is refused, cached or not, and no store that fails or comes back empty takes it back.
//   - No credential, and no text of one, is in an error, a log or an [policy.Outcome].
//
// It is larger than a package here should be. What stands alone is in packages below internal; what is left shares the strict reading of
// tokens, the caches and the refusals.
//
// The package knows a symmetric algorithm only for a provider that has nothing but secrets, and never `none`.
package keys
