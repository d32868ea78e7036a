// Package expression evaluates CEL over a request and its principal.
//
// [Compile] reads an expression once, at load; [Expression.Value], [Expression.Text] and
// [Expression.Strings] evaluate it, for a policy's request fields, for an injected header and for roles.
//
// # Variables
//
//	request.id, .method, .scheme, .host, .path, .protocol     string
//	request.size                                              int, -1 when unknown
//	request.time                                              timestamp, when the request arrived
//	request.params, .query, .headers                          map of string to string
//	request.header_values                                     map of string to list of strings
//	principal.id, .provider, .issuer, .subject                string
//	principal.roles, .scopes                                  list of strings
//	principal.claims                                          map of string to anything
//	principal.anonymous                                       bool
//	principal.expires                                         timestamp, null for a credential without an end
//	source.address, .principal, destination.address, .principal   string
//	source.port, destination.port                             int
//	body                                                      what validation read of the body: anything
//	attributes                                                map of string to string
//	metadata                                                  map of string to anything
//
// A variable that does not exist is an error of Compile. A key that a map does not have is CEL's "no such
// key" when it is evaluated.
//
// # One reading
//
// What two readers could read in two ways is an error, so that a rule such as
// request.headers["x-tenant"] == "evil" cannot be passed by a value that it does not see:
//
//   - request.headers has the one value of a header. A header that came on several lines, or whose value
//     holds a comma and is not one of the few that are defined as a single value with commas inside
//     (singleValued), is a list (RFC 9110, section 5.3). It is an error to ask for its one value;
//     request.header_values has all of them. Names are looked up without regard to case.
//   - request.query has the decoded value of a parameter. A repeated one is an error, and so is a query
//     that is malformed in any place: a broken percent sign, a semicolon, a control character.
//   - The maps to strings can only be asked for their keys (m["a"], m.a, has(m.a), "a" in m, size(m), m.all(k, …)):
//     CEL's comparison of two maps loses an error that one of their values is.
//   - A string that is not valid UTF-8 is an error wherever it comes from: CEL's strings are Unicode, and
//     a pattern that cannot be matched against a byte must not be taken for one that does not match.
//
// An error means that the caller denies. As everywhere in CEL, an error on one side of || or && does not
// count when the other side alone decides the result; then the result is the same for every value that the
// side in error could have had.
//
// body is an error where validation found no valid body, also in has(body.x): a rule about a body that nobody read must not
// be taken for one that holds.
//
// # Bounds
//
// The source is at most 4 KiB and comprehensions nest at most two deep. Regular expressions are literals,
// compiled by Compile. What multiplies the length of its input (replace, join) takes a short literal, and
// format is not there. A query of more than 64 KiB or 256 parameters is an error. Evaluation stops with an error at a fixed cost; it is a pure function of its two
// arguments and has no clock but request.time.
//
// An error says where and what, and never quotes a value of the request or of a claim.
package expression
