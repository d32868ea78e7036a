// Package interpreted asks Casbin itself, where a matcher is not compiled.
//
// The rules are loaded once, and shared by sessions, of which each is one goroutine's at a time. What a caller brings along
// counts in its request and in no other.
package interpreted
