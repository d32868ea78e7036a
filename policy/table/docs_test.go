package table_test

import (
	"os"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy/table"
)

// TestDocsShowTheTriggers as they are.
func TestDocsShowTheTriggers(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/policy-sources.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "```sql\n"+table.NotifySQL+"```\n") || len(table.NotifySQL) < 1000 {
		t.Error("docs/policy-sources.md does not show notify.sql as it is")
	}
}
