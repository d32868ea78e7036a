// Package suite tests policies: it reads suites of cases from YAML files beside the policy, asks an enforcer about
// each case, and reports which got the expected verdict and which rules no case reached.
//
// A suite is a file whose name ends in "_test.yaml"; [Find] finds them below a folder. [Parse] reads one, [Run] asks an
// [Enforcer] about its cases, [Cover] counts the rules that decided, and a [Report] writes all of it as text in the
// manner of go test, as JUnit XML and as JSON. docs/testing-policies.md explains the format:
//
//	config: kasbah.yaml          # beside this file
//	enforcer: orders
//	principals:
//	  alice: {id: alice, roles: [reader]}
//	cases:
//	- name: a reader reads an order
//	  principal: alice
//	  request: GET /orders/7
//	  want: allow
//	  rule: p, reader, /orders/:id, GET, allow
//	tables:
//	- name: orders
//	  requests: [GET /orders, DELETE /orders/7]
//	  want:
//	    alice:     [allow, deny]
//	    anonymous: [deny, deny]
//
// The files are read so:
//
//	suite.go       Parse, and what it returns
//	node.go        YAML nodes → texts, lists and mappings, strictly
//	cases.go       cases and tables
//	principal.go   principals; request.go requests
//	find.go        which files are suites
//
// and run.go, coverage.go, report.go, text.go, junit.go and json.go do the rest. These are more files than a package here
// should have: strict reading and three reports are many small things, and nothing else has a use for any of them.
//
// What the package guarantees:
//
//   - A suite that cannot mean what it says is not run: unknown and repeated fields, a name that nothing has, a second
//     case of one name, no case at all, an unknown verdict. Each is a finding with its line and column.
//   - A case cannot pass by an accident of its own: principal, request and verdict have no default, and an evaluation
//     that goes wrong is neither an allow nor a deny.
//   - A request is one that the edge would let an enforcer see; a path that the edge refuses is a finding.
//   - Nothing depends on the clock: the time of a request is written, or always the same.
//   - Time and memory are bounded by the file, whose size is bounded.
//
// It knows no Casbin, and takes any policy.Stage that can list its rules.
package suite
