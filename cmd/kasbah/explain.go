package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
	"github.com/kasbah-authz/kasbah/policy/suite"
	"github.com/kasbah-authz/kasbah/server"
)

const explainUsage = `Usage: kasbah explain --config FILE --request FILE [--expect allow|deny] [--json]

Says what the configuration makes of one request, and why: the rule or rules that decided, the role path that led to
them, and for a denial the rules that one condition keeps from matching. The request's file has a principal, who is
taken to be who it says, and a request, both as in the suites of kasbah test:

  principal: {id: alice, roles: [reader]}
  request: GET /orders/7

Exits with 1 when the decision is not what --expect says, with 2 when a file cannot be read.

`

// explain decides one request from files, and says why.
func explain(ctx context.Context, args []string, std streams) int {
	flags := flag.NewFlagSet("kasbah explain", flag.ContinueOnError)
	config := flags.String("config", "kasbah.yaml", "the configuration's `file`")
	request := flags.String("request", "", "the request's `file`")
	expect := flags.String("expect", "", "the `effect` that is expected: allow or deny")
	asJSON := flags.Bool("json", false, "print one JSON object")
	flags.Usage = func() {
		fmt.Fprint(std.err, explainUsage)
		flags.PrintDefaults()
	}
	if code, ok := parseAlone(flags, args, std); !ok {
		return code
	}
	if *request == "" || *expect != "" && *expect != policy.Allow.String() && *expect != policy.Deny.String() {
		fmt.Fprintln(std.err, "kasbah explain: --request names a file, and --expect is allow or deny")
		return exitUsage
	}
	explanation, findings := explainFile(ctx, *config, *request)
	for _, f := range findings {
		if f.Level == policy.LevelError {
			fmt.Fprintln(std.err, f)
		}
	}
	if explanation == nil {
		return exitUsage
	}
	write := writeExplanation
	if *asJSON {
		write = func(w io.Writer, x *server.Explanation) error {
			return json.NewEncoder(w).Encode(newExplanationJSON(x))
		}
	}
	if err := write(std.out, explanation); err != nil {
		fmt.Fprintln(std.err, "kasbah explain:", err)
		return exitUsage
	}
	if *expect != "" && *expect != explanation.Decision.Effect.String() {
		return exitFindings
	}
	return exitOK
}

func explainFile(ctx context.Context, config, request string) (*server.Explanation, policy.Findings) {
	data, err := os.ReadFile(request)
	if err != nil {
		return nil, policy.Findings{{Position: policy.Position{File: request}, Message: err.Error()}}
	}
	req, principal, findings := suite.ParseQuestion(request, data)
	if findings.Err() != nil {
		return nil, findings
	}
	cfg := server.Config{Path: config, Now: time.Now, LookupEnv: os.LookupEnv}
	return server.Explain(ctx, cfg, req, principal)
}

// writeExplanation writes what people read.
func writeExplanation(w io.Writer, x *server.Explanation) error {
	var out strings.Builder
	d := &x.Decision
	fmt.Fprintf(&out, "%s", d.Effect)
	if d.Effect != policy.Allow {
		fmt.Fprintf(&out, " (%s)", d.Reason)
	}
	fmt.Fprintf(&out, "\n  route      %s\n  principal  %q\n", orNone(d.Route), d.Principal.ID)
	if d.Detail != "" {
		fmt.Fprintf(&out, "  detail     %s\n", d.Detail)
	}
	if x.Authorize != nil {
		writeAuthorize(&out, x.Authorize)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func writeAuthorize(out *strings.Builder, x *enforcer.Explanation) {
	var fields []string
	for _, field := range x.Fields {
		fields = append(fields, fmt.Sprintf("r.%s = %s", field.Name, asText(field.Value)))
	}
	fmt.Fprintf(out, "  asked      %s\n", strings.Join(fields, ", "))
	if len(x.Roles) > 0 {
		fmt.Fprintf(out, "  brings     %q\n", x.Roles)
	}
	if x.Outcome.Rule != (policy.Rule{}) {
		fmt.Fprintf(out, "  decided by %s: %s\n", x.Outcome.Rule.Position, x.Outcome.Rule.Text)
	}
	if x.Casbin != "" {
		fmt.Fprintf(out, "  Casbin itself evaluates this matcher, and does not say more: %s\n", x.Casbin)
	}
	writeMatches(out, x)
	writeMisses(out, x)
}

func writeMatches(out *strings.Builder, x *enforcer.Explanation) {
	if x.Matching == 0 {
		return
	}
	fmt.Fprintf(out, "rules that match: %d\n", x.Matching)
	for _, match := range x.Matches {
		fmt.Fprintf(out, "  %s: %s\n", match.Rule.Position, match.Rule.Text)
		for _, path := range match.Paths {
			fmt.Fprintf(out, "    %s: %s\n", path.Call, pathText(&path))
		}
	}
}

// pathText writes "alice → reader (policy.csv:7)".
func pathText(path *enforcer.RolePath) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s", path.Names[0])
	for i, link := range path.Links {
		from := "brought by the caller"
		if link != (policy.Rule{}) {
			from = link.Position.String()
		}
		fmt.Fprintf(&text, " → %s (%s)", path.Names[i+1], from)
	}
	return text.String()
}

func writeMisses(out *strings.Builder, x *enforcer.Explanation) {
	if x.Outcome.Verdict == policy.Permitted || x.Missing == 0 {
		return
	}
	fmt.Fprintf(out, "rules that one condition keeps from matching: %d\n", x.Missing)
	for _, miss := range x.Misses {
		fmt.Fprintf(out, "  %s: %s\n    %s does not hold: %s\n", miss.Rule.Position, miss.Rule.Text, miss.Condition, miss.Values)
	}
}

func asText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%v", v)
	}
	return string(text)
}
