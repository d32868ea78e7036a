// Package table reads policies from the tables that Casbin's database adapters write, casbin_rule in PostgreSQL or
// SQLite, and follows their changes.
//
// Most callers need three calls. [Open] reads the table once. [Follower.Run] then follows it until its context ends
// and says when it has changed. [Follower.Current] is the table as it was last read. Where it stands in the data flow:
//
//	follower.go   one table: read, follow, go on with what there is, connect anew
//	rows.go       rows of a database → rows of an [enforcer.Table], bounded, sharing what did not change
//	postgres.go   PostgreSQL: one consistent read, of all rows or of some
//	listen.go     PostgreSQL: notifications of changes; notify.sql has the triggers that send them
//	check.go      PostgreSQL: whether anything changed, where no trigger says so
//	sqlite.go     SQLite
//
// What it guarantees:
//
//   - A Table is the state of the database after some set of whole transactions, never half of one, whether it was read
//     whole or row by row.
//   - A Table that was handed out never changes. Rows that did not change share their Fields with those of the Table before.
//   - A database that is lost, or a table that cannot be read, leaves the last Table as it is.
//   - Memory is bounded: 5,000,000 rows, 256 MiB of text, 32 KiB a field. A table beyond that is refused whole.
//   - The connection string stands in no error and in no log.
//
// It only reads, and evaluates nothing. What the rows mean, and whether they are whole, is for package enforcer to say.
package table
