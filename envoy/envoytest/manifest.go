package envoytest

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// ConfigMapData returns the files in a Kubernetes ConfigMap, given as one YAML document. A test that lints what
// operators copy writes them into a folder first.
func ConfigMapData(manifest []byte) (map[string]string, error) {
	var configMap struct {
		Kind string            `yaml:"kind"`
		Data map[string]string `yaml:"data"`
	}
	if err := yaml.Unmarshal(manifest, &configMap); err != nil {
		return nil, fmt.Errorf("reading a ConfigMap: %w", err)
	}
	if configMap.Kind != "ConfigMap" || len(configMap.Data) == 0 {
		return nil, errors.New("reading a ConfigMap: it is none, or it has no data")
	}
	return configMap.Data, nil
}
