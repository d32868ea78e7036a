package server_test

import (
	"context"
	"database/sql"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
	"github.com/kasbah-authz/kasbah/server"
	"github.com/kasbah-authz/kasbah/server/servertest"
	"github.com/kasbah-authz/kasbah/testdata"
)

func enforcersAt(t *testing.T, folder string) (map[string]*enforcer.Enforcer, policy.Findings) {
	t.Helper()
	return server.Enforcers(t.Context(), server.Config{Path: filepath.Join(folder, servertest.ConfigFile), Now: time.Now})
}

// writeOrders writes the small system into a folder of its own, without its keys and with those files instead.
func writeOrders(t *testing.T, instead map[string]string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	files := servertest.Orders(testIssuer(t))
	delete(files, "jwks.json")
	for name, text := range instead {
		files[name] = text
	}
	for name, text := range files {
		servertest.Write(t, filepath.Join(folder, name), text)
	}
	return folder
}

// verdict asks the enforcer "orders" whether a reader may read.
func verdict(t *testing.T, enforcers map[string]*enforcer.Enforcer) policy.Outcome {
	t.Helper()
	e := enforcers["orders"]
	if e == nil || len(enforcers) != 1 {
		t.Fatalf("the enforcers are %v", enforcers)
	}
	reader := &policy.Principal{ID: "alice", Provider: "test"}
	outcome, err := e.Evaluate(t.Context(), &policy.Request{Method: "GET", Path: "/orders/7"}, reader)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

// TestEnforcers: they are the configuration's own, and need no keys.
func TestEnforcers(t *testing.T) {
	folder := writeOrders(t, nil)
	enforcers, findings := enforcersAt(t, folder)
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	outcome := verdict(t, enforcers)
	if outcome.Verdict != policy.Permitted || outcome.Rule.File != filepath.Join(folder, "policy.csv") {
		t.Errorf("%+v", outcome)
	}
}

// TestEnforcersFindWhatLintFinds: a fault in what an enforcer is made of is found with the words of every other loader.
func TestEnforcersFindWhatLintFinds(t *testing.T) {
	config := servertest.Orders(testIssuer(t))[servertest.ConfigFile]
	for name, broken := range map[string]map[string]string{
		"policy":     {"policy.csv": "p, reader\n"},
		"model":      {"model.conf": "[matchers]\nm = (\n"},
		"expression": {servertest.ConfigFile: replaceOnce(t, config, "roles: principal.roles\nroutes", "roles: principal.rolls\nroutes")},
		"no file":    {servertest.ConfigFile: replaceOnce(t, config, "policy.csv", "gone.csv")},
		"shape":      {servertest.ConfigFile: replaceOnce(t, config, "enforcers:", "enforcerz:")},
		"no table":   {servertest.ConfigFile: replaceOnce(t, config, "{file: policy.csv}", "{sqlite: {path: gone.db}}")},
	} {
		folder := writeOrders(t, broken)
		enforcers, findings := enforcersAt(t, folder)
		if enforcers != nil || findings.Err() == nil {
			t.Errorf("%s: %v", name, findings)
			continue
		}
		servertest.Write(t, filepath.Join(folder, "jwks.json"), string(testIssuer(t).JWKS()))
		linted := server.Lint(t.Context(), server.Config{Path: filepath.Join(folder, servertest.ConfigFile), Client: &http.Client{}, Now: time.Now})
		for _, finding := range findings {
			if !strings.Contains(linted.Error(), finding.Error()) {
				t.Errorf("%s: %v, and lint finds\n%v", name, finding, linted)
			}
		}
	}
	enforcers, findings := enforcersAt(t, t.TempDir())
	if enforcers != nil || findings.Err() == nil {
		t.Errorf("without a configuration: %v", findings)
	}
}

// TestEnforcersOfTables: the rules may stand in a database.
func TestEnforcersOfTables(t *testing.T) {
	config := servertest.Orders(testIssuer(t))[servertest.ConfigFile]
	folder := writeOrders(t, map[string]string{servertest.ConfigFile: replaceOnce(t, config, "{file: policy.csv}", "{sqlite: {path: policy.db}}")})
	db, err := sql.Open("sqlite", filepath.Join(folder, "policy.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `
		CREATE TABLE casbin_rule (id INTEGER PRIMARY KEY, ptype TEXT, v0 TEXT, v1 TEXT, v2 TEXT, v3 TEXT, v4 TEXT, v5 TEXT);
		INSERT INTO casbin_rule (id, ptype, v0, v1, v2) VALUES (7, 'p', 'alice', '/orders/:id', 'GET')`); err != nil {
		t.Fatal(err)
	}
	enforcers, findings := enforcersAt(t, folder)
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	if outcome := verdict(t, enforcers); outcome.Verdict != policy.Permitted || outcome.Rule.Line != 7 {
		t.Errorf("%+v", outcome)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cfg := server.Config{Path: filepath.Join(folder, servertest.ConfigFile), Now: time.Now, Client: &http.Client{}}
	if ended, findings := server.Enforcers(ctx, cfg); ended != nil || findings.Err() == nil {
		t.Errorf("a table is read after the end: %v", findings)
	}
	if findings := server.Lint(ctx, cfg); findings.Err() == nil {
		t.Errorf("lint reads a table after the end: %v", findings)
	}
	if x, findings := server.Explain(ctx, cfg, &policy.Request{}, &policy.Principal{}); x != nil || findings.Err() == nil {
		t.Errorf("explain reads a table after the end: %v", findings)
	}
}

// TestEnforcersOfTheDemo: the demo's suite can be run from the files that are embedded.
func TestEnforcersOfTheDemo(t *testing.T) {
	folder := t.TempDir()
	if err := os.CopyFS(folder, testdata.Files()); err != nil {
		t.Fatal(err)
	}
	enforcers, findings := enforcersAt(t, filepath.Join(folder, "demo"))
	if len(findings) > 0 || enforcers["orders"].Rules() != 9 {
		t.Errorf("%v, %v", enforcers, findings)
	}
}
