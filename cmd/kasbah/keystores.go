package main

import (
	"context"
	"errors"
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

// keyStore is where keys are kept.
type keyStore interface {
	// List gives each key to a function, with the time of its last use, empty where none is known.
	List(ctx context.Context, show func(entry *configv1.ApiKeyEntry, used string) error) error
	// Change gives the key of that id, nil where there is none, to a function, and keeps what it returns. Nobody else changes
	// it in between. An error of the function changes nothing.
	Change(ctx context.Context, id string, change func(before *configv1.ApiKeyEntry) (*configv1.ApiKeyEntry, error)) error
	Close()
}

// open returns the store that the flags name. A file may be missing where a key is added.
func (c *keyCommand) open(ctx context.Context) (keyStore, error) {
	at := server.KeyStore{File: c.file}
	if c.config != "" {
		var err error
		if at, err = server.FindKeyStore(server.Config{Path: c.config, LookupEnv: os.LookupEnv}, c.provider); err != nil {
			return nil, err
		}
	}
	switch {
	case c.verb == "init" && at.File != "":
		return nil, errors.New("a file of keys needs no init; create makes it")
	case c.verb == "init":
		return nil, keystore.Init(ctx, at.Table)
	case at.File != "":
		return &keyFile{path: at.File, mayBeMissing: c.verb == "create" || c.verb == "import"}, nil
	}
	return keystore.Open(ctx, at.Table)
}

// keyFile is a file of keys.
type keyFile struct {
	path         string
	mayBeMissing bool
}

// Close does nothing: the file is open only while it is read or written.
func (*keyFile) Close() {}

// List implements keyStore. Nobody records uses in a file.
func (f *keyFile) List(_ context.Context, show func(*configv1.ApiKeyEntry, string) error) error {
	file, err := f.read()
	if err != nil {
		return err
	}
	for _, entry := range file.GetKeys() {
		if err := show(entry, ""); err != nil {
			return err
		}
	}
	return nil
}

// Change implements keyStore.
func (f *keyFile) Change(_ context.Context, id string, change func(*configv1.ApiKeyEntry) (*configv1.ApiKeyEntry, error)) error {
	unlock, err := lockFile(f.path)
	if err != nil {
		return err
	}
	defer unlock()
	file, err := f.read()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(file.Keys, func(e *configv1.ApiKeyEntry) bool { return e.GetId() == id })
	var before *configv1.ApiKeyEntry
	if at >= 0 {
		before = file.Keys[at]
	}
	after, err := change(before)
	if err != nil {
		return err
	}
	if at < 0 {
		file.Keys = append(file.Keys, after)
	} else {
		file.Keys[at] = after
	}
	return writeKeys(f.path, file)
}

func (f *keyFile) read() (*configv1.ApiKeyFile, error) {
	data, err := os.ReadFile(f.path)
	if f.mayBeMissing && errors.Is(err, fs.ErrNotExist) {
		return &configv1.ApiKeyFile{}, nil
	}
	if err != nil {
		return nil, err
	}
	file, findings := config.LoadKeys(f.path, data)
	if file == nil {
		return nil, findings
	}
	return file.Keys(), nil
}

// formatKeys returns the text of a file of those keys, if it is one that a server would take.
func formatKeys(path string, file *configv1.ApiKeyFile) ([]byte, error) {
	text, err := config.FormatKeys(file)
	if err != nil {
		return nil, err
	}
	written, findings := config.LoadKeys(path, text)
	if written == nil {
		return nil, findings // of what the command was given: an owner that is too long, and the like
	}
	return text, keys.CheckAPIKeys(written.Keys())
}

// writeKeys replaces the file at once, so that a server never reads half of it.
func writeKeys(path string, file *configv1.ApiKeyFile) error {
	text, err := formatKeys(path, file)
	if err != nil {
		return err
	}
	return replaceFile(path, text)
}

// usedAt shows a last use as exactly as it is known: to the minute.
func usedAt(used string) string {
	at, err := time.Parse(time.RFC3339, used)
	if err != nil {
		return "-"
	}
	return at.UTC().Format("2006-01-02T15:04Z")
}
