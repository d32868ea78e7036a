package server

import (
	"fmt"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/expression"
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

// validates returns the stages that look at the bodies of a route and at its rules, none where there is nothing to look at.
func (c *compiler) validates(prefix string, message *configv1.Route) []policy.Stage {
	var stages []policy.Stage
	if message.GetBody() != nil {
		validator, err := schema.New(schema.Config{Body: message.GetBody(), Schema: c.schemas[message.GetValidate()]})
		if err != nil {
			c.fault(prefix+".body", err)
			return nil
		}
		stages = append(stages, validator)
	}
	if len(message.GetRules()) == 0 {
		return stages
	}
	rules := make([]schema.Rule, len(message.GetRules()))
	for i, rule := range message.GetRules() {
		holds, err := expression.Predicate(rule.GetExpression())
		if err != nil {
			c.syntax(fmt.Sprintf("%s.rules[%d].expression", prefix, i), err)
		}
		rules[i] = schema.Rule{
			ID: rule.GetId(), Holds: holds, Message: rule.GetMessage(),
			Reported: rule.GetMode() == configv1.ValidationMode_VALIDATION_MODE_REPORT,
		}
	}
	return append(stages, schema.NewRules(rules))
}
