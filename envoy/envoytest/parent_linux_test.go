package envoytest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
)

const parentVariable = "KASBAH_ENVOYTEST_PARENT"

// TestParent is no test of its own: TestEnvoyDiesWithItsParent runs it in another process, which it kills.
func TestParent(t *testing.T) {
	if os.Getenv(parentVariable) == "" {
		return
	}
	p, err := envoytest.Start(t.Context(), envoytest.Config{
		Bootstrap: []byte(bootstrap), Addresses: map[string]string{"0.0.0.0:10000": "127.0.0.1:0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("admin %s\n", p.Admin())
	<-p.Done()
}

func TestEnvoyDiesWithItsParent(t *testing.T) {
	parent := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestParent$", "-test.v")
	parent.Env = append(os.Environ(), parentVariable+"=1")
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	admin := ""
	for lines := bufio.NewScanner(stdout); admin == "" && lines.Scan(); {
		if at, ok := strings.CutPrefix(lines.Text(), "admin "); ok {
			admin = at
		}
	}
	if admin == "" {
		t.Fatal("the other process started no Envoy")
	}
	if status, _, err := get(t.Context(), admin, "/ready"); status != 200 {
		t.Fatalf("Envoy is not there: %d, %v", status, err)
	}
	if err := parent.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	eventually(t, "the end of Envoy", func() bool {
		_, _, err := get(t.Context(), admin, "/ready")
		return err != nil
	})
}
