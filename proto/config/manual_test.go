package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	manualSource = "../kasbah/config/v1"
	manualFile   = "../../docs/configuration.md"
	manualHead   = `# The configuration file

Made from the comments of [the schema](../proto/kasbah/config/v1) by a test of package proto/config; run it with
` + "`-update`" + ` after a change. Names are written as they stand here; durations as ` + "`200ms`, `5s`, `24h`" + `; values of an enum in lower case
without their prefix (` + "`level: debug`" + `). Unknown fields, duplicate keys, empty texts and empty lists are errors.

Expressions are [CEL](https://cel.dev) over these variables:

| variable | |
|---|---|
| request.id, .method, .scheme, .host, .path, .protocol | texts; host without port, path decoded and without query |
| request.query | parameters by name; one that is repeated is an error, which denies |
| request.headers | header values by name; one that is a list is an error, which denies |
| request.header_values | lists of header values by name, split at commas |
| request.params | what the wildcards of the route's path stood for |
| request.size, request.time | bytes of the body as stated, -1 if not; when the request came |
| principal.id, .provider, .issuer, .subject, .tenant | texts, empty for nobody |
| principal.roles, .scopes | lists of texts |
| principal.claims | the claims of the verified token, by name |
| principal.anonymous, .expires | whether nobody was authenticated; when the credential ends |
| source.address, .port, .principal; destination.… | the two ends of the connection as Envoy saw them |
| attributes | Envoy's context_extensions |
| metadata | Envoy's dynamic metadata, by namespace |

An error in an expression denies the request, but for a claim that the token lacks in ` + "`headers`, `query` and `response_headers`" + `, which
leaves that value out.
`
)

var (
	manualMessage = regexp.MustCompile(`^(?:message|enum) (\w+) \{`)
	manualField   = regexp.MustCompile(`^\s+(?:(repeated) )?([\w.]+|map<string, string>) (\w+) = \d+`)
	manualValue   = regexp.MustCompile(`^\s+([A-Z][A-Z0-9_]+) = \d+`)
)

// schema returns the .proto files of the configuration, its own first. Those of other files are not among them.
func schema(t *testing.T) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(manualSource, "*.proto"))
	if err != nil {
		t.Fatal(err)
	}
	texts := make([]string, 1, len(paths)+1)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		switch filepath.Base(path) {
		case "apikeys.proto", "revocations.proto":
		case "config.proto":
			texts[0] = string(data)
		default:
			texts = append(texts, string(data))
		}
	}
	return strings.Join(texts, "\n")
}

// manual turns the schema's comments into the manual.
func manual(schema string) string {
	var out strings.Builder
	out.WriteString(manualHead)
	comment := ""
	for line := range strings.Lines(schema) {
		text, isComment := strings.CutPrefix(strings.TrimSpace(line), "//")
		switch {
		case isComment:
			comment += text
		case manualMessage.MatchString(line):
			fmt.Fprintf(&out, "\n## %s\n\n%s\n\n| field | type | |\n|---|---|---|\n", manualMessage.FindStringSubmatch(line)[1], strings.TrimSpace(comment))
			comment = ""
		case manualField.MatchString(line):
			match := manualField.FindStringSubmatch(line)
			kind := strings.TrimPrefix(match[2], "google.protobuf.")
			if match[1] != "" {
				kind = "list of " + kind
			}
			fmt.Fprintf(&out, "| %s | %s | %s |\n", match[3], kind, cell(comment))
			comment = ""
		case manualValue.MatchString(line):
			fmt.Fprintf(&out, "| %s | | %s |\n", manualValue.FindStringSubmatch(line)[1], cell(comment))
			comment = ""
		default:
			comment = ""
		}
	}
	return out.String()
}

func cell(comment string) string {
	return strings.ReplaceAll(strings.TrimSpace(comment), "|", "\\|")
}

// TestManual: docs/configuration.md says what the schema's comments say.
func TestManual(t *testing.T) {
	want := manual(schema(t))
	if strings.Count(want, "\n| ") < 60 || strings.Contains(want, "|  |") {
		t.Fatalf("the manual of the schema has holes:\n%s", want)
	}
	if *update {
		if err := os.WriteFile(manualFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(manualFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/configuration.md is not what the schema says; run go test ./proto/config -run Manual -update (-want +got):\n%s", diff)
	}
}
