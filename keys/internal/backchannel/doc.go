// Package backchannel is the endpoint of OpenID Connect Back-Channel Logout 1.0: it takes an issuer's word, in a logout token, that
// a session or all sessions of a subject have ended. It is given what verifies a token and what withdraws; what it says of the
// claims ([Read]) is section 2.6 of the specification.
//
// Anybody may send anything. What is sent is bounded before it is read, how much is verified is bounded in time, what is remembered is
// bounded in number, and past each bound the answer is no.
package backchannel
