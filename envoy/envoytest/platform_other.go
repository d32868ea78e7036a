//go:build !unix

package envoytest

import (
	"context"
	"os"
	"syscall"
)

func attributes(bool) *syscall.SysProcAttr { return nil }

func endGroup(child *os.Process) { _ = child.Kill() }

// private has nothing to check: the temporary folder is the user's own.
func private(string) error { return nil }

// lock locks nothing. The rename at the end of an installation is what makes it safe; without a lock two
// processes may both download.
func lock(context.Context, string) (unlock func(), err error) { return func() {}, nil }
