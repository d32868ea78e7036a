// Package enforcer decides whether a principal may do what it asks, by an ordinary Casbin model and an
// ordinary Casbin policy. An [Enforcer] is the stage "authorize" of a route's pipeline.
//
// [New] reads both texts with readers of its own, which say where each definition and each rule stands and
// what is wrong with it, and which refuse what Casbin would read as something else or drop without a word:
// a definition that it never looks at, a rule with an unknown effect, a second rule that it takes for a
// duplicate. What they accept means exactly what it means to Casbin. The files are read so:
//
//	definitions.go   model text → definitions with positions
//	model.go         definitions → a model that is known to be whole
//	expression.go    matchers and rules for eval: fields, functions, syntax
//	rules.go         policy text → rules with positions
//	check.go         rules against the model; patterns.go their patterns; chains.go their role links
//
// values.go makes of a request what a matcher compares. Evaluation is Casbin's own and lives in casbin.go
// and links.go alone; what stands around it knows nothing of Casbin. It is linear in the number of rules.
//
// What this package guarantees:
//
//   - The verdict is Casbin's. Whatever goes wrong under it, an error or a panic, is an error, which denies.
//   - What a request says is only ever a value that a matcher compares, never part of an expression.
//   - The roles that a caller brings along count in that caller's request and in no other, under the same
//     name or another one.
//   - An Enforcer does not change. It may be asked by many goroutines at once, which take no lock of this package.
//   - What it keeps in memory is bounded by the policy, whatever names requests bring.
package enforcer
