// Package envoy holds the configuration that puts Kasbah in front of a service: for Envoy itself, for an Istio
// mesh, and for Envoy Gateway. Its tests run or decode each file, so that what operators copy works.
package envoy

import _ "embed"

// Bootstrap is envoy.yaml: Envoy in front of one service, hardened. The demo and the tests run it as it is, with
// other addresses.
//
//go:embed envoy.yaml
var Bootstrap []byte
