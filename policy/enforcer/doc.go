// Package enforcer decides whether a principal may do what it asks, by an ordinary Casbin model and an
// ordinary Casbin policy, with the verdict that Casbin would give, in a time that hardly depends on the
// number of rules. An [Enforcer] is the stage "authorize" of a route's pipeline.
//
// Below this package are those that it is made of, from the text of a model to a verdict:
//
//	internal/model        the strict readers of models and policies
//	internal/matcher      the matcher as a tree, and what of it can be looked up
//	internal/pattern      the patterns of Casbin's functions
//	internal/index        what finds texts, patterns, roles and rules
//	internal/compiled     all of that put together: a policy that decides
//	internal/interpreted  Casbin itself, for matchers that are not compiled; [Enforcer.Linear] says which and why
//
// Here it is made what others see: enforcer.go builds the policy and answers requests, of which values.go makes what a
// matcher compares; change.go takes what differs from the policy before as a change of that, and pieces.go knows where its
// rules stand; explain.go and lint.go say why.
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
