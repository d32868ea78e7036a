package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/proto/config"
)

// Nobody's entry is lost to another's, nor is a link replaced by what it leads to.
func TestConcurrentRevocations(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "revoked.yaml")
	if err := os.Symlink(filepath.Join(folder, "real.yaml"), path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "real.yaml"), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const writers = 20
	var group sync.WaitGroup
	for n := range writers {
		group.Go(func() {
			if err := revocationFile(path).Add(t.Context(), keys.RevocationName{Claim: "jti", Value: fmt.Sprint(n)}, keys.RevocationWindow{}, time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, findings := config.LoadRevocations(path, data)
	if file == nil {
		t.Fatal(findings)
	}
	if got := len(file.Revocations().GetRevoked()); got != writers {
		t.Errorf("%d entries of %d", got, writers)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info, err)
	}
}
