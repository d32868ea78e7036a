package envoytest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// A server's port has to be chosen before it starts, and another program may take it in between.
const portTries = 5

// The user and the group that own nothing.
const nobody = 65534

// freePort returns a port of 127.0.0.1 that nobody listened at a moment ago.
func freePort(ctx context.Context) (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}

// onFreePort starts a server with that function, on another port if it ended by itself, as it does when its port is taken.
func onFreePort(ctx context.Context, start func(port int) (*child, error)) (*child, error) {
	var failures []error
	for range portTries {
		port, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		c, err := start(port)
		if err == nil {
			return c, nil
		}
		failures = append(failures, err)
		if !errors.Is(err, errEnded) {
			break
		}
	}
	return nil, errors.Join(failures...)
}

// workFolder makes a folder for a server's data, and gives it to nobody if the server is to run as nobody.
func workFolder(name string, unprivileged bool) (string, error) {
	folder, err := os.MkdirTemp("", name)
	if err != nil {
		return "", err
	}
	if unprivileged {
		err = os.Chown(folder, nobody, nobody)
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(folder))
	}
	return folder, nil
}

// password is the one secret of a test's server, so that nobody else on this machine can use it, and so that a test can
// not mistake another server for its own.
func password() string { return rand.Text() }

// writePrivate writes a file that only the server's user can read.
func writePrivate(folder, name, text string, unprivileged bool) (string, error) {
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", err
	}
	if unprivileged {
		return path, os.Chown(path, nobody, nobody)
	}
	return path, nil
}
