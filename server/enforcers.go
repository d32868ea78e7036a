package server

import (
	"path/filepath"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
	"github.com/kasbah-authz/kasbah/proto/config"
)

// Enforcers compiles the enforcers of the configuration in that file, by name, as the server would, for tests of their
// policies. It looks at nothing else that the configuration names: a test needs no keys and no network. If a finding is an
// error, there are no enforcers.
func Enforcers(path string) (map[string]*enforcer.Enforcer, policy.Findings) {
	files := newFiles()
	data, err := files.read(path)
	if err != nil {
		return nil, policy.Findings{{Position: policy.Position{File: path}, Message: err.Error()}}
	}
	document, findings := config.Load(path, data)
	if document == nil {
		return nil, findings
	}
	c := &compiler{document: document, files: files.below(filepath.Dir(path)), findings: findings}
	enforcers := c.enforcers(document.Config().GetEnforcers())
	if c.findings.Err() != nil {
		return nil, c.findings
	}
	return enforcers, c.findings
}
