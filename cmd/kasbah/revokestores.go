package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystore"
	"github.com/kasbah-authz/kasbah/proto/config"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
	"github.com/kasbah-authz/kasbah/server"
)

// revocations is where it stands what is withdrawn.
type revocations interface {
	keys.RevocationReader
	// Add withdraws what one window says of a name; Remove takes back everything of it, and reports whether there was anything.
	Add(ctx context.Context, name keys.RevocationName, window keys.RevocationWindow, now time.Time) error
	Remove(ctx context.Context, name keys.RevocationName, now time.Time) (was bool, err error)
}

func openRevocations(ctx context.Context, at server.RevocationsAt) (revocations, error) {
	if at.File != "" {
		return revocationFile(at.File), nil
	}
	return keystore.OpenRevocations(ctx, at.Store)
}

// makeRevocationFile makes a file that withdraws nothing, where there is none.
func makeRevocationFile(path string) error {
	text, err := config.FormatRevocations(&configv1.RevocationFile{})
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}

// revocationFile is the path of a file of revocations.
type revocationFile string

// Close does nothing: the file is open only while it is read or written.
func (revocationFile) Close() {}

// Read implements revocations.
func (f revocationFile) Read(_ context.Context, since keys.RevocationState, row func(keys.Revocation, error)) (keys.RevocationState, bool, error) {
	records, err := f.read()
	for _, record := range records {
		row(record, nil)
	}
	return since, true, err
}

func (f revocationFile) read() ([]keys.Revocation, error) {
	data, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; kasbah revoke init makes it", err)
	}
	if err != nil {
		return nil, err
	}
	file, findings := config.LoadRevocations(string(f), data)
	if file == nil {
		return nil, findings
	}
	records, err := keys.RevocationsOf(file.Revocations())
	if err != nil {
		return nil, file.Finding("", err)
	}
	return records, nil
}

// Add implements revocations.
func (f revocationFile) Add(_ context.Context, name keys.RevocationName, window keys.RevocationWindow, now time.Time) error {
	return f.change(name, now, func(before []keys.RevocationWindow) []keys.RevocationWindow {
		return keys.MergeRevocations(before, window)
	})
}

// Remove implements revocations.
func (f revocationFile) Remove(_ context.Context, name keys.RevocationName, now time.Time) (was bool, err error) {
	err = f.change(name, now, func(before []keys.RevocationWindow) []keys.RevocationWindow {
		was = len(before) > 0
		return nil
	})
	return was, err
}

// change gives the windows of a name to a function, and writes the file with what it returns, without what is over.
func (f revocationFile) change(name keys.RevocationName, now time.Time, change func([]keys.RevocationWindow) []keys.RevocationWindow) error {
	if _, err := os.Stat(string(f)); err != nil { // before a lock is left in a folder that was not meant
		_, err = f.read()
		return err
	}
	unlock, err := lockFile(string(f))
	if err != nil {
		return err
	}
	defer unlock()
	records, err := f.read()
	if err != nil {
		return err
	}
	for i := range records {
		records[i].Windows = slices.DeleteFunc(records[i].Windows, func(w keys.RevocationWindow) bool { return w.Over(now) })
	}
	at := slices.IndexFunc(records, func(r keys.Revocation) bool { return r.Name == name })
	if at < 0 {
		at = len(records)
		records = append(records, keys.Revocation{Name: name})
	}
	records[at].Windows = change(records[at].Windows)
	text, err := config.FormatRevocations(revocationMessage(records))
	if err != nil {
		return err
	}
	if file, findings := config.LoadRevocations(string(f), text); file == nil {
		return findings // of what the command was given
	}
	return replaceFile(string(f), text)
}

// revocationMessage is the reverse of keys.RevocationsOf.
func revocationMessage(records []keys.Revocation) *configv1.RevocationFile {
	file := &configv1.RevocationFile{}
	for _, record := range records {
		for _, w := range record.Windows {
			entry := &configv1.RevokedCredentials{Issuer: record.Issuer, Before: formatTime(w.Before), Until: formatTime(w.Until)}
			switch record.Claim {
			case "jti":
				entry.Jti = record.Value
			case "sid":
				entry.Sid = record.Value
			case "sub":
				entry.Sub = record.Value
			}
			file.Revoked = append(file.Revoked, entry)
		}
	}
	return file
}

// formatTime keeps all of a time; instant is for reading it.
func formatTime(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}
