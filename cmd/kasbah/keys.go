package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const keysUsage = `Usage: kasbah keys init|create|list|rotate|revoke|import [--config FILE [--provider NAME] | --file FILE] [FLAGS] [ID]

Keeps the API keys of a provider, in the file or the database that its api_key.store names, or in a file. A key is shown
once, when it is made: the store has its hash only. A server that reads the store takes a change within a second.

  init                   makes the table, where a database is to have the keys; a file needs no init
  create --owner NAME    makes a key, and prints it
  list                   shows the keys, without what is secret
  rotate ID              makes a second secret for a key, and prints the key; the old one is good for --grace more
  revoke ID              withdraws a key
  import --owner NAME    takes a key of another service from the standard input

`

// keyCommand is what is asked of the keys.
type keyCommand struct {
	verb, file, config, provider, id, owner, environment, expires string
	roles, scopes, addresses                                      list
	grace                                                         time.Duration
	now                                                           time.Time
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// apiKeys keeps API keys.
func apiKeys(ctx context.Context, args []string, std streams) int {
	flags := flag.NewFlagSet("kasbah keys", flag.ContinueOnError)
	c := keyCommand{now: time.Now().UTC().Truncate(time.Second)}
	flags.StringVar(&c.file, "file", "api-keys.yaml", "the keys' `file`")
	flags.StringVar(&c.config, "config", "", "the configuration `file` that says where the keys are, in place of --file")
	flags.StringVar(&c.provider, "provider", "", "with --config, the `name` of the provider, where there are several with API keys")
	flags.StringVar(&c.owner, "owner", "", "the principal's id, a `name`")
	flags.StringVar(&c.id, "id", "", "a `name` for a key that is imported")
	flags.StringVar(&c.environment, "environment", "live", "what the key is for, a `word` that stands in it")
	flags.StringVar(&c.expires, "expires", "", "when the key ends: a `time` such as 2027-01-01T00:00:00Z, or a number of days such as 90d")
	flags.DurationVar(&c.grace, "grace", 24*time.Hour, "how long the old secret is good after rotate")
	flags.Var(&c.roles, "role", "a `name`; may be given several times")
	flags.Var(&c.scopes, "scope", "a `name`; may be given several times")
	flags.Var(&c.addresses, "address", "an address or `block` that the key may be used from; may be given several times")
	flags.Usage = func() {
		fmt.Fprint(std.err, keysUsage)
		flags.PrintDefaults()
	}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		c.verb, args = args[0], args[1:]
	}
	if code, ok := parse(flags, args, std); !ok {
		return code
	}
	if err := c.check(flags.Args()); err != nil {
		fmt.Fprintln(std.err, "kasbah keys:", err)
		return exitUsage
	}
	if err := c.run(ctx, std); err != nil {
		fmt.Fprintln(std.err, err)
		return exitFindings
	}
	return exitOK
}

// check takes the arguments behind the flags.
func (c *keyCommand) check(args []string) error {
	wantsID := c.verb == "rotate" || c.verb == "revoke"
	switch {
	case !slices.Contains([]string{"init", "create", "list", "rotate", "revoke", "import"}, c.verb):
		return fmt.Errorf("say what to do: init, create, list, rotate, revoke or import, not %q", c.verb)
	case wantsID && len(args) != 1, !wantsID && len(args) > 0:
		return fmt.Errorf("%s takes %d arguments behind its flags", c.verb, map[bool]int{true: 1}[wantsID])
	case (c.verb == "create" || c.verb == "import") && c.owner == "":
		return errors.New("--owner says who sends the key")
	case (c.verb == "import") == (c.id == ""):
		return errors.New("--id names the key that is imported, and only that; a key of ours makes its own")
	case c.provider != "" && c.config == "":
		return errors.New("--provider is one of the configuration that --config names")
	case c.grace < 0:
		return errors.New("--grace is negative")
	}
	if wantsID {
		c.id = args[0]
	}
	end, err := readEnd(c.expires, c.now)
	if err != nil {
		return fmt.Errorf("--expires: %w", err)
	}
	c.expires = end
	return nil
}

// where names the store in messages.
func (c *keyCommand) where() string {
	if c.config != "" {
		return "the store of " + c.config
	}
	return c.file
}

func (c *keyCommand) run(ctx context.Context, std streams) error {
	store, err := c.open(ctx)
	if err != nil || c.verb == "init" {
		return err
	}
	defer store.Close()
	if c.verb == "list" {
		return c.list(ctx, store, std.out)
	}
	key, err := c.change(ctx, store, std.in)
	if err == nil && key != "" { // last, so that no key is shown that is not in force
		_, err = fmt.Fprintln(std.out, key)
	}
	return err
}

// list prints the keys.
func (c *keyCommand) list(ctx context.Context, store keyStore, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tOWNER\tROLES\tSCOPES\tADDRESSES\tSECRETS\tEXPIRES\tCREATED\tUSED\tSTATE")
	err := store.List(ctx, func(entry *configv1.ApiKeyEntry, used string) error {
		state := "good"
		switch at, err := time.Parse(time.RFC3339, entry.GetExpires()); {
		case entry.GetRevoked() != "":
			state = "revoked " + entry.GetRevoked()
		case err == nil && !c.now.Before(at):
			state = "expired"
		}
		_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", entry.GetId(), entry.GetOwner(), orDash(entry.GetRoles()), orDash(entry.GetScopes()),
			orDash(entry.GetAddresses()), len(entry.GetSecrets()), orDash(strings.Fields(entry.GetExpires())), orDash(strings.Fields(entry.GetCreated())), usedAt(used), state)
		return err
	})
	return errors.Join(err, table.Flush())
}

func orDash(words []string) string {
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ",")
}
