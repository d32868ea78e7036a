package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kasbah-authz/kasbah/keys"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// leastImported is the shortest key of another service that is taken, in bytes: a plain hash of a shorter one could be
// guessed by whoever reads the file.
const leastImported = 24

// change does what the command says, and returns the key to show, if there is one.
func (c *keyCommand) change(ctx context.Context, store keyStore, in io.Reader) (key string, err error) {
	switch c.verb {
	case "create":
		if key, c.id, err = keys.NewAPIKey(c.environment, ""); err != nil {
			return "", err
		}
	case "import":
		if key, err = readKey(in); err != nil {
			return "", err
		}
	}
	err = store.Change(ctx, c.id, func(before *configv1.ApiKeyEntry) (after *configv1.ApiKeyEntry, err error) {
		switch {
		case c.verb == "create" || c.verb == "import":
			after, err = c.add(before, key)
		case before == nil:
			err = fmt.Errorf("%s has no key %s", c.where(), c.id)
		case c.verb == "revoke":
			after = proto.CloneOf(before)
			after.Revoked = cmp.Or(before.GetRevoked(), c.now.Format(time.RFC3339))
		default:
			after, key, err = c.rotate(before)
		}
		if err != nil {
			return nil, err
		}
		_, err = formatKeys(c.where(), &configv1.ApiKeyFile{Keys: []*configv1.ApiKeyEntry{after}})
		return after, err
	})
	if err != nil || c.verb == "import" {
		return "", err
	}
	return key, nil
}

func (c *keyCommand) add(before *configv1.ApiKeyEntry, key string) (*configv1.ApiKeyEntry, error) {
	if before != nil {
		return nil, fmt.Errorf("%s has a key %s already", c.where(), c.id)
	}
	entry := &configv1.ApiKeyEntry{
		Id: c.id, Owner: c.owner, Roles: c.roles, Scopes: c.scopes, Addresses: c.addresses, Expires: c.expires,
		Secrets: []*configv1.ApiKeySecret{{Sha256: keys.HashAPIKey(key)}}, Created: c.now.Format(time.RFC3339),
	}
	if entry.Imported = c.verb == "import"; !entry.Imported {
		entry.Environment = c.environment
	}
	return entry, nil
}

// rotate gives a key another secret. The one before it ends with the grace, and one that was ending already ends now.
func (c *keyCommand) rotate(before *configv1.ApiKeyEntry) (*configv1.ApiKeyEntry, string, error) {
	if before.GetRevoked() != "" || before.GetImported() {
		return nil, "", fmt.Errorf("the key %s was revoked or imported, and is not rotated; create another one", c.id)
	}
	if len(before.GetSecrets()) == 0 {
		return nil, "", errors.New("the key has no secret to rotate")
	}
	entry := proto.CloneOf(before)
	key, _, err := keys.NewAPIKey(cmp.Or(entry.GetEnvironment(), "live"), c.id)
	if err != nil {
		return nil, "", err
	}
	old := entry.Secrets[len(entry.Secrets)-1]
	entry.Secrets = []*configv1.ApiKeySecret{{Sha256: keys.HashAPIKey(key)}}
	if c.grace > 0 {
		old.Expires = c.now.Add(c.grace).Format(time.RFC3339)
		entry.Secrets = append([]*configv1.ApiKeySecret{old}, entry.Secrets...)
	}
	return entry, key, nil
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
