// Package revoked keeps what was withdrawn of credentials: a [Set] of it, immutable and cheap to ask, and a [Follower] that
// keeps a Set as its store has it.
//
// What is withdrawn has a [Name], one statement of a credential with or without its issuer, and for it [Window]s: what was
// issued until when, and until when that is worth remembering. A window that another one covers is dropped.
//
// What this package guarantees: asking a Set costs no lock and no I/O; a store that comes back with less than it had withdraws
// no less than before; and a follower never forgets a window because of an error.
package revoked
