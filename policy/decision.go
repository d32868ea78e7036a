package policy

import "errors"

// ErrWouldWait is returned by a stage that would have to wait for the network to answer a request whose
// NoWait is set. The edge then asks again, without NoWait, where waiting is allowed.
var ErrWouldWait = errors.New("a verdict needs the network, and the request may not wait")

// Effect is what a Decision does with the request. The zero Effect denies.
type Effect uint8

// The effects.
const (
	Deny Effect = iota
	Allow
)

// String returns "allow" or "deny"; any Effect but Allow is a deny.
func (e Effect) String() string {
	if e == Allow {
		return "allow"
	}
	return "deny"
}

// Verdict is what one stage says. The zero Verdict denies.
type Verdict uint8

// The verdicts.
const (
	// Denied ends the decision.
	Denied Verdict = iota
	// Passed lets the next stage speak, and permits nothing.
	Passed
	// Permitted lets the next stage speak; if none denies, the request is allowed.
	Permitted
)

// Outcome is a stage's answer.
type Outcome struct {
	Verdict Verdict
	// Reason is set with Denied.
	Reason Reason
	// Principal is who is calling, set by the stage that established it; nil leaves it as it was.
	Principal *Principal
	// Rule is what decided, where a rule did.
	Rule Rule
	// Challenges tell the caller how to authenticate, one WWW-Authenticate value each (RFC 9110, section 11.6.1).
	Challenges []string
	// Remove names request headers that the upstream must not see, such as a credential that was used up.
	Remove []string
	// Set are request headers to write anew, such as one that held a credential among other things. What the route itself
	// injects goes before them.
	Set []Mutation
	// RemoveQuery names query parameters that the upstream must not see, as they are written in the query.
	RemoveQuery []string
	// Response are headers to set on what the caller gets, whatever becomes of the request. What the route itself sets goes
	// before them.
	Response []Mutation
	// Violations are what a stage that validates found wrong. With Denied the caller is told them; with any other verdict
	// they are only reported to the operator.
	Violations []Violation
	// Parsed gives what was read of a valid body, for later stages: see [Request]. nil leaves it as it was.
	Parsed func() (any, error)
	// Detail says in words what was wrong, for the operator. It holds no secret and is never sent to the caller.
	Detail string
}

// Violation is one rule of a body's that does not hold.
type Violation struct {
	// Field is the path to what is wrong, as in "items[3].price"; empty for the body as a whole. It holds no key of a map.
	Field string
	// Rule is the rule's id, as in "string.min_len".
	Rule string
	// Message says in words what is wrong, for the caller. A schema's own words may quote the body, so that they are
	// never logged.
	Message string
}

// Rule names the rule that decided: its text and where it stands.
type Rule struct {
	Text string
	Position
}

// Mutation sets a header or a query parameter; a set header replaces every line of that name.
type Mutation struct{ Name, Value string }

// Decision is the answer to one request. The zero Decision denies with [Internal].
type Decision struct {
	// ID is unique to this decision. The edge sets it.
	ID string
	// Generation counts the snapshots; it says under which configuration the decision was made.
	Generation uint64

	Effect Effect
	Reason Reason
	// Stage is the stage that denied; empty where none did.
	Stage string
	// Route is the name of the matched route, empty where none matched.
	Route     string
	Principal *Principal // never nil after Decide
	Rule      Rule

	// Set and Remove are request headers to set and to remove before the upstream sees them. On an allow,
	// every header that any route injects is in one of the two.
	Set    []Mutation
	Remove []string
	// Query are query parameters to set before the upstream sees them, RemoveQuery names those to remove, as
	// they are written in the query.
	Query       []Mutation
	RemoveQuery []string
	// Response are headers to set on the response: the upstream's, or on a denial our own.
	Response []Mutation
	// Challenges tell the caller how to authenticate, on a denial.
	Challenges []string
	// Violations are what the caller is told to be wrong with the body, on a denial.
	Violations []Violation
	// Reported are violations for which nothing was denied, because the operator wants to know of them first.
	Reported []Violation

	// WouldWait says that this is no decision yet: a stage returned [ErrWouldWait].
	WouldWait bool
	// Detail says in words what was wrong, for the operator; it is never sent to the caller.
	Detail string
	// Err is our own fault behind the denial, nil where there was none: a stage's error, a [*PanicError].
	Err error
}

// Refuse returns the Decision that denies with that reason, for an edge that cannot even ask the pipeline.
func Refuse(reason Reason, detail string) Decision {
	return Decision{Reason: reason, Detail: detail, Principal: &Principal{}}
}
