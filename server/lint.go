package server

import (
	"context"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// Lint loads the configuration as a Server would, and returns all that this brings up; where it loads, also which of its
// rules have no effect, which takes too long for every reload. Of the Config it needs Path and Now, and LookupEnv as
// a Server does. It reads every table that the configuration names, once, and waits no longer for them than ctx.
func Lint(ctx context.Context, cfg Config) policy.Findings {
	snapshot, findings := compileOnce(ctx, cfg, nil)
	if snapshot == nil {
		return findings
	}
	return append(findings, lintEnforcers(snapshot.enforcers)...)
}

// lintEnforcers returns what the enforcers find of their rules. A policy that several share, as under a model with several
// matchers, may have rules that are there for one of them, so that only what each of them finds of a rule counts.
func lintEnforcers(enforcers map[string]*enforcer.Enforcer) policy.Findings {
	sharing := map[string]int{}           // how many enforcers there are, by the policy's file
	first := map[string]policy.Findings{} // what the first of them found
	found := map[policy.Position]int{}    // how many of them found something in a line
	for _, name := range sortedKeys(enforcers) {
		file, findings := policyFile(enforcers[name]), enforcers[name].Lint()
		if sharing[file]++; sharing[file] == 1 {
			first[file] = findings
		}
		lines := map[policy.Position]bool{}
		for _, finding := range findings {
			lines[lineOf(finding)] = true
		}
		for line := range lines {
			found[line]++
		}
	}
	var common policy.Findings
	for _, file := range sortedKeys(first) {
		for _, finding := range first[file] {
			if found[lineOf(finding)] == sharing[file] {
				common = append(common, finding)
			}
		}
	}
	return common
}

func lineOf(finding *policy.Finding) policy.Position {
	return policy.Position{File: finding.File, Line: finding.Line}
}

// policyFile returns the file that the enforcer's rules are in, or the table; nothing where there are none.
func policyFile(e *enforcer.Enforcer) string {
	for rule := range e.All() {
		return rule.File
	}
	return ""
}
