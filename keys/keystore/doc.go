// Package keystore keeps API keys in a table of PostgreSQL or SQLite, and is the only package that knows how such a table is
// made. [Init] makes it, [Open] opens it for who keeps the keys, [Reader] and [Recorder] are for a server that follows it
// (package keys says when).
//
// A table NAME has one row a key. Beside it are NAME_version, one row that says which change was the last, and NAME_use, when
// each key was last used. Triggers keep the first, so that whoever changes a key, by hand too, is noticed: a statement that
// adds or changes rows counts on, and gives its rows the count; one that removes rows, or gives one another id, makes the
// epoch another one, after which everything is read again. Writers wait for each other at that row, so that counts are in the
// order of commits and nobody who has seen one has missed an earlier one.
//
// [Redis] is a server of Redis or Valkey, for what is not kept in tables.
//
// [Revocations] are what was withdrawn, in Redis (revokedredis.go) or in a table of PostgreSQL (revokedpostgres.go), for who changes it and for
// a server that follows it. Both kinds have a version of an epoch, the last change and the last cut: a cut takes something back.
package keystore
