package table

import (
	"fmt"
	"regexp"
	"strings"
)

// DefaultName is the table that Casbin's adapters create where they are told nothing else.
const DefaultName = "casbin_rule"

// identifier is a name that each of the databases takes in quotes, as it is. PostgreSQL cuts names after 63 bytes.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]{0,62}$`)

// quote returns a table's name, or its schema's and its own with a dot between them, as SQL: always in quotes, so that
// it means that name and nothing else.
func quote(name string) (string, error) {
	parts := strings.Split(name, ".")
	if len(parts) > 2 {
		return "", fmt.Errorf("the table name %q has more than one dot; write table or schema.table", name)
	}
	for i, part := range parts {
		if !identifier.MatchString(part) {
			return "", fmt.Errorf("the table name %q is not made of letters, digits, _ and $, up to 63 of them", name)
		}
		parts[i] = `"` + part + `"`
	}
	return strings.Join(parts, "."), nil
}
