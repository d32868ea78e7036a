package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
)

const signingKeysUsage = `Usage: kasbah signing-keys create|rotate|list [--file FILE] [FLAGS]

Keeps the private keys that sign the tokens of internal_token, in the file that its keys.file names. A server that reads the
file takes a change within a second.

  create   makes the file, with a first key that signs at once
  rotate   adds a key: it is published at once, and signs after --activate, when every verifier has it; the keys before it stay
           published for --keep after that, and the next rotate drops those that have ended
  list     shows the keys, without what is secret

`

const (
	// defaultActivate is how long a new key is published before it signs: verifiers keep a set for five minutes, and some for longer.
	defaultActivate = time.Hour
	defaultKeep     = time.Hour
	// leastKeep lets every token that a key has signed end before the key does.
	leastKeep = keys.MaxInternalLifetime + time.Minute
)

// signingKeyCommand is what is asked of the signing keys.
type signingKeyCommand struct {
	verb, file, algorithm string
	activate, keep        time.Duration
	now                   time.Time
}

// signingKeys keeps the keys that sign tokens of our own.
func signingKeys(_ context.Context, args []string, std streams) int {
	flags := flag.NewFlagSet("kasbah signing-keys", flag.ContinueOnError)
	c := signingKeyCommand{now: time.Now().UTC().Truncate(time.Second)}
	flags.StringVar(&c.file, "file", "signing-keys.json", "the keys' `file`")
	flags.StringVar(&c.algorithm, "algorithm", "", "what the new key signs with, "+strings.Join(keys.SigningAlgorithms(), ", ")+"; the default is ES256, and at rotate that of the last key")
	flags.DurationVar(&c.activate, "activate", defaultActivate, "how long a new key is published before it signs, at rotate")
	flags.DurationVar(&c.keep, "keep", defaultKeep, "how long the keys before it stay published after that, at rotate")
	flags.Usage = func() {
		fmt.Fprint(std.err, signingKeysUsage)
		flags.PrintDefaults()
	}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		c.verb, args = args[0], args[1:]
	}
	if code, ok := parseAlone(flags, args, std); !ok {
		return code
	}
	if err := c.check(); err != nil {
		fmt.Fprintln(std.err, "kasbah signing-keys:", err)
		return exitUsage
	}
	if err := c.run(std.out); err != nil {
		fmt.Fprintln(std.err, err)
		return exitFindings
	}
	return exitOK
}

func (c *signingKeyCommand) check() error {
	switch {
	case !slices.Contains([]string{"create", "rotate", "list"}, c.verb):
		return fmt.Errorf("say what to do: create, rotate or list, not %q", c.verb)
	case c.algorithm != "" && !slices.Contains(keys.SigningAlgorithms(), c.algorithm):
		return fmt.Errorf("--algorithm is one of %s", strings.Join(keys.SigningAlgorithms(), ", "))
	case c.activate < 0:
		return errors.New("--activate is negative")
	case c.keep < leastKeep:
		return fmt.Errorf("--keep is at least %v, so that no key ends before what it has signed", leastKeep)
	}
	return nil
}

func (c *signingKeyCommand) run(out io.Writer) error {
	if c.verb == "list" {
		before, err := c.read()
		if err != nil {
			return err
		}
		return c.list(before, out)
	}
	unlock, err := lockFile(c.file)
	if err != nil {
		return err
	}
	defer unlock()
	before, err := c.read()
	switch missing := errors.Is(err, fs.ErrNotExist); {
	case c.verb == "create" && err == nil:
		return fmt.Errorf("%s is there already; rotate adds a key", c.file)
	case c.verb == "create" && missing:
		before, c.activate = &keys.SigningKeys{}, 0
	case err != nil:
		return err
	}
	algorithm := c.algorithm
	if all := before.All(); algorithm == "" && len(all) > 0 {
		algorithm = all[len(all)-1].Algorithm
	} else if algorithm == "" {
		algorithm = "ES256"
	}
	after, err := before.Rotate(algorithm, c.now, c.now.Add(c.activate), c.keep)
	if err != nil {
		return err
	}
	text, err := after.Format()
	if err != nil {
		return err
	}
	return replaceFile(c.file, text)
}

func (c *signingKeyCommand) read() (*keys.SigningKeys, error) {
	text, err := os.ReadFile(c.file)
	if err != nil {
		return nil, err
	}
	all, err := keys.ReadSigningKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.file, err)
	}
	return all, nil
}

func (c *signingKeyCommand) list(all *keys.SigningKeys, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tALGORITHM\tCREATED\tSIGNS FROM\tPUBLISHED UNTIL\tSTATE")
	current := all.Current(c.now)
	for _, key := range all.All() {
		state := "published"
		switch {
		case key == current:
			state = "signs"
		case c.now.Before(key.Signs):
			state = "waits"
		case !key.Ends.IsZero() && !c.now.Before(key.Ends):
			state = "ended"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", key.ID, key.Algorithm, timeOrDash(key.Created), timeOrDash(key.Signs), timeOrDash(key.Ends), state)
	}
	return table.Flush()
}

func timeOrDash(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format(time.RFC3339)
}
