package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/server"
)

// finding is a policy.Finding as --json prints it, one object a line.
type finding struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Level   string `json:"level"`
	Message string `json:"message"`
}

// lint loads each configuration as the server would, without listening, and prints what that brings up.
func lint(ctx context.Context, args []string, std streams) int {
	flags := flag.NewFlagSet("kasbah lint", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print one JSON object a line for each finding")
	flags.Usage = func() {
		fmt.Fprint(std.err, "Usage: kasbah lint [--json] FILE…\n\nChecks configurations and every model, policy and key set that they name; reads tables of databases too.\nOf what loads, it also finds rules and role links that have no effect.\nExits with 1 when a finding is an error.\n\n")
		flags.PrintDefaults()
	}
	if code, ok := parse(flags, args, std); !ok {
		return code
	}
	if flags.NArg() == 0 {
		fmt.Fprintln(std.err, "kasbah lint: name at least one configuration file")
		return exitUsage
	}
	code := exitOK
	for _, path := range flags.Args() {
		findings := server.Lint(ctx, server.Config{Path: path, Now: time.Now, LookupEnv: os.LookupEnv})
		if findings.Err() != nil {
			code = exitFindings
		}
		for _, f := range findings {
			if err := printFinding(std, f, *asJSON); err != nil {
				fmt.Fprintln(std.err, "kasbah lint:", err)
				return exitUsage
			}
		}
	}
	return code
}

func printFinding(std streams, f *policy.Finding, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(std.out).Encode(finding{f.File, f.Line, f.Column, f.Level.String(), f.Message})
	}
	_, err := fmt.Fprintln(std.out, f)
	return err
}
