package config

import (
	"buf.build/go/protoyaml"
	"google.golang.org/protobuf/proto"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// maxBeside is the longest file beside the configuration that is read.
const maxBeside = 16 << 20

// KeyFile is a file of API keys without errors of its form, and where in it everything stands. It is immutable.
type KeyFile struct {
	document
	keys *configv1.ApiKeyFile
}

// LoadKeys reads a file of API keys, as [Load] reads a configuration.
func LoadKeys(file string, data []byte) (*KeyFile, policy.Findings) {
	message := &configv1.ApiKeyFile{}
	d, findings := loadBeside(file, data, message)
	if d == nil {
		return nil, findings
	}
	return &KeyFile{document: *d, keys: message}, findings
}

// loadBeside reads a file that a configuration names, into a message of its own.
func loadBeside(file string, data []byte, message proto.Message) (*document, policy.Findings) {
	r := &report{file: file}
	root, _ := r.read(data, maxBeside, message)
	if r.failed() {
		return nil, r.sorted()
	}
	return &document{file: file, root: root}, r.sorted()
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
