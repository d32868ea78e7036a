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
	errDisowned = errors.New("the UserInfo endpoint says that the token is not good")

	errPassword = errors.New("no user of the file has this password")

	errSignatureKey       = errors.New("the provider has no key of the signature's keyid")
	errSignatureAlgorithm = errors.New("the signature names another algorithm than its key has")
	errSignatureExpired   = errors.New("the signature is too old, or has expired")
	errSignatureNotYet    = errors.New("the signature was made in the future")
	errCoverage           = errors.New("the signature does not cover what it must")
	errHTTPSignature      = errors.New("the signature does not verify with its key")
	errDigest             = errors.New("the body is not the one that was signed")
	errBodyTruncated      = errors.New("the body is longer than can be seen whole, and its digest cannot be compared")
	errBodyMissing        = errors.New("the body is not handed on by Envoy, and its digest cannot be compared: set with_request_body there")

	errRevoked = errors.New("the credential was withdrawn")

	errUnbound      = errors.New("the token is bound to nothing that the provider wants")
	errConfirmation = errors.New("cnf binds the token in a way that is not known here")
	errProof        = errors.New("the caller does not prove that the token is its own")
	errReplayed     = errors.New("the proof was used before")

	errUnknownAPIKey = errors.New("no such API key was given out")
	errAPIKeyExpired = errors.New("the API key has expired")
	errAPIKeyRevoked = errors.New("the API key was withdrawn")
	errAPIKeyAddress = errors.New("the API key may not be used from this address")

	errCertificateWithheld    = errors.New("the caller's certificate is named by Envoy and not handed on: set include_peer_certificate there, or name_suffices here")
	errCertificateText        = errors.New("a name in the certificate is no text, or has a control character")
	errCertificateIssues      = errors.New("the certificate is that of an authority")
	errForwardedNameAlone     = errors.New("the forwarded element has no Cert, which ca_file needs")
	errCertificateExpired     = errors.New("the certificate has expired")
	errCertificateNotYetValid = errors.New("the certificate is not valid yet")
	errCertificateRevoked     = errors.New("the certificate, or one of its chain, was withdrawn")
	errUntrusted              = errors.New("the certificate has no chain to the provider's authorities")
	errTrustDomain            = errors.New("the SPIFFE ID is of a trust domain that the provider does not accept")
	errSPIFFE                 = errors.New("the certificate is no SVID")
	errCertificateName        = errors.New("the certificate has no name that the provider accepts")
	errCertificateNames       = errors.New("several names of the certificate fit, and only one may")
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
	{errDisowned, policy.Revoked, 4},
	{errPassword, policy.UnknownKey, 2},
	{errSignatureKey, policy.UnknownKey, 2},
	{errSignatureAlgorithm, policy.InvalidSignature, 2},
	{errSignatureExpired, policy.Expired, 3},
	{errSignatureNotYet, policy.NotYetValid, 3},
	{errCoverage, policy.InvalidSignature, 3},
	{errHTTPSignature, policy.InvalidSignature, 3},
	{errDigest, policy.InvalidSignature, 4},
	{errBodyTruncated, policy.BodyTooLarge, 5},
	{errBodyMissing, policy.BodyMissing, 5},
	{errRevoked, policy.Revoked, 4},
	{errReplayed, policy.Replayed, 5},
	{errProof, policy.InvalidProof, 5},
	{errUnbound, policy.InvalidClaims, 5},
	{errConfirmation, policy.InvalidClaims, 5},
	{errUnknownAPIKey, policy.UnknownKey, 2},
	{errAPIKeyExpired, policy.Expired, 4},
	{errAPIKeyRevoked, policy.Revoked, 4},
	{errAPIKeyAddress, policy.SourceBlocked, 4},
	{errCertificateWithheld, policy.MalformedCredential, 1},
	{errCertificateText, policy.MalformedCredential, 1},
	{errCertificateIssues, policy.MalformedCredential, 1},
	{errForwardedNameAlone, policy.MalformedCredential, 1},
	{errCertificateExpired, policy.Expired, 4},
	{errCertificateNotYetValid, policy.NotYetValid, 4},
	{errUntrusted, policy.WrongIssuer, 3},
	{errCertificateRevoked, policy.Revoked, 4},
	{errTrustDomain, policy.WrongIssuer, 4},
	{errSPIFFE, policy.InvalidClaims, 4},
	{errCertificateName, policy.InvalidClaims, 4},
	{errCertificateNames, policy.InvalidClaims, 4},
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
