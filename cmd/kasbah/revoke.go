package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystore"
	"github.com/kasbah-authz/kasbah/server"
)

const revokeUsage = `Usage: kasbah revoke [--config FILE | --file FILE] --jti ID|--sid ID|--sub NAME [--issuer URL] [FLAGS]
       kasbah revoke [--config FILE | --file FILE] --issuer URL [FLAGS]
       kasbah revoke [--config FILE | --file FILE] --list
       kasbah revoke init [--config FILE | --file FILE]

Withdraws credentials before their end, in the store that revocations of the configuration names, or in a file: one token, those of a
session, of a subject or of an issuer. Of a subject or an issuer it withdraws what was issued until now, by a clock that
may be --leeway ahead, so that whoever logs in again after that is let in; with --all, everything as long as the entry stands. A
server that follows the store takes a change within a second. Entries that are over, or that another one covers, are dropped.

  init       makes the store; a file, too
  --list     shows what is withdrawn
  --remove   takes back what is withdrawn by that name, whatever its times

`

// revokeCommand is what is asked of the revocations.
type revokeCommand struct {
	init, list, remove, all             bool
	file, config                        string
	jti, sid, sub, issuer, before, tail string
	leeway                              time.Duration
	now                                 time.Time

	name   keys.RevocationName
	window keys.RevocationWindow
}

// revoke changes a store of revocations.
func revoke(ctx context.Context, args []string, std streams) int {
	flags := flag.NewFlagSet("kasbah revoke", flag.ContinueOnError)
	c := revokeCommand{now: time.Now().UTC().Truncate(time.Second)}
	flags.StringVar(&c.file, "file", "revoked.yaml", "the `file` of revocations")
	flags.StringVar(&c.config, "config", "", "the configuration `file` that says where the revocations are, in place of --file")
	flags.BoolVar(&c.list, "list", false, "show what is withdrawn")
	flags.BoolVar(&c.remove, "remove", false, "take back what is withdrawn by that name")
	flags.BoolVar(&c.all, "all", false, "withdraw what is issued from now on, too")
	flags.StringVar(&c.jti, "jti", "", "a token's `id`")
	flags.StringVar(&c.sid, "sid", "", "a session's `id`")
	flags.StringVar(&c.sub, "sub", "", "a subject's `name`, or an API key's owner")
	flags.StringVar(&c.issuer, "issuer", "", "the issuer's `URL`, as tokens have it")
	flags.StringVar(&c.before, "before", "", "of a subject or an issuer, withdraw what was issued until then: a `time` such as 2027-01-01T00:00:00Z by the issuer's clock, in place of now and --leeway")
	flags.DurationVar(&c.leeway, "leeway", 30*time.Second, "how far the issuer's clock may be ahead of this one")
	flags.StringVar(&c.tail, "until", "", "when the entry is of no use any more: a `time` such as 2027-01-01T00:00:00Z, or a number of days such as 30d")
	flags.Usage = func() {
		fmt.Fprint(std.err, revokeUsage)
		flags.PrintDefaults()
	}
	if len(args) > 0 && args[0] == "init" {
		c.init, args = true, args[1:]
	}
	if code, ok := parse(flags, args, std); !ok {
		return code
	}
	if err := c.check(flags.Args()); err != nil {
		fmt.Fprintln(std.err, "kasbah revoke:", err)
		return exitUsage
	}
	if err := c.run(ctx, std.out); err != nil {
		fmt.Fprintln(std.err, err)
		return exitFindings
	}
	return exitOK
}

// check reads what the flags say.
func (c *revokeCommand) check(args []string) error {
	c.name = keys.RevocationName{Claim: "iss", Issuer: c.issuer}
	named := 0
	for claim, value := range map[string]string{"jti": c.jti, "sid": c.sid, "sub": c.sub} {
		if value != "" {
			c.name.Claim, c.name.Value = claim, value
			named++
		}
	}
	dated := c.name.Claim == "sub" || c.name.Claim == "iss"
	switch {
	case len(args) > 0:
		return errors.New("it takes no arguments behind its flags")
	case c.init || c.list:
		if named > 0 || c.issuer != "" || c.remove || c.init && c.list {
			return errors.New("init and --list are about all entries")
		}
		return nil
	case named > 1 || named == 0 && c.issuer == "":
		return errors.New("name one of jti, sid and sub, or an issuer alone")
	case c.before != "" && (c.all || !dated):
		return errors.New("--before is for a subject or an issuer, without --all")
	case c.remove && (c.before != "" || c.tail != "" || c.all):
		return errors.New("--remove takes back all entries of the name, whatever their times")
	case c.leeway < 0:
		return errors.New("--leeway is negative")
	}
	if err := c.name.Check(); err != nil {
		return err
	}
	return c.times(dated)
}

