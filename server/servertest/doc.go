// Package servertest runs a real Kasbah in a test: its configuration in a folder of the test's own, its listeners on
// free loopback ports, its callers real gRPC clients.
//
// [Start] writes the files, starts the server and stops it when the test ends; an error of its Run fails the test.
// [NewCheck] builds what Envoy would ask and [Status] reads what Envoy would do. [Issuer] is a development issuer behind a
// real listener, [Authority] makes certificates. [Await] waits for a condition, and nothing here sleeps otherwise.
package servertest
