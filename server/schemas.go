package server

import (
	"fmt"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
	"github.com/kasbah-authz/kasbah/proto/schema"
)

func (c *compiler) compileSchemas(messages []*configv1.Schema) map[string]*schema.Schema {
	schemas := make(map[string]*schema.Schema, len(messages))
	for i, message := range messages {
		compiled, err := schema.Compile(message, c.files.read)
		if err != nil {
			c.fault(fmt.Sprintf("schemas[%d]", i), err)
			continue
		}
		schemas[message.GetName()] = compiled
	}
	return schemas
}

// validates returns the stage that looks at the bodies of a route, none where nobody does.
func (c *compiler) validates(prefix string, message *configv1.Route) []policy.Stage {
	if message.GetBody() == nil {
		return nil
	}
	validator, err := schema.New(schema.Config{Body: message.GetBody(), Schema: c.schemas[message.GetValidate()]})
	if err != nil {
		c.fault(prefix+".body", err)
		return nil
	}
	return []policy.Stage{validator}
}
