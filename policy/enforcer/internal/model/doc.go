// Package model reads Casbin's models and policies, strictly: what Casbin would read as something else, or drop without a
// word, is an error with its place, and so is what Casbin would panic at.
//
//	definitions.go   model text → definitions with positions
//	model.go         definitions → a [Model] that is known to be whole
//	expression.go    matchers and rules for eval: fields, functions, syntax
//	rules.go         policy text, or rows of a table → each a [Rule] with its position
//	check.go         rules against the model; patterns.go their patterns; chains.go their role links
//	reading.go       what Casbin makes of the same text
//	report.go        what is found, in the order of the text, and bounded
//
// A model and rules in whose [Report] no error stands are such that Casbin loads them, as the same.
package model
