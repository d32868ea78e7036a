//go:build unix

package envoytest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// endGroup ends all processes of the group that the child leads.
func endGroup(child *os.Process) { _ = syscall.Kill(-child.Pid, syscall.SIGKILL) }

// private checks that nobody else can have put a program into the folder.
func private(folder string) error {
	info, err := os.Lstat(folder)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) != os.Getuid() || !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return errors.New("others may have written there; remove it")
	}
	return nil
}

// lock waits for the lock of that file, which ends with the process that holds it. The file stays.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	err = await(ctx, 50*time.Millisecond, func() (bool, error) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}
