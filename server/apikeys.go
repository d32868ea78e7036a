package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystore"
	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/proto/config"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// apiKeys reads a file of API keys, and says where in it a fault is that the keys' constructor finds.
func (c *compiler) apiKeys(path string) (*configv1.ApiKeyFile, func(error) error, error) {
	data, err := c.files.read(path)
	if err != nil {
		return nil, nil, err
	}
	file, findings := config.LoadKeys(c.files.resolve(path), data)
	if file == nil {
		c.findings = append(c.findings, findings[1:]...)
		return nil, nil, findings[0]
	}
	return file.Keys(), func(err error) error { return file.Finding("", err) }, nil
}

// keyTable returns the table of API keys that a store names. No database is asked: what follows the table does so.
func (c *compiler) keyTable(message *configv1.ApiKeyStore) (keys.Table, error) {
	at, err := c.keyTableConfig(message)
	if err != nil {
		return keys.Table{}, err
	}
	return keys.Table{
		ID: at, Source: at.Source(),
		Reader:   func(ctx context.Context) (keys.TableReader, error) { return keystore.Reader(ctx, at) },
		Recorder: func(ctx context.Context) (keys.UseRecorder, error) { return keystore.Recorder(ctx, at) },
	}, nil
}

func (c *compiler) keyTableConfig(message *configv1.ApiKeyStore) (keystore.Config, error) {
	at := keystore.Config{Table: message.GetSqlite().GetTable()}
	if sqlite := message.GetSqlite(); sqlite != nil {
		at.SQLite = c.files.resolve(sqlite.GetPath())
	} else {
		url, err := c.secret(message.GetPostgres().GetUrl())
		if err != nil {
			return at, err
		}
		at.Postgres, at.Table = string(url), message.GetPostgres().GetTable()
	}
	return at, at.Check()
}

// KeyStore is where the API keys of a provider are: in a file, or in a table of a database.
type KeyStore struct {
	File  string // empty: Table has them
	Table keystore.Config
}

// FindKeyStore returns where the configuration says that the API keys of a provider are; of the only provider with API keys
// where none is named. Of the Config it needs Path, and LookupEnv as a Server does.
func FindKeyStore(cfg Config, provider string) (KeyStore, error) {
	c, findings := newCompiler(cfg.Path, inputs{files: newFiles(), env: cfg.LookupEnv})
	if c == nil {
		return KeyStore{}, findings
	}
	var found *configv1.ApiKeyStore
	var names []string
	for i, message := range c.document.Config().GetProviders() {
		store := message.GetApiKey().GetStore()
		if store == nil || provider != "" && message.GetName() != provider {
			continue
		}
		if names = append(names, message.GetName()); len(names) > 1 {
			continue
		}
		found = store
		if store.GetFile() != "" {
			continue
		}
		if _, err := c.keyTableConfig(store); err != nil {
			return KeyStore{}, c.document.Finding(fmt.Sprintf("providers[%d]", i), &policy.FieldError{Field: "api_key.store", Err: err})
		}
	}
	switch {
	case len(names) == 0:
		return KeyStore{}, fmt.Errorf("%s has no such provider with API keys", cfg.Path)
	case len(names) > 1:
		return KeyStore{}, errors.New("say with --provider which keys are meant, those of " + strings.Join(names, " or "))
	case found.GetFile() != "":
		return KeyStore{File: c.files.resolve(found.GetFile())}, nil
	}
	at, err := c.keyTableConfig(found)
	return KeyStore{Table: at}, err
}
