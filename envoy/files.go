// Package envoy holds the files that put Kasbah behind Envoy, for operators to copy: envoy.yaml for Envoy itself, istio
// for a mesh, gateway for Envoy Gateway. The tests of this folder run the real Envoy with envoy.yaml, and decode every
// manifest into the API's own types, so what is copied is what was tested. The demo runs the same file.
package envoy

import (
	"embed"
	"io/fs"
)

//go:embed envoy.yaml istio/*.yaml gateway/*.yaml
var files embed.FS

// Files returns the files, by their names in this folder: "envoy.yaml", "istio/deployment.yaml".
func Files() fs.FS { return files }
