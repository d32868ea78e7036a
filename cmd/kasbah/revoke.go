package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/kasbah-authz/kasbah/proto/config"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const revokeUsage = `Usage: kasbah revoke --file FILE --jti ID|--sid ID|--sub NAME [--issuer URL] [FLAGS]
       kasbah revoke --file FILE --issuer URL [FLAGS]

Withdraws credentials before their end, in the file that revocations.file of the configuration names: one token, those of a
session, of a subject or of an issuer. Of a subject or an issuer it withdraws what was issued until now, so that whoever
logs in again is let in; with --all, everything as long as the entry stands. A server that reads the file takes a change within
a second. Entries whose --until is over are dropped.

`

// revoke adds one entry to a file of revocations.
func revoke(_ context.Context, args []string, std streams) int {
	flags := flag.NewFlagSet("kasbah revoke", flag.ContinueOnError)
	entry := &configv1.RevokedCredentials{}
	now := time.Now().UTC().Truncate(time.Second)
	file := flags.String("file", "revoked.yaml", "the `file` of revocations")
	all := flags.Bool("all", false, "withdraw what is issued from now on, too")
	flags.StringVar(&entry.Jti, "jti", "", "a token's `id`")
	flags.StringVar(&entry.Sid, "sid", "", "a session's `id`")
	flags.StringVar(&entry.Sub, "sub", "", "a subject's `name`, or an API key's owner")
	flags.StringVar(&entry.Issuer, "issuer", "", "the issuer's `URL`, as tokens have it")
	flags.StringVar(&entry.Until, "until", "", "when the entry is of no use any more: a `time` such as 2027-01-01T00:00:00Z, or a number of days such as 30d")
	flags.Usage = func() {
		fmt.Fprint(std.err, revokeUsage)
		flags.PrintDefaults()
	}
	if code, ok := parse(flags, args, std); !ok {
		return code
	}
	until, err := readEnd(entry.GetUntil(), now)
	if err == nil && flags.NArg() > 0 {
		err = errors.New("it takes no arguments behind its flags")
	}
	if err != nil {
		fmt.Fprintln(std.err, "kasbah revoke:", err)
		return exitUsage
	}
	if entry.Until = until; !*all && entry.GetJti() == "" && entry.GetSid() == "" {
		entry.Before = now.Format(time.RFC3339)
	}
	if err := addRevocation(*file, entry, now); err != nil {
		fmt.Fprintln(std.err, err)
		return exitFindings
	}
	return exitOK
}

// addRevocation writes the file with one entry more, which may be its first.
func addRevocation(path string, entry *configv1.RevokedCredentials, now time.Time) error {
	unlock, err := lockFile(path)
	if err != nil {
		return err
	}
	defer unlock()
	revocations := &configv1.RevocationFile{}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		file, findings := config.LoadRevocations(path, data)
		if file == nil {
			return findings
		}
		revocations = file.Revocations()
	}
	revocations.Revoked = slices.DeleteFunc(revocations.Revoked, func(old *configv1.RevokedCredentials) bool {
		end, err := time.Parse(time.RFC3339, old.GetUntil())
		return err == nil && !now.Before(end)
	})
	revocations.Revoked = append(revocations.Revoked, entry)
	text, err := config.FormatRevocations(revocations)
	if err != nil {
		return err
	}
	if file, findings := config.LoadRevocations(path, text); file == nil {
		return findings // of what the command was given
	}
	return replaceFile(path, text)
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
