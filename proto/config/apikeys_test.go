package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/proto/config"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const aSecret = "d024fa05fd20f39dccff77f6b6dbd644db369f40b43c58db9824bfe83f0966c5"

// TestKeyFilesFindings: what is wrong in a file of keys is found with its place, and shows no more of it than that.
func TestKeyFilesFindings(t *testing.T) {
	for text, want := range map[string]string{
		"":           "k.yaml: error: the file is empty",
		"keys: []\n": "k.yaml:1:7: error: the list is empty",
		"keys:\n- id: a\n  owner: b\n  secrets: [{sha256: " + aSecret + "}]\n":                      "",
		"keys:\n- id: a\n  owner: b\n":                                                              "k.yaml:2:3: error: keys[0].secrets: must contain at least 1 item(s)",
		"keys:\n- id: a\n  owner: b\n  secrets: [{sha256: kb_live_x_y}]\n":                          "k.yaml:4:22: error: keys[0].secrets[0].sha256: ",
		"keys:\n- id: a b\n  owner: b\n  secrets: [{sha256: " + aSecret + "}]\n":                    "k.yaml:2:7: error: keys[0].id: ",
		"keys:\n- id: a\n  owner: b\n  secret: [{sha256: " + aSecret + "}]\n":                       `did you mean "secrets"?`,
		"keys:\n- id: a\n  owner: b\n  revoked: yes\n  secrets: [{sha256: x}]\n":                    "keys[0].secrets[0].sha256",
		"keys:\n- id: a\n  owner: b\n  secrets:\n" + strings.Repeat("  - sha256: "+aSecret+"\n", 3): "must contain no more than 2 item(s)",
		"keys:\n" + strings.Repeat("- id: a\n", 10_001):                                             "at most 10000",
	} {
		file, findings := config.LoadKeys("k.yaml", []byte(text))
		if (file == nil) != (want != "") || want != "" && !strings.Contains(findings.Error(), want) {
			t.Errorf("%.80q: %.200s, want %q", text, findings.Error(), want)
		}
		if strings.Contains(findings.Error(), "kb_live_x_y") {
			t.Errorf("a key that stands in the place of a hash is shown: %v", findings)
		}
	}
}

// TestKeyFilesAreReadAsWritten: what is written is read as the same, whatever the texts in it look like to YAML.
func TestKeyFilesAreReadAsWritten(t *testing.T) {
	text := rapid.StringMatching(`[ -~é]{1,20}|yes|null|~|1e3|0x1f|[0-9:]{1,8}|- a|# b|"c|'d'|\{e\}`)
	rapid.Check(t, func(t *rapid.T) {
		keys := &configv1.ApiKeyFile{}
		for range rapid.IntRange(1, 4).Draw(t, "keys") {
			keys.Keys = append(keys.Keys, &configv1.ApiKeyEntry{
				Id: rapid.StringMatching(`[0-9A-Za-z][0-9A-Za-z._-]{0,11}`).Draw(t, "id"), Owner: text.Draw(t, "owner"),
				Roles: rapid.SliceOfN(text, 0, 3).Draw(t, "roles"), Expires: rapid.SampledFrom([]string{"", "2027-01-01T00:00:00Z"}).Draw(t, "expires"),
				Secrets:  []*configv1.ApiKeySecret{{Sha256: aSecret}},
				Imported: rapid.Bool().Draw(t, "imported"),
			})
		}
		written, err := config.FormatKeys(keys)
		if err != nil {
			t.Fatal(err)
		}
		read, findings := config.LoadKeys("k.yaml", written)
		if read == nil {
			t.Fatalf("%v\n%s", findings, written)
		}
		if diff := cmp.Diff(keys, read.Keys(), protocmp.Transform()); diff != "" {
			t.Fatalf("%s\n%s", diff, written)
		}
	})
}

func FuzzLoadKeys(f *testing.F) {
	f.Add([]byte("keys:\n- id: a\n  owner: b\n  secrets: [{sha256: " + aSecret + "}]\n"))
	f.Add([]byte("keys: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, findings := config.LoadKeys("k.yaml", data)
		if (file == nil) != (findings.Err() != nil) {
			t.Fatalf("a file is %v, and the findings are\n%v", file != nil, findings)
		}
	})
}
