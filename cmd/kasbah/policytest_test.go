package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// kasbahTest runs kasbah test, and returns its exit code and what it writes.
func kasbahTest(ctx context.Context, args ...string) (code int, out, talk string) {
	var results, errors bytes.Buffer
	code = run(ctx, append([]string{"test"}, args...), streams{strings.NewReader(""), &results, &errors})
	return code, results.String(), errors.String()
}

// TestDemoPolicy holds the demo's policy, as it is in the checkout, to its suite. Every rule of it decides a case.
func TestDemoPolicy(t *testing.T) {
	code, out, talk := kasbahTest(t.Context(), "--cover-min", "100", "../../testdata/demo")
	if code != exitOK || talk != "" || !strings.HasPrefix(out, "ok  \t../../testdata/demo/policy_test.yaml\t") {
		t.Errorf("exit %d\n%s%s", code, out, talk)
	}
}

// TestEndedTest: a run that is ended passes nothing.
func TestEndedTest(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, out, talk := kasbahTest(ctx, "../../testdata/demo")
	if code != exitUsage || out != "" || !strings.Contains(talk, "context canceled") {
		t.Errorf("exit %d\n%s%s", code, out, talk)
	}
}

var (
	suiteBlock = regexp.MustCompile("(?s)```yaml\n(# [a-z]+_test.yaml\n.*?)```")
	elapsed    = regexp.MustCompile(`\d+\.\d{3}s\t|\(\d+\.\d{2}s\)`)
)

// withoutTimes returns a report with every time as 0.
func withoutTimes(report string) string {
	return elapsed.ReplaceAllStringFunc(report, func(text string) string {
		if strings.HasPrefix(text, "(") {
			return "(0.00s)"
		}
		return "0.000s\t"
	})
}

// TestDocumentedSuites: each suite that the documents show passes beside the demo's files.
func TestDocumentedSuites(t *testing.T) {
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, document := range append(documents, "../../README.md") {
		for _, match := range suiteBlock.FindAllStringSubmatch(readDocument(t, document), -1) {
			found++
			folder := t.TempDir()
			if err := writeDemo(folder); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(folder, "shown_test.yaml")
			if err := os.WriteFile(path, []byte(match[1]), 0o600); err != nil {
				t.Fatal(err)
			}
			if code, out, talk := kasbahTest(t.Context(), path); code != exitOK {
				t.Errorf("%s shows a suite that does not pass: exit %d\n%s%s", document, code, out, talk)
			}
		}
	}
	if found == 0 {
		t.Error("the documents show no suite")
	}
}

// TestDocumentedTest: README shows what kasbah test says of the demo's policy, and of one with the fault that it names.
func TestDocumentedTest(t *testing.T) {
	readme := readDocument(t, "../../README.md")
	t.Chdir(t.TempDir())
	folder := filepath.Join("testdata", "demo")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeDemo(folder); err != nil {
		t.Fatal(err)
	}
	shown := func(want int, args ...string) {
		t.Helper()
		code, out, talk := kasbahTest(t.Context(), args...)
		if code != want || talk != "" || !strings.Contains(readme, "```\n"+withoutTimes(out)+"```") {
			t.Errorf("README does not show what test says, exit %d:\n%s%s", code, withoutTimes(out), talk)
		}
		if command := "`kasbah test " + strings.Join(args, " ") + "`"; !strings.Contains(strings.ReplaceAll(readme, "'", ""), command) {
			t.Errorf("README does not show the command %s", command)
		}
	}
	shown(exitOK, "--cover", folder)
	const careless = "p, reader, /orders/:id, DELETE, allow"
	if !strings.Contains(readme, "`"+careless+"`") {
		t.Errorf("README does not name the rule %s", careless)
	}
	path := filepath.Join(folder, "policy.csv")
	lines := strings.SplitAfterN(readDocument(t, path), "\n", 2)
	if err := os.WriteFile(path, []byte(lines[0]+careless+"\n"+lines[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	shown(exitFindings, "--run", "a reader", folder)
}
