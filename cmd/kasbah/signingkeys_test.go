package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
)

// No key is lost to another that is added at the same time, and only the first of several that make the file does.
func TestConcurrentSigningKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signing-keys.json")
	now := time.Now()
	const writers = 10
	var group sync.WaitGroup
	made := make(chan error, writers)
	for range writers {
		group.Go(func() {
			c := &signingKeyCommand{verb: "create", file: path, algorithm: "EdDSA", now: now}
			made <- c.run(io.Discard)
		})
	}
	group.Wait()
	good := 0
	for range writers {
		if <-made == nil {
			good++
		}
	}
	if good != 1 {
		t.Fatalf("%d of %d have made the file", good, writers)
	}
	for n := range writers {
		group.Go(func() {
			c := &signingKeyCommand{verb: "rotate", file: path, activate: time.Duration(n) * time.Second, keep: leastKeep, now: now}
			if err := c.run(io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all, err := keys.ReadSigningKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(all.All()); got != writers+1 {
		t.Errorf("%d keys of %d", got, writers+1)
	}
	if info, err := os.Stat(path); err != nil || fmt.Sprint(info.Mode().Perm()) != "-rw-------" {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
}
