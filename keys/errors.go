package keys

import (
	"errors"

	"github.com/kasbah-authz/kasbah/policy"
)

// The refusals. Each wraps what was found, in words that hold nothing of the token's text.
var (
	errMissing       = errors.New("no credential in the request")
	errMalformed     = errors.New("malformed credential")
	errAlgorithm     = errors.New("the token's algorithm is none that the provider accepts")
	errKeyMisfit     = errors.New("the issuer's key of that id is not for the token's algorithm")
	errSignature     = errors.New("the signature does not verify with the issuer's key")
	errUnknownKey    = errors.New("the issuer's key set has no key of that id")
	errWhichKey      = errors.New("the token names no key, and not exactly one of the issuer's keys is for its algorithm")
	errUndecryptable = errors.New("the token cannot be decrypted with the provider's key")
	errDecryptionKey = errors.New("the token is encrypted, and no provider of the route has a key of its id and algorithm")
	errIssuer        = errors.New("no provider of the route has the token's issuer")
	errAudience      = errors.New("the token is for another audience")
	errExpired       = errors.New("the token has expired")
	errNotYetValid   = errors.New("the token is not valid yet")
	errClaims        = errors.New("a claim does not hold")

	errInactive = errors.New("the introspection server says that the token is not active")

	errUntrusted          = errors.New("no authority of the provider vouches for the certificate as a client's")
	errCertificateRevoked = errors.New("the certificate was withdrawn")

	errRevoked = errors.New("the credential was withdrawn")

	errUnknownAPIKey = errors.New("no such API key was given out")
	errAPIKeyExpired = errors.New("the API key has expired")
	errAPIKeyRevoked = errors.New("the API key was withdrawn")
	errAPIKeyAddress = errors.New("the API key may not be used from this address")
)

// refusals maps each sentinel to its reason, and ranks it: a token that got further through the checks
// has the more telling reason.
var refusals = []struct {
	err    error
	reason policy.Reason
	rank   int
}{
	{errMissing, policy.MissingCredential, 0},
	{errMalformed, policy.MalformedCredential, 1},
	{errIssuer, policy.WrongIssuer, 1},
	{errAlgorithm, policy.InvalidSignature, 2},
	{errUnknownKey, policy.UnknownKey, 2},
	{errDecryptionKey, policy.UnknownKey, 1},
	{errUndecryptable, policy.InvalidSignature, 2},
	{errWhichKey, policy.UnknownKey, 2},
	{errKeyMisfit, policy.InvalidSignature, 3},
	{errSignature, policy.InvalidSignature, 3},
	{errExpired, policy.Expired, 4},
	{errNotYetValid, policy.NotYetValid, 4},
	{errClaims, policy.InvalidClaims, 4},
	{errAudience, policy.WrongAudience, 4},
	{errInactive, policy.Revoked, 2},
	{errUntrusted, policy.InvalidSignature, 3},
	{errCertificateRevoked, policy.Revoked, 4},
	{errRevoked, policy.Revoked, 4},
	{errUnknownAPIKey, policy.UnknownKey, 2},
	{errAPIKeyExpired, policy.Expired, 4},
	{errAPIKeyRevoked, policy.Revoked, 4},
	{errAPIKeyAddress, policy.SourceBlocked, 4},
}

// refusal returns the reason that err stands for, and its rank. ok is false for an error that is no refusal,
// but a fault of ours or a deadline.
func refusal(err error) (reason policy.Reason, rank int, ok bool) {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.reason, r.rank, true
		}
	}
	return policy.Internal, 0, false
}
