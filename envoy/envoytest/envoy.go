package envoytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Config says how an Envoy is to run.
type Config struct {
	// Bootstrap is Envoy's own configuration, in YAML or JSON. Its admin listener is moved to a free port of
	// 127.0.0.1, unless Addresses has it; one is added where there is none.
	Bootstrap []byte
	// Addresses replaces addresses of the bootstrap, listeners and endpoints alike: "0.0.0.0:10000" to
	// "127.0.0.1:0". Each must be there. A listener at port 0 gets a free one; see [Process.Listener].
	Addresses map[string]string
	// Concurrency is the number of worker threads; 0 is 1.
	Concurrency int
	// LogLevel is Envoy's: trace, debug, info, warning, error, critical or off. Empty is warning.
	LogLevel string
	// ExtraArgs are further arguments for Envoy.
	ExtraArgs []string
	// Stdout and Stderr get what Envoy writes: access logs that go to standard output, and its own log. They may be nil.
	// Writes never overlap, also where the two are one. Access logs are flushed ten times a second.
	Stdout, Stderr io.Writer
	// Options say where Envoy is found; nil means as [FromEnvironment] says.
	Options *Options
}

// Process is a running Envoy.
type Process struct {
	*child
	admin     string
	listeners map[string]string
}

// Start runs Envoy and returns when it is ready: every listener is bound and /ready of its admin says LIVE. It
// waits no longer than ctx, which does not end the Envoy that it returns; Stop does.
func Start(ctx context.Context, config Config) (*Process, error) {
	program, err := Find(ctx, config.options())
	if err != nil {
		return nil, err
	}
	bootstrap, err := rewrite(config.Bootstrap, config.Addresses)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "kasbah-envoy-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }() // Envoy reads its bootstrap once
	file := filepath.Join(folder, "bootstrap.yaml")
	if err := os.WriteFile(file, bootstrap, 0o600); err != nil {
		return nil, err
	}
	adminFile := filepath.Join(folder, "admin")
	args := []string{
		"--config-path", file, "--admin-address-path", adminFile, "--disable-hot-restart", // so that several run at once
		"--concurrency", strconv.Itoa(max(config.Concurrency, 1)),
		"--log-level", orDefault(config.LogLevel, "warning"), "--file-flush-interval-msec", "100",
	}
	command := exec.Command(program, append(args, config.ExtraArgs...)...)
	command.SysProcAttr = attributes(false)
	running, err := spawn(command, syscall.SIGTERM, config.Stdout, config.Stderr)
	if err != nil {
		return nil, err
	}
	p := &Process{child: running}
	if err := p.ready(ctx, adminFile); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

func (c Config) options() Options {
	if c.Options != nil {
		return *c.Options
	}
	return FromEnvironment()
}

func orDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// Admin returns the address of Envoy's admin interface, host:port.
func (p *Process) Admin() string { return p.admin }

// Listener returns the host:port at which the listener of that name can be reached from this machine, empty where
// there is no such listener.
func (p *Process) Listener(name string) string { return p.listeners[name] }

// Listeners returns the addresses of all listeners by name.
func (p *Process) Listeners() map[string]string { return maps.Clone(p.listeners) }

// Validate asks Envoy whether it would start with that bootstrap; it listens nowhere. The error holds what
// Envoy says is wrong.
func Validate(ctx context.Context, options Options, bootstrap []byte) error {
	program, err := Find(ctx, options)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "kasbah-envoy-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	file := filepath.Join(folder, "bootstrap.yaml")
	if err := os.WriteFile(file, bootstrap, 0o600); err != nil {
		return err
	}
	var out bytes.Buffer
	command := exec.Command(program, "--mode", "validate", "--config-path", file, "--log-level", "warning")
	command.SysProcAttr = attributes(false)
	running, err := spawn(command, syscall.SIGTERM, &out, &out)
	if err != nil {
		return err
	}
	defer running.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-running.Done():
	}
	if !command.ProcessState.Success() {
		return fmt.Errorf("the bootstrap is not valid: %s", bytes.TrimSpace(out.Bytes()))
	}
	if text := out.String(); strings.Contains(text, "deprecated") {
		return fmt.Errorf("the bootstrap uses what Envoy will drop: %s", strings.TrimSpace(text))
	}
	return nil
}

// TB is what [Run] and its siblings need of a *testing.T or *testing.B.
type TB interface {
	Helper()
	Cleanup(func())
	Context() context.Context
	Failed() bool
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// How long a program may take to start. An installation before it is not counted.
const startTimeout = time.Minute

// Run starts Envoy for a test, fails the test where it cannot, and stops Envoy when the test ends. The end of
// Envoy's output is logged if the test failed, and an Envoy that ended by itself fails it.
func Run(t TB, config Config) *Process {
	t.Helper()
	options := config.options()
	program, err := Find(t.Context(), options)
	if err != nil {
		t.Fatalf("%v", err)
	}
	options.Envoy = program
	config.Options = &options
	ctx, cancel := context.WithTimeoutCause(t.Context(), startTimeout, errors.New("it did not start within a minute"))
	defer cancel()
	p, err := Start(ctx, config)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { finish(t, p.child) })
	return p
}

// finish stops a test's program.
func finish(t TB, c *child) {
	t.Helper()
	died := c.Err()
	c.Stop()
	if died != nil {
		t.Fatalf("%v", died)
	}
	if t.Failed() {
		t.Logf("the output of %s ends with:\n%s", c.name, c.Output())
	}
}