func (c *revokeCommand) times(dated bool) error {
	if dated && !c.all {
		c.window.Before = c.now.Add(c.leeway)
	}
	if c.before != "" {
		at, err := time.Parse(time.RFC3339, c.before)
		if err != nil {
			return fmt.Errorf("--before: %q is no time such as 2027-01-01T00:00:00Z", c.before)
		}
		c.window.Before = at.UTC()
	}
	end, err := readEnd(c.tail, c.now)
	if err != nil {
		return fmt.Errorf("--until: %w", err)
	}
	if end != "" {
		if c.window.Until, err = time.Parse(time.RFC3339, end); err != nil {
			return err
		}
	}
	if c.window.Over(c.now) {
		return errors.New("--until is over already")
	}
	return nil
}

func (c *revokeCommand) run(ctx context.Context, out io.Writer) error {
	at := server.RevocationsAt{File: c.file}
	if c.config != "" {
		var err error
		if at, err = server.FindRevocations(server.Config{Path: c.config, LookupEnv: os.LookupEnv}); err != nil {
			return err
		}
	}
	if c.init {
		if at.File != "" {
			return makeRevocationFile(at.File)
		}
		return keystore.InitRevocations(ctx, at.Store)
	}
	store, err := openRevocations(ctx, at)
	if err != nil {
		return err
	}
	defer store.Close()
	switch {
	case c.list:
		return listRevocations(ctx, store, out)
	case c.remove:
		was, err := store.Remove(ctx, c.name, c.now)
		if err == nil && !was {
			err = errors.New("nothing is withdrawn by that name; --list shows what is, and an entry with an issuer is another one than an entry without")
		}
		return err
	}
	return store.Add(ctx, c.name, c.window, c.now)
}

// listRevocations prints what is withdrawn, in the order of names.
func listRevocations(ctx context.Context, store revocations, out io.Writer) error {
	var all []keys.Revocation
	_, _, err := store.Read(ctx, keys.RevocationState{}, func(record keys.Revocation, _ error) { all = append(all, record) })
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b keys.Revocation) int {
		return cmp.Or(cmp.Compare(a.Claim, b.Claim), cmp.Compare(a.Value, b.Value), cmp.Compare(a.Issuer, b.Issuer))
	})
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "BY\tVALUE\tISSUER\tISSUED\tUNTIL")
	for _, record := range all {
		for _, w := range record.Windows {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", record.Claim, cell(record.Value, "-"), cell(record.Issuer, "any"), instant(w.Before, "any time"), instant(w.Until, "removed"))
		}
	}
	return table.Flush()
}

// cell shows a text so that it stays in its cell.
func cell(text, otherwise string) string {
	switch {
	case text == "":
		return otherwise
	case strconv.Quote(text) != `"`+text+`"` || strings.Contains(text, " "):
		return strconv.Quote(text)
	}
	return text
}

func instant(at time.Time, otherwise string) string {
	if at.IsZero() {
		return otherwise
	}
	return at.UTC().Format(time.RFC3339)
}

// readEnd reads a time, or a number of days from now.
func readEnd(text string, now time.Time) (string, error) {
	days, ok := strings.CutSuffix(text, "d")
	if !ok {
		if _, err := time.Parse(time.RFC3339, text); text != "" && err != nil {
			return "", fmt.Errorf("%q is neither a time such as 2027-01-01T00:00:00Z nor a number of days such as 90d", text)
		}
		return text, nil
	}
	var count int
	if _, err := fmt.Sscanf(days, "%d", &count); err != nil || count < 1 || count > 36500 || fmt.Sprint(count) != days {
		return "", fmt.Errorf("%q is no number of days such as 90d", text)
	}
	return now.AddDate(0, 0, count).Format(time.RFC3339), nil
}
