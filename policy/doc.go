// Package policy is the decision core of Kasbah: the nouns that every other package speaks in, and the
// one function that turns a request into a decision.
//
// Most callers need three things. A [Request] is what is asked, after one reading of it. A [Pipeline],
// built once from [Route] values, answers it with [Pipeline.Decide]. A [Decision] is that answer: it is
// returned to Envoy, counted, logged and explained, the same value for all four.
//
// A route's work is done by its [Stage] values, in order. A stage looks at the request and at what
// earlier stages established, and returns an [Outcome]: it denies with a [Reason], passes the request on,
// or permits it. The packages of the stages (keys, policy/enforcer and their siblings) import this one
// and never each other.
//
// What this package guarantees:
//
//   - Every zero value denies: [Decision], [Outcome], [Verdict], [Effect], and a zero [Reason] is [Internal].
//   - A request is allowed in exactly one place, at the end of Decide, and only when no stage denied and one
//     permitted. No route, an error, a panic, a deadline or an empty list of stages is a deny with its reason.
//   - Nothing is parsed or compiled under Decide, no lock is taken, and no stage that said it would wait
//     is waited for when [Request.NoWait] is set.
//
// The package knows neither Envoy, gRPC nor HTTP status codes, imports the standard library only, and keeps
// no state between requests.
package policy
