// Package matcher makes of a matcher's text, or of a rule for eval, a tree, and takes the tree apart.
//
//	syntax.go      a [Node] and what is below it, read from the tokens of Casbin's own parser
//	value.go       a [Value], and how Casbin's operators compare it
//	plan.go        the alternatives of a matcher, and in each what can be looked up in which field of the rules
//	kinds.go       what a request must be for a matcher to have a result whatever the rule is
//	conditions.go  the conditions of a matcher, for those who explain and prove
//
// What it cannot read is an error that says which part of the matcher that is; Casbin then evaluates it.
package matcher
