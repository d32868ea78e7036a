package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/proto/config"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// leastImported is the shortest key of another service that is taken, in bytes: a plain hash of a shorter one could be
// guessed by whoever reads the file.
const leastImported = 24

// readKeys reads a file of keys. It may be missing where a key is added.
func readKeys(path string, mayBeMissing bool) (*configv1.ApiKeyFile, error) {
	data, err := os.ReadFile(path)
	if mayBeMissing && errors.Is(err, fs.ErrNotExist) {
		return &configv1.ApiKeyFile{}, nil
	}
	if err != nil {
		return nil, err
	}
	file, findings := config.LoadKeys(path, data)
	if file == nil {
		return nil, findings
	}
	return file.Keys(), nil
}

// change does what the command says, and returns the key to show, if there is one.
func (c *keyCommand) change(file *configv1.ApiKeyFile, in io.Reader) (key string, err error) {
	at := slices.IndexFunc(file.Keys, func(e *configv1.ApiKeyEntry) bool { return e.GetId() == c.id })
	switch c.verb {
	case "create":
		if key, c.id, err = keys.NewAPIKey(c.environment, ""); err != nil {
			return "", err
		}
		entry := c.entry(key)
		entry.Environment = c.environment
		file.Keys = append(file.Keys, entry)
		return key, nil
	case "import":
		if at >= 0 {
			return "", fmt.Errorf("%s has a key %s already", c.file, c.id)
		}
		imported, err := readKey(in)
		if err != nil {
			return "", err
		}
		entry := c.entry(imported)
		entry.Imported = true
		file.Keys = append(file.Keys, entry)
		return "", nil
	}
	if at < 0 {
		return "", fmt.Errorf("%s has no key %s", c.file, c.id)
	}
	entry := file.Keys[at]
	if c.verb == "revoke" {
		if entry.Revoked == "" {
			entry.Revoked = c.now.Format(time.RFC3339)
		}
		return "", nil
	}
	return c.rotate(entry)
}

func (c *keyCommand) entry(key string) *configv1.ApiKeyEntry {
	return &configv1.ApiKeyEntry{
		Id: c.id, Owner: c.owner, Roles: c.roles, Scopes: c.scopes, Addresses: c.addresses, Expires: c.expires,
		Secrets: []*configv1.ApiKeySecret{{Sha256: keys.HashAPIKey(key)}},
	}
}

// rotate gives a key another secret. The one before it ends with the grace, and one that was ending already ends now.
func (c *keyCommand) rotate(entry *configv1.ApiKeyEntry) (string, error) {
	if entry.GetRevoked() != "" || entry.GetImported() {
		return "", fmt.Errorf("the key %s was revoked or imported, and is not rotated; create another one", c.id)
	}
	key, _, err := keys.NewAPIKey(cmp.Or(entry.GetEnvironment(), "live"), c.id)
	if err != nil {
		return "", err
	}
	before := entry.Secrets[len(entry.Secrets)-1]
	entry.Secrets = []*configv1.ApiKeySecret{{Sha256: keys.HashAPIKey(key)}}
	if c.grace > 0 {
		before.Expires = c.now.Add(c.grace).Format(time.RFC3339)
		entry.Secrets = append([]*configv1.ApiKeySecret{before}, entry.Secrets...)
	}
	return key, nil
}

// readKey reads a key of another service from one line, so that it is never among the arguments of a process.
func readKey(in io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(in, 1<<10))
	key := strings.TrimRight(string(text), "\r\n")
	if err != nil || len(key) < leastImported || len(key) > 512 || strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", fmt.Errorf("the standard input holds no key of %d to 512 characters without spaces, in one line", leastImported)
	}
	return key, nil
}

// writeKeys replaces the file at once, so that a server never reads half of it.
func writeKeys(path string, file *configv1.ApiKeyFile) error {
	text, err := config.FormatKeys(file)
	if err != nil {
		return err
	}
	written, findings := config.LoadKeys(path, text)
	if written == nil {
		return findings // of what the command was given: an owner that is too long, and the like
	}
	if err := keys.CheckAPIKeys(written.Keys()); err != nil {
		return err
	}
	return replaceFile(path, text)
}

// replaceFile puts another text into a file at once. Its mode stays; a new file is its owner's.
func replaceFile(path string, text []byte) error {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".kasbah-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(text)
	if err = errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
