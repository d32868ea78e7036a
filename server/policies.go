package server

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kasbah-authz/kasbah/policy/enforcer"
	"github.com/kasbah-authz/kasbah/policy/table"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// policy reads the rules of an enforcer into its settings.
func (c *compiler) policy(prefix string, message *configv1.Policy, cfg *enforcer.Config) {
	switch source := message.GetSource().(type) {
	case *configv1.Policy_Postgres:
		dsn, err := c.secret(source.Postgres.GetUrl())
		if err != nil {
			c.fault(prefix+".postgres.url", err)
			return
		}
		at := table.Config{Postgres: dsn, Table: source.Postgres.GetTable(), Poll: source.Postgres.GetPoll().AsDuration()}
		cfg.Table = c.table(prefix+".postgres", at)
	case *configv1.Policy_Sqlite:
		at := table.Config{SQLite: c.files.resolve(source.Sqlite.GetPath()), Table: source.Sqlite.GetTable(), Poll: source.Sqlite.GetPoll().AsDuration()}
		cfg.Table = c.table(prefix+".sqlite", at)
	default:
		cfg.Policy = c.text(prefix, message)
	}
}

func (c *compiler) table(prefix string, at table.Config) *enforcer.Table {
	read, err := c.tables.table(at)
	if err != nil {
		c.fault(prefix, err)
	}
	return read
}

// secret reads a text that stands outside of the configuration. No error quotes it, nor what may be it in the wrong place.
func (c *compiler) secret(message *configv1.Secret) (table.Secret, error) {
	var text string
	if name := message.GetEnv(); name != "" {
		value, ok := "", false
		if c.env != nil {
			value, ok = c.env(name)
		}
		if !ok {
			return "", fmt.Errorf("the environment has no variable %s", name)
		}
		text = value
	} else {
		file := message.GetFile()
		if strings.Contains(file, "://") || strings.Contains(file, "password=") {
			return "", errors.New("file is the path of a file that holds the secret, and this looks like the secret itself")
		}
		data, err := c.files.read(file)
		if err != nil {
			return "", err
		}
		text = string(data)
	}
	if text = strings.TrimSpace(text); text == "" {
		return "", errors.New("the secret is empty")
	}
	return table.Secret(text), nil
}

// checkShrink refuses a policy that has lost most of its rules. That is what is seen of a file or a table that somebody is
// still writing, or that was emptied by mistake.
func (c *compiler) checkShrink(prefix string, message *configv1.Enforcer, rules int) {
	if c.before == nil || message.GetAllowShrink() {
		return
	}
	if before := c.before.rules(message.GetName()); before > 2*rules {
		c.fault(prefix+".policy", fmt.Errorf("the policy has %d rules, and the one in force has %d; one that loses more than half of its rules is refused unless the enforcer has allow_shrink: true", rules, before))
	}
}
