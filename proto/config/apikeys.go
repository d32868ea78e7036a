package config

import (
	"buf.build/go/protoyaml"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// maxKeyBytes is the longest file of API keys that is read.
const maxKeyBytes = 16 << 20

// KeyFile is a file of API keys without errors of its form, and where in it everything stands. It is immutable.
type KeyFile struct {
	document
	keys *configv1.ApiKeyFile
}

// LoadKeys reads a file of API keys, as [Load] reads a configuration.
func LoadKeys(file string, data []byte) (*KeyFile, policy.Findings) {
	r, message := &report{file: file}, &configv1.ApiKeyFile{}
	root, _ := r.read(data, maxKeyBytes, message)
	if r.failed() {
		return nil, r.sorted()
	}
	return &KeyFile{document: document{file: file, root: root}, keys: message}, r.sorted()
}

// Keys returns what stands in the file. It is shared: callers must not change it.
func (f *KeyFile) Keys() *configv1.ApiKeyFile { return f.keys }

const keyFileHead = `# API keys, written by kasbah keys, which keeps no comments. No key is in here, but the SHA-256 of each.
`

// FormatKeys returns the text of a file of API keys, which LoadKeys reads as the same.
func FormatKeys(keys *configv1.ApiKeyFile) ([]byte, error) {
	text, err := protoyaml.MarshalOptions{UseProtoNames: true, Indent: 2}.Marshal(keys)
	if err != nil {
		return nil, err
	}
	return append([]byte(keyFileHead), text...), nil
}
