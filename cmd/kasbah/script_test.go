package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/testdata"
)

// leakChecked is the tests and, when they passed, a check that none of them left a goroutine.
type leakChecked struct{ *testing.M }

func (l leakChecked) Run() int {
	code := l.M.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestMain gives the scripts a command kasbah: this program's own main, in a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"kasbah": main})
}

// TestScripts runs testdata/*.txtar: one story each, of one command and its failures. It fails when there is none.
//
// Beside testscript's own, a script has these commands:
//
//	exits CODE COMMAND [ARGUMENT…]      runs it and demands this exit code
//	await PATTERN COMMAND [ARGUMENT…]   runs it until it exits with 0 and its output matches
//	reserve NAME…                       sets each variable to an address of this machine that is free
//	signal TERM|HUP                     sends it to the command in the background
//
// and the files of testdata/demo, with a jwks.json beside them.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		Setup:               copyDemo,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "await": awaitOutput, "reserve": reserve, "signal": signalBackground,
		},
	})
}

// copyDemo makes the folder "demo" of a script.
func copyDemo(env *testscript.Env) error {
	folder := filepath.Join(env.WorkDir, "demo")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	return writeDemo(folder)
}

// writeDemo writes the demo's files into a folder, and the key set of an issuer that nobody runs.
func writeDemo(folder string) error {
	issuer, err := keystest.New("https://issuer.example")
	if err != nil {
		return err
	}
	files := map[string][]byte{"jwks.json": issuer.JWKS()}
	for _, name := range []string{"kasbah.yaml", "model.conf", "policy.csv", "policy_test.yaml"} {
		if files[name], err = testdata.Demo(name); err != nil {
			return err
		}
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func exits(script *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) < 2 {
		script.Fatalf("usage: exits CODE COMMAND [ARGUMENT…]")
	}
	want, err := strconv.Atoi(args[0])
	script.Check(err)
	code := 0
	var exit *exec.ExitError
	if err := script.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		script.Check(err)
	}
	if code != want {
		script.Fatalf("exit %d, want %d", code, want)
	}
}

// patience is how long a script waits for what must come.
const patience = 30 * time.Second

func awaitOutput(script *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) < 2 {
		script.Fatalf("usage: await PATTERN COMMAND [ARGUMENT…]")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	script.Check(err)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(patience); script.Exec(args[1], args[2:]...) != nil || !pattern.MatchString(script.ReadFile("stdout")); {
		select {
		case <-tick.C:
		case <-limit:
			script.Fatalf("no %q within %s", args[0], patience)
		}
	}
}

func reserve(script *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) == 0 {
		script.Fatalf("usage: reserve NAME…")
	}
	for _, name := range args {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		script.Check(err)
		defer listener.Close() // after all of them are known, so that they differ
		script.Setenv(name, listener.Addr().String())
	}
}

func signalBackground(script *testscript.TestScript, negated bool, args []string) {
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	running := script.BackgroundCmds()
	if negated || len(args) != 1 || signals[args[0]] == 0 || len(running) != 1 {
		script.Fatalf("usage: signal TERM|HUP, with one command in the background")
	}
	script.Check(running[0].Process.Signal(signals[args[0]]))
}
