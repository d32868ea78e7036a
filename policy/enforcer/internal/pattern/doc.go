// Package pattern knows the patterns of Casbin's functions keyMatch to keyMatch5, regexMatch, globMatch and ipMatch: what is
// one, what it matches, compiled once, and which of them match all that another one matches.
//
// A [Matcher] answers as Casbin's function does, with an error where that returns one or panics.
package pattern
