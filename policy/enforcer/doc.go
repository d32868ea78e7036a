// Package enforcer decides whether a principal may do what it asks, by an ordinary Casbin model and an
// ordinary Casbin policy, with the verdict that Casbin would give, in a time that hardly depends on the
// number of rules. An [Enforcer] is the stage "authorize" of a route's pipeline.
//
// Strict readers come first. They say where each definition and each rule stands and what is wrong with it, and
// refuse what Casbin would read as something else or drop without a word:
//
//	definitions.go   model text → definitions with positions
//	model.go         definitions → a model that is known to be whole
//	expression.go    matchers and rules for eval: fields, functions, syntax
//	rules.go         policy text, or rows of a table → rules with positions
//	check.go         rules against the model; patterns.go their patterns; chains.go their role links
//
// Then the matcher is compiled, once:
//
//	syntax.go        a tree, read from the tokens of Casbin's own parser
//	plan.go          its alternatives, and in each what can be looked up in which field of the rules
//	kinds.go         what a request must be for the matcher to have a result whatever the rule is
//	program.go       all of that together
//
// and the rules are indexed, in memory that the garbage collector does not walk:
//
//	symbols.go       texts → numbers; postings.go numbers → rules
//	roles.go         role links; prefixes.go, shapes.go, patternindex.go patterns
//	layer.go         the rules of a policy with their indexes
//	change.go        what differs from the policy before, as a small layer above the large one; pieces.go where it stands
//
// A request is decided so: values.go makes of it what a matcher compares; search.go finds the first rule that
// allows and the first that denies, and asks evaluate.go, value.go and functions.go about what no index knows;
// layered.go has the verdict by Casbin's effects. Where the request is such that Casbin could return an error,
// layered.go asks rule by rule instead, as Casbin does, so that the error comes when Casbin's would. explain.go
// and lint.go say why. A matcher that is not compiled is evaluated by Casbin itself, in casbin.go and links.go;
// [Enforcer.Linear] says where and why that, or any other look at every rule, is so.
//
// What this package guarantees:
//
//   - The verdict is Casbin's, the rule that decided is Casbin's, and where Casbin returns an error there is one,
//     which denies. Generated models, policies and requests are held against Casbin at every test.
//   - What a request says is only ever a value that a matcher compares, never part of an expression.
//   - The roles that a caller brings along count in that caller's request and in no other, under the same
//     name or another one.
//   - An Enforcer does not change. It may be asked by many goroutines at once, which take no lock of this package
//     unless Casbin itself evaluates.
//   - What it keeps in memory is bounded by the policy, whatever names requests bring.
package enforcer
