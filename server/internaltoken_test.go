package server_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
)

// signingKeys returns the text of a file with a key of that algorithm, which signs.
func signingKeys(t *testing.T, algorithm string) string {
	t.Helper()
	begun := time.Now().Add(-time.Minute)
	all, err := (&keys.SigningKeys{}).Rotate(algorithm, begun, begun, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	text, err := all.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The public service has the keys and where they are, as the configuration in force has them, and nothing private. Keys that do not
// load leave those before them in force.
func TestPublishedKeys(t *testing.T) {
	with := strings.NewReplacer("server: {", `server: {public: "127.0.0.1:0", `, "providers:", "internal_token: {issuer: https://kasbah.internal, audiences: [a], keys: {file: signing-keys.json}}\nproviders:",
		"authorize: orders", "authorize: orders\n  internal_token: true").Replace(configText)
	f := start(t, map[string]string{"kasbah.yaml": with, "signing-keys.json": signingKeys(t, "ES256")})
	get := func(path string) (status int, document map[string]any, text string) {
		t.Helper()
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Get("http://" + f.server.PublicAddr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode == http.StatusOK {
			if err := json.Unmarshal(body, &document); err != nil {
				t.Fatal(err)
			}
			if got := response.Header.Get("Cache-Control") + " " + response.Header.Get("Content-Type"); got != "public, max-age=300 application/json" {
				t.Errorf("%s: %s", path, got)
			}
		}
		return response.StatusCode, document, string(body)
	}
	algorithm := func() string {
		_, set, text := get("/.well-known/jwks.json")
		list, _ := set["keys"].([]any)
		if len(list) != 1 {
			t.Fatalf("published: %s", text)
		}
		key, _ := list[0].(map[string]any)
		for name := range key {
			if !strings.Contains(" alg crv e kid kty n use x y ", " "+name+" ") {
				t.Errorf("the member %s is published", name)
			}
		}
		name, _ := key["alg"].(string)
		return name
	}
	if got := algorithm(); got != "ES256" {
		t.Errorf("published: %s", got)
	}
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		_, document, text := get(path)
		if document["issuer"] != "https://kasbah.internal" || document["jwks_uri"] != "https://kasbah.internal/.well-known/jwks.json" {
			t.Errorf("%s: %s", path, text)
		}
	}
	f.replace("signing-keys.json", `{"keys":[]}`)
	await(t, "the broken keys to be refused", func() bool { return f.server.Refused() > 0 })
	if got := algorithm(); got != "ES256" {
		t.Errorf("with broken keys on disk: %s", got)
	}
	f.replace("signing-keys.json", signingKeys(t, "EdDSA"))
	await(t, "other keys to be published", func() bool { return algorithm() == "EdDSA" })
	if got := f.metric(`kasbah_internal_tokens_total{outcome="minted"}`); got != "0" {
		t.Errorf("minted: %q", got)
	}
	f.replace("kasbah.yaml", strings.Replace(configText, "server: {", `server: {public: "127.0.0.1:0", `, 1))
	await(t, "the keys to be gone", func() bool { status, _, _ := get("/.well-known/jwks.json"); return status == http.StatusNotFound })
	if status, _, _ := get("/.well-known/openid-configuration"); status != http.StatusNotFound {
		t.Errorf("discovery without tokens: %d", status)
	}
}
