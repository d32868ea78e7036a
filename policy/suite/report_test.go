package suite_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/suite"
)

// report has a suite that passed, one that failed, one that was not run and one without cases.
func report(t testing.TB) *suite.Report {
	passed := run(t, orders(), "/allowed want: allow")
	failed := run(t, orders(), "/allowed want: allow", "/nothing want: allow", "/broken?a=b want: deny", "/denied want: deny, rule: 'policy.csv:7'")
	failed.File, failed.Elapsed, failed.Cases[1].Elapsed = "b_test.yaml", 1500*time.Microsecond, 20*time.Millisecond
	broken := &suite.Result{File: "c_test.yaml", Findings: policy.Findings{
		{Position: policy.Position{File: "c_test.yaml", Line: 1, Column: 2}, Message: "bad < good"},
		{Position: policy.Position{File: "c_test.yaml", Line: 3, Column: 4}, Message: "and more"},
	}}
	coverage := suite.Cover(orders(), []*suite.Result{passed})
	coverage.Config, coverage.Enforcer = "policies/kasbah.yaml", "orders"
	return &suite.Report{Results: []*suite.Result{passed, failed, broken, {File: "d_test.yaml"}}, Coverage: []*suite.Coverage{coverage}}
}

const wantText = `ok  	policies/orders_test.yaml	0.000s	1 case
--- FAIL: /nothing want: allow (0.02s)
    policies/orders_test.yaml:4:3: want allow, got deny
        request: GET /nothing
        principal: alice, roles a, b
        reason: no_matching_policy
        rule: none
--- FAIL: /broken?a=b want: deny (0.00s)
    policies/orders_test.yaml:5:3: want deny, got error
        request: GET /broken?a=b
        principal: alice, roles a, b
        reason: policy_error
        error: no such key
--- FAIL: /denied want: deny, rule: 'policy.csv:7' (0.00s)
    policies/orders_test.yaml:6:3: want the rule policy.csv:7, got p, reader, /secret, GET, deny
    policies/orders_test.yaml:6:3: the policy has no rule policy.csv:7
        request: GET /denied
        principal: alice, roles a, b
        reason: denied_by_policy
        rule: p, reader, /secret, GET, deny (policies/policy.csv:2:1)
FAIL	b_test.yaml	0.002s	3 of 4 cases failed
FAIL	c_test.yaml	[not run: it is broken]
ok  	d_test.yaml	0.000s	[no cases to run]
coverage: enforcer orders of policies/kasbah.yaml: 1 of 3 rules reached (33.3%); 1 role link, not counted
policies/policy.csv:2:1: no case reached the rule: p, reader, /secret, GET, deny
policies/policy.csv:3:1: no case reached the rule: p, writer, /orders, POST
`

