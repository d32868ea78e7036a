package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
	"github.com/kasbah-authz/kasbah/policy/suite"
	"github.com/kasbah-authz/kasbah/server"
)

const testUsage = `Usage: kasbah test [FLAGS] DIR…

Runs every suite at and below the folders: the files whose names end in _test.yaml. A DIR may be one such file.
Exits with 1 when a case is not as expected or too few rules are covered, with 2 when a suite, or what it
names, cannot be read.

`

// testFlags are what the command line of kasbah test says.
type testFlags struct {
	run      *regexp.Regexp
	junit    string
	json     bool
	text     suite.TextOptions
	cover    bool
	coverMin float64
}

// policyTest runs the suites of policies.
func policyTest(ctx context.Context, args []string, std streams) int {
	var options testFlags
	flags := flag.NewFlagSet("kasbah test", flag.ContinueOnError)
	flags.Func("run", "run only the cases whose names match this regular `expression`", func(text string) (err error) {
		options.run, err = regexp.Compile(text)
		return err
	})
	flags.BoolVar(&options.text.Verbose, "v", false, "print the cases that passed, too")
	flags.BoolVar(&options.json, "json", false, "print one JSON object a line: cases, suites and coverage")
	flags.StringVar(&options.junit, "junit", "", "write the report as JUnit XML into this `file`, too")
	flags.BoolVar(&options.cover, "cover", false, "print how many rules decided a case, and those that none reached")
	flags.BoolVar(&options.text.All, "cover-all", false, "as --cover, with every such rule and the role links")
	flags.Float64Var(&options.coverMin, "cover-min", 0, "as --cover, and fail where an enforcer has less than this `percentage` of its rules reached")
	flags.Usage = func() {
		fmt.Fprint(std.err, testUsage)
		flags.PrintDefaults()
	}
	if code, ok := parse(flags, args, std); !ok {
		return code
	}
	if !(options.coverMin >= 0 && options.coverMin <= 100) { // NaN is neither
		fmt.Fprintln(std.err, "kasbah test: --cover-min is a percentage, from 0 to 100")
		return exitUsage
	}
	options.cover = options.cover || options.text.All || options.coverMin > 0
	code, err := runSuites(ctx, flags.Args(), options, std)
	if err != nil {
		fmt.Fprintln(std.err, "kasbah test:", err)
	}
	return code
}

// runSuites runs all suites, writes the reports, and returns the exit code.
func runSuites(ctx context.Context, folders []string, options testFlags, std streams) (int, error) {
	paths, err := findSuites(folders)
	if err != nil {
		return exitUsage, err
	}
	run := testRun{options: options, tested: map[enforcerKey]*tested{}, configs: map[string]loaded{}}
	for _, path := range paths {
		if err := run.suite(ctx, path); err != nil {
			return exitUsage, err
		}
	}
	for _, result := range run.report.Results {
		for _, finding := range result.Findings {
			fmt.Fprintln(std.err, finding)
		}
	}
	run.cover()
	if err := run.write(std); err != nil {
		return exitUsage, err
	}
	if options.run != nil && run.report.Cases() == 0 && run.report.Broken() == 0 {
		return exitUsage, fmt.Errorf("no case has a name that matches %q", options.run)
	}
	return run.exit(std), nil
}

// findSuites returns the suites of all folders, each once.
func findSuites(folders []string) ([]string, error) {
	if len(folders) == 0 {
		return nil, fmt.Errorf("name at least one folder with files that end in %s", suite.Suffix)
	}
	var paths []string
	for _, folder := range folders {
		if strings.HasPrefix(folder, "-") {
			return nil, fmt.Errorf("%s comes too late; flags stand before the folders", folder)
		}
		found, err := suite.Find(strings.TrimSuffix(folder, "/...")) // as go test is told to look below, too
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			if !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths, nil
}

type enforcerKey struct{ config, name string }

// tested is an enforcer and what its suites said of it.
type tested struct {
	enforcer *enforcer.Enforcer
	results  []*suite.Result
}

// loaded is a configuration's enforcers, or why there are none.
type loaded struct {
	enforcers map[string]*enforcer.Enforcer
	findings  policy.Findings
}

// testRun is one run of the command.
type testRun struct {
	options testFlags
	report  suite.Report
	configs map[string]loaded // by path; each is loaded once
	tested  map[enforcerKey]*tested
	order   []enforcerKey // of tested
}

// suite runs one suite, or notes why it cannot be. The error is ctx's.
func (r *testRun) suite(ctx context.Context, path string) error {
	s, findings := suite.Load(path)
	if s == nil {
		r.report.Results = append(r.report.Results, &suite.Result{File: path, Findings: findings})
		return nil
	}
	e, findings := r.enforcer(ctx, s)
	if e == nil {
		r.report.Results = append(r.report.Results, &suite.Result{File: path, Findings: findings})
		return nil
	}
	result, err := suite.Run(ctx, s, e.enforcer, suite.Options{Match: r.options.run, Now: time.Now})
	if err != nil {
		return err
	}
	r.report.Results = append(r.report.Results, result)
	e.results = append(e.results, result)
	return nil
}

// enforcer returns the one that a suite names, by the server's own loader.
func (r *testRun) enforcer(ctx context.Context, s *suite.Suite) (*tested, policy.Findings) {
	key := enforcerKey{s.ConfigPath(), s.Enforcer}
	if e := r.tested[key]; e != nil {
		return e, nil
	}
	config, ok := r.configs[key.config]
	if !ok {
		config.enforcers, config.findings = server.Enforcers(ctx, server.Config{Path: key.config, Now: time.Now, LookupEnv: os.LookupEnv})
		r.configs[key.config] = config
	}
	if config.findings.Err() != nil {
		return nil, append(policy.Findings{s.NoConfig(key.config + " does not load")}, config.findings...)
	}
	built := config.enforcers[key.name]
	if built == nil {
		return nil, policy.Findings{s.NoEnforcer(slices.Collect(maps.Keys(config.enforcers)))}
	}
	e := &tested{enforcer: built}
	r.tested[key] = e
	r.order = append(r.order, key)
	return e, nil
}

func (r *testRun) cover() {
	if !r.options.cover {
		return
	}
	for _, key := range r.order {
		coverage := suite.Cover(r.tested[key].enforcer, r.tested[key].results)
		coverage.Config, coverage.Enforcer = key.config, key.name
		r.report.Coverage = append(r.report.Coverage, coverage)
	}
}

// write writes the report to the terminal, and to the file where there is to be one.
func (r *testRun) write(std streams) error {
	if r.options.json {
		if err := r.report.WriteJSON(std.out); err != nil {
			return err
		}
	} else if err := r.report.WriteText(std.out, r.options.text); err != nil {
		return err
	}
	if r.options.junit == "" {
		return nil
	}
	file, err := os.Create(r.options.junit)
	if err != nil {
		return err
	}
	err = r.report.WriteJUnit(file, time.Now())
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", r.options.junit, err)
	}
	return nil
}

// exit returns the exit code, and says what no line of the report does.
func (r *testRun) exit(std streams) int {
	code := exitOK
	for _, coverage := range r.report.Coverage {
		if !coverage.AtLeast(r.options.coverMin) {
			fmt.Fprintf(std.err, "kasbah test: %.1f%% of the rules of enforcer %s of %s are reached, and %g%% are demanded\n",
				coverage.Percent(), coverage.Enforcer, coverage.Config, r.options.coverMin)
			code = exitFindings
		}
	}
	if r.report.Failed() > 0 {
		code = exitFindings
	}
	if r.report.Broken() > 0 {
		code = exitUsage
	}
	return code
}
