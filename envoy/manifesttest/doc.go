// Package manifesttest is the tests of the manifests in envoy/istio and envoy/gateway. It is a module of its own,
// because it needs the API types of Istio, Kubernetes and Envoy Gateway, and nothing else of Kasbah does.
package manifesttest