func TestText(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(wantText, text(t, report(t), suite.TextOptions{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	verbose := text(t, report(t), suite.TextOptions{Verbose: true, All: true})
	for _, want := range []string{
		"=== RUN   /allowed want: allow\n--- PASS: /allowed want: allow (0.00s)\nok  \t",
		"=== RUN   /nothing want: allow\n--- FAIL: /nothing",
		"policies/policy.csv:5:1: a role link, not counted: g, alice, reader\n",
	} {
		if !strings.Contains(verbose, want) {
			t.Errorf("no %q in\n%s", want, verbose)
		}
	}
}

func text(t testing.TB, r *suite.Report, options suite.TextOptions) string {
	t.Helper()
	var out strings.Builder
	if err := r.WriteText(&out, options); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestUnreachedAreBounded: a large policy without tests does not fill the screen, unless it is meant to.
func TestUnreachedAreBounded(t *testing.T) {
	t.Parallel()
	e := &enforcerOf{}
	for i := range 1000 {
		e.rules = append(e.rules, rule(i+1, fmt.Sprintf("p, a, /%d, GET", i)))
	}
	r := &suite.Report{Coverage: []*suite.Coverage{suite.Cover(e, nil)}}
	short := text(t, r, suite.TextOptions{})
	if strings.Count(short, "no case reached the rule") != 20 || !strings.Contains(short, "and 980 more rules that no case reached; --cover-all lists them\n") {
		t.Error(short)
	}
	if all := text(t, r, suite.TextOptions{All: true}); strings.Count(all, "no case reached the rule") != 1000 || strings.Contains(all, "more rule") {
		t.Errorf("%d lines", strings.Count(all, "\n"))
	}
}

// TestTextIsPrintable: what a rule or an error holds reaches no terminal as it is.
func TestTextIsPrintable(t *testing.T) {
	t.Parallel()
	e := orders()
	e.rules = []policy.Rule{rule(1, "p, \x1b[31mred\nline\u202e")}
	e.answers["/allowed"] = answer{err: fmt.Errorf("two\nlines \x1b]0;title\a %s", strings.Repeat("long ", 1000))}
	result := run(t, e, "/allowed want: allow")
	result.File = "a\x1b[31m_test.yaml"
	got := text(t, &suite.Report{Results: []*suite.Result{result}, Coverage: []*suite.Coverage{suite.Cover(e, nil)}}, suite.TextOptions{Verbose: true, All: true})
	for _, c := range got {
		if c < ' ' && c != '\n' && c != '\t' || c == '\u202e' {
			t.Fatalf("the character %U in\n%s", c, got)
		}
	}
	for line := range strings.Lines(got) {
		if len(line) > 1100 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	if strings.Contains(got, "\nlines") || !strings.Contains(got, `two\nlines`) {
		t.Errorf("an error breaks its line:\n%s", got)
	}
}

// TestOneLineEach: an error of several lines, or of a long one, is one line of a report.
func TestOneLineEach(t *testing.T) {
	t.Parallel()
	for fault, want := range map[string]string{
		"one\ntwo":                 `        "error: one\ntwo"` + "\n",
		"one\rtwo":                 `        "error: one\rtwo"` + "\n",
		"not UTF-8: \xff":          `        "error: not UTF-8: \xff"` + "\n",
		"plain, with ☂ and \"":     `        error: plain, with ☂ and "` + "\n",
		strings.Repeat("☂", 1000):  "        error: " + strings.Repeat("☂", 331) + "…\n",
		strings.Repeat("a", 10000): "        error: " + strings.Repeat("a", 993) + "…\n",
	} {
		e := orders()
		e.answers["/allowed"] = answer{err: errors.New(fault)}
		got := text(t, &suite.Report{Results: []*suite.Result{run(t, e, "/allowed want: allow")}}, suite.TextOptions{})
		if !strings.Contains(got, want) {
			t.Errorf("%.20q:\n%s\nhas no\n%s", fault, got, want)
		}
	}
}

// TestManyRoles: a caller of many roles does not fill the screen.
func TestManyRoles(t *testing.T) {
	t.Parallel()
	s := parse(t, "enforcer: e\ncases:\n- {name: n, principal: {id: a, roles: ["+many("r%d", 30)+"]}, request: GET /, want: allow}\n")
	result, err := suite.Run(t.Context(), s, orders(), suite.Options{Now: stopped})
	if err != nil {
		t.Fatal(err)
	}
	got := text(t, &suite.Report{Results: []*suite.Result{result}}, suite.TextOptions{})
	if !strings.Contains(got, "principal: a, roles r0, r1, r2, r3, r4, r5, r6, r7, r8, r9 and 20 more\n") {
		t.Error(got)
	}
}

// parsedSuites is what a reader of JUnit XML looks at. It is not what is written with.
type parsedSuites struct {
	XMLName xml.Name `xml:"testsuites"`
	Suites  []struct {
		ID        int    `xml:"id,attr"`
		Name      string `xml:"name,attr"`
		Package   string `xml:"package,attr"`
		Hostname  string `xml:"hostname,attr"`
		Timestamp string `xml:"timestamp,attr"`
		Tests     int    `xml:"tests,attr"`
		Failures  int    `xml:"failures,attr"`
		Errors    int    `xml:"errors,attr"`
		Time      string `xml:"time,attr"`
		Cases     []struct {
			Name      string `xml:"name,attr"`
			Classname string `xml:"classname,attr"`
			Time      string `xml:"time,attr"`
			Failure   *struct {
				Message string `xml:"message,attr"`
				Type    string `xml:"type,attr"`
				Text    string `xml:",chardata"`
			} `xml:"failure"`
			Error *struct {
				Message string `xml:"message,attr"`
				Type    string `xml:"type,attr"`
				Text    string `xml:",chardata"`
			} `xml:"error"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

func junit(t interface{ Fatal(...any) }, r *suite.Report) (parsed parsedSuites, text string) {
	var out strings.Builder
	if err := r.WriteJUnit(&out, stopped()); err != nil {
		t.Fatal(err)
	}
	decoder := xml.NewDecoder(strings.NewReader(out.String()))
	decoder.Strict = true
	if err := decoder.Decode(&parsed); err != nil {
		t.Fatal(err, out.String())
	}
	return parsed, out.String()
}

const wantJUnit = `  <testsuite id="2" package="." name="c_test.yaml" hostname="localhost" timestamp="2026-01-02T03:04:05" tests="1" failures="0" errors="1" time="0.000">
    <properties></properties>
    <testcase classname="c_test.yaml" name="the suite can be run" time="0.000">
      <error type="finding" message="bad &lt; good">c_test.yaml:1:2: error: bad &lt; good&#xA;c_test.yaml:3:4: error: and more</error>
    </testcase>
    <system-out></system-out>
    <system-err></system-err>
  </testsuite>
`

func TestJUnit(t *testing.T) {
	t.Parallel()
	parsed, got := junit(t, report(t))
	if !strings.HasPrefix(got, `<?xml version="1.0" encoding="UTF-8"?>`+"\n<testsuites>\n") || !strings.Contains(got, wantJUnit) {
		t.Errorf("%s\nhas no\n%s", got, wantJUnit)
	}
	failure := parsed.Suites[1].Cases[1].Failure
	if failure == nil || failure.Type != "verdict" || failure.Message != "want allow, got deny" ||
		!strings.HasPrefix(failure.Text, "policies/orders_test.yaml:4:3: want allow, got deny\n    request: GET /nothing\n") {
		t.Errorf("%+v", failure)
	}
}

// TestJUnitParsesBack: whatever names and errors hold, the counts that a reader finds are those of the report, in the
// attributes and in the elements.
func TestJUnitParsesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := &suite.Report{}
		for range rapid.IntRange(0, 4).Draw(t, "suites") {
			result := &suite.Result{File: rapid.String().Draw(t, "file"), Elapsed: time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "elapsed"))}
			if rapid.Bool().Draw(t, "broken") {
				result.Findings = policy.Findings{{Message: rapid.String().Draw(t, "finding")}}
				r.Results = append(r.Results, result)
				continue
			}
			for range rapid.IntRange(0, 4).Draw(t, "cases") {
				c := suite.CaseResult{Case: &suite.Case{Name: anyText(t, "name"), Principal: &policy.Principal{ID: "a", Provider: "p"}, Request: &policy.Request{Path: anyText(t, "path")}}}
				for range rapid.IntRange(0, 2).Draw(t, "faults") {
					c.Faults = append(c.Faults, anyText(t, "fault"))
				}
				result.Cases = append(result.Cases, c)
			}
			r.Results = append(r.Results, result)
		}
		parsed, _ := junit(t, r)
		if len(parsed.Suites) != len(r.Results) {
			t.Fatalf("%d suites of %d", len(parsed.Suites), len(r.Results))
		}
		tests, failures, broken := 0, 0, 0
		for i, s := range parsed.Suites {
			result, failed, errored := r.Results[i], 0, 0
			for _, c := range s.Cases {
				if c.Failure != nil {
					failed++
				}
				if c.Error != nil {
					errored++
				}
			}
			if s.ID != i || s.Tests != len(s.Cases) || s.Failures != failed || s.Errors != errored || failed != result.Failed() {
				t.Fatalf("%+v of %+v", s, result)
			}
			tests, failures, broken = tests+s.Tests-errored, failures+failed, broken+errored
		}
		if tests != r.Cases() || failures != r.Failed() || broken != r.Broken() {
			t.Fatalf("%d cases, %d failed, %d broken; the report has %d, %d, %d", tests, failures, broken, r.Cases(), r.Failed(), r.Broken())
		}
	})
}

// anyText draws texts with markup and with what is neither XML nor UTF-8 among them.
func anyText(t *rapid.T, label string) string {
	return rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		`<a b="c">&amp;]]></a>`, "\x00\x1b\xff", "line\nline\r\ttab", "]]>", "", " ", "\ufffe\uffff",
	})).Draw(t, label)
}

func TestJSON(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := report(t).WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for line := range strings.Lines(out.String()) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatal(err)
		}
		kinds[object["kind"].(string)]++
	}
	if diff := cmp.Diff(map[string]int{"case": 5, "suite": 4, "coverage": 1}, kinds); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{
		`{"kind":"case","suite":"policies/orders_test.yaml","name":"/allowed want: allow","line":3,"column":3,"passed":true,"want":"allow","got":"allow","rule":{"text":"p, reader, /orders, GET","file":"policies/policy.csv","line":1,"column":1},"seconds":0}`,
		`"passed":false,"want":"deny","got":"error","reason":"policy_error","error":"no such key","faults":["want deny, got error"],"seconds":0}`,
		`{"kind":"suite","suite":"c_test.yaml","cases":0,"failed":0,"findings":["c_test.yaml:1:2: error: bad < good","c_test.yaml:3:4: error: and more"],"seconds":0}`,
		`{"kind":"coverage","config":"policies/kasbah.yaml","enforcer":"orders","rules":3,"reached":1,"percent":33.3,"role_links":1,"unreached":[{"text":"p, reader, /secret, GET, deny","file":"policies/policy.csv","line":2,"column":1},`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, &out)
		}
	}
}

// TestReportsFail: a writer that breaks is an error of each kind of report.
func TestReportsFail(t *testing.T) {
	t.Parallel()
	r := report(t)
	for _, room := range []int{0, 10, 600} {
		for name, write := range map[string]func(*full) error{
			"text":  func(w *full) error { return r.WriteText(w, suite.TextOptions{}) },
			"junit": func(w *full) error { return r.WriteJUnit(w, stopped()) },
			"json":  func(w *full) error { return r.WriteJSON(w) },
		} {
			if err := write(&full{room}); err == nil {
				t.Errorf("%s: no error after %d bytes", name, room)
			}
		}
	}
}

// full is a disk with little room.
type full struct{ room int }

func (w *full) Write(p []byte) (int, error) {
	if w.room -= len(p); w.room < 0 {
		return 0, fmt.Errorf("no space left")
	}
	return len(p), nil
}
