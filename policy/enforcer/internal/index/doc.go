// Package index finds, in a time that hardly depends on how many there are, texts, the rules with a text, the patterns that
// match a text, and the roles of a name. What it holds is in memory that the garbage collector does not walk.
//
//	symbols.go   texts → numbers; postings.go numbers → rules
//	patterns.go  texts → patterns, by prefixes.go and shapes.go; wider.go patterns → patterns that match more
//	roles.go     role links
//	meter.go     counts what a request costs
//
// Nothing here changes once it is built. Symbols and role links are extended by a table above the first one.
package index
