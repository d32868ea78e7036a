// Kasbah is the authorization service behind Envoy. See the README, or run it without arguments.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes of every command.
const (
	exitOK       = 0
	exitFindings = 1 // findings, a failed expectation, a fault while running
	exitUsage    = 2 // wrong usage
)

// command is one subcommand.
type command struct {
	name, summary string
	run           func(ctx context.Context, args []string, std streams) int
}

// streams are what a command reads and writes: results on out, talk on err.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func commands() []command {
	return []command{
		{"serve", "answer Envoy's questions", serve},
		{"lint", "check configurations, models and policies", lint},
		{"test", "run the tests of policies", policyTest},
		{"explain", "say why one request is allowed or denied", explain},
		{"keys", "make, list, rotate and revoke API keys", apiKeys},
		{"signing-keys", "make, list and rotate the keys of Kasbah's own tokens", signingKeys},
		{"revoke", "withdraw tokens, sessions, subjects or all of an issuer", revoke},
		{"demo", "run Envoy, Kasbah, an issuer and an upstream on this machine", runDemo},
		{"bench", "measure a whole check through Envoy beside a server that does nothing", bench},
		{"probe", "ask a running Kasbah whether it is ready, for health checks", probe},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, std streams) int {
	if len(args) == 0 {
		usage(std.err)
		return exitUsage
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(std.out)
		return exitOK
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(ctx, args[1:], std)
		}
	}
	fmt.Fprintf(std.err, "kasbah: there is no command %q\n\n", args[0])
	usage(std.err)
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Kasbah is the authorization service behind Envoy.\n\nUsage: kasbah COMMAND [FLAGS]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-12s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nkasbah COMMAND -h lists the flags of a command.\n")
}

// parse reads the flags of a command. With ok false the command is over, with that exit code.
func parse(flags *flag.FlagSet, args []string, std streams) (code int, ok bool) {
	flags.SetOutput(std.err)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK, false
	case err != nil:
		return exitUsage, false
	}
	return exitOK, true
}

// parseAlone is parse for a command without arguments.
func parseAlone(flags *flag.FlagSet, args []string, std streams) (code int, ok bool) {
	if code, ok := parse(flags, args, std); !ok {
		return code, false
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(std.err, "%s: unexpected argument %q\n", flags.Name(), flags.Arg(0))
		return exitUsage, false
	}
	return exitOK, true
}
