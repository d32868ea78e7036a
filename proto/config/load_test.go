package config_test

import (
	"testing"

	"github.com/kasbah-authz/kasbah/proto/config"
	"github.com/kasbah-authz/kasbah/testdata"
)

func TestGoodConfigurationsLoad(t *testing.T) {
	testdata.Each(t, "configs/good/*.yaml", func(name string, data []byte) {
		if document, findings := config.Load(name, data); document == nil || len(findings) > 0 {
			t.Errorf("findings:\n%v", findings)
		}
	})
}
