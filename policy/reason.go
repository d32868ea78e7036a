package policy

import "fmt"

// Reason says why a request was denied. The set is closed: an edge maps each to its own status, and a
// metric may use it as a label. It is precise, and meant for the operator; callers are told a category.
type Reason uint8

// The reasons. The zero Reason is Internal, so that a Decision that nobody filled in blames us.
const (
	Internal Reason = iota // a fault of our own: a panic, a stage that returned neither verdict nor reason
	NoReason               // the decision allows

	MissingCredential   // the route wants one and the request has none
	MalformedCredential // it cannot be read as what it claims to be
	InvalidSignature    // it is signed with another key, another algorithm, or was altered
	UnknownKey          // the issuer has no such key
	Expired             // its time is over
	NotYetValid         // its time has not come
	WrongIssuer         // nobody that the route trusts has issued it
	WrongAudience       // it is for someone else
	InvalidClaims       // a claim that must hold does not
	InvalidProof        // it is good, and the caller does not prove that it is its own
	Replayed            // it was good once and has been used
	Revoked             // it was good once and was withdrawn
	Insufficient        // it is good, and the route demands a stronger or a later authentication

	RateLimited
	LockedOut
	SourceBlocked
	ThreatDetected

	InvalidRequest // it has two readings, or a form that no stage may see
	BodyTooLarge
	BodyMissing

	NoRoute          // no configured route matches
	NoMatchingPolicy // no rule speaks of the request
	DeniedByPolicy   // a rule denies it
	PolicyError      // a rule or an expression could not be evaluated

	Deadline    // the caller's deadline came before a verdict
	Unavailable // what must be asked cannot be reached, and nothing is known without it

	reasonCount
)

var reasonNames = [reasonCount]string{
	Internal: "internal", NoReason: "none",
	MissingCredential: "missing_credential", MalformedCredential: "malformed_credential",
	InvalidSignature: "invalid_signature", UnknownKey: "unknown_key", Expired: "expired",
	NotYetValid: "not_yet_valid", WrongIssuer: "wrong_issuer", WrongAudience: "wrong_audience",
	InvalidClaims: "invalid_claims", InvalidProof: "invalid_proof", Replayed: "replayed",
	Revoked: "revoked", Insufficient: "insufficient_authentication",
	RateLimited: "rate_limited", LockedOut: "locked_out", SourceBlocked: "source_blocked",
	ThreatDetected: "threat_detected",
	InvalidRequest: "invalid_request", BodyTooLarge: "body_too_large", BodyMissing: "body_missing",
	NoRoute: "no_route", NoMatchingPolicy: "no_matching_policy", DeniedByPolicy: "denied_by_policy",
	PolicyError: "policy_error", Deadline: "deadline", Unavailable: "unavailable",
}

// String returns the reason's name, in lower case with underscores, for metrics and records.
func (r Reason) String() string {
	if r >= reasonCount {
		return fmt.Sprintf("reason(%d)", uint8(r))
	}
	return reasonNames[r]
}

// ParseReason returns the reason of that name. For a name that is none it returns an error and [Internal].
func ParseReason(name string) (Reason, error) {
	for r, n := range reasonNames {
		if n == name {
			return Reason(r), nil
		}
	}
	return Internal, fmt.Errorf("reading a reason: %q is none", name)
}

// Reasons returns every reason, for tables that must have them all.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonCount)
	for r := range reasonCount {
		all = append(all, r)
	}
	return all
}
