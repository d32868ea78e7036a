// Package compiled decides by a model that was compiled, and rules that were indexed, as Casbin would.
//
//	program.go     a model → a [Program]
//	layer.go       rules with their indexes
//	policy.go      a [Policy] of one large layer, and of a small one above it; the verdict by Casbin's effects
//	difference.go  a policy → the one that it has become
//	search.go      the first rule that allows and the first that denies, for a [Query]
//	evaluate.go    what no index knows; roles.go the role functions
//	paths.go       why a condition holds
//	proof.go       what holds of rules whatever the request is; wider.go rules that may cover another one
//
// Where a request is such that Casbin could return an error, a policy is asked rule by rule, as Casbin does, so that the
// error comes when Casbin's would. A policy does not change, takes no lock, and may be asked by many goroutines at once; a
// query is one goroutine's. What a request costs is counted (index.Meter): it is given up soon after its context ends, and an
// edge that must not wait is told before it has waited long.
package compiled
