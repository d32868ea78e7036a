package config

import (
	"buf.build/go/protoyaml"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// RevocationFile is a file of revocations without errors of its form, and where in it everything stands. It is immutable.
type RevocationFile struct {
	document
	revocations *configv1.RevocationFile
}

// LoadRevocations reads a file of revocations, as [Load] reads a configuration.
func LoadRevocations(file string, data []byte) (*RevocationFile, policy.Findings) {
	message := &configv1.RevocationFile{}
	d, findings := loadBeside(file, data, message)
	if d == nil {
		return nil, findings
	}
	return &RevocationFile{document: *d, revocations: message}, findings
}

// Revocations returns what stands in the file. It is shared: callers must not change it.
func (f *RevocationFile) Revocations() *configv1.RevocationFile { return f.revocations }

const revocationFileHead = `# Credentials that were withdrawn, written by kasbah revoke, which keeps no comments.
`

// FormatRevocations returns the text of a file of revocations, which LoadRevocations reads as the same.
func FormatRevocations(revocations *configv1.RevocationFile) ([]byte, error) {
	text, err := protoyaml.MarshalOptions{UseProtoNames: true, Indent: 2}.Marshal(revocations)
	if err != nil {
		return nil, err
	}
	return append([]byte(revocationFileHead), text...), nil
}
