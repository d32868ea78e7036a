package suite

import (
	"encoding/xml"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// The elements of a JUnit report. Two schemas are in use, Ant's (windyroad's JUnit.xsd) and Jenkins' (junit-10.xsd of its
// xunit plugin); these elements and attributes are valid under both, which is why empty ones are written, and why the
// place of a case stands in the text of its failure.
type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	ID         int         `xml:"id,attr"`
	Package    string      `xml:"package,attr"`
	Name       string      `xml:"name,attr"`
	Hostname   string      `xml:"hostname,attr"`
	Timestamp  string      `xml:"timestamp,attr"`
	Tests      int         `xml:"tests,attr"`
	Failures   int         `xml:"failures,attr"`
	Errors     int         `xml:"errors,attr"`
	Time       string      `xml:"time,attr"`
	Properties struct{}    `xml:"properties"`
	Cases      []junitCase `xml:"testcase"`
	Out        string      `xml:"system-out"`
	Err        string      `xml:"system-err"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
	Error   *junitFailure `xml:"error,omitempty"`
}

type junitFailure struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the report as JUnit XML, as continuous integration reads it. at is when the suites were run. A suite
// that was not run has one case, which is in error.
func (r *Report) WriteJUnit(w io.Writer, at time.Time) error {
	var all junitSuites
	for i, result := range r.Results {
		suite := result.junit()
		suite.ID = i
		suite.Hostname = "localhost" // what Ant writes where the name does not matter
		suite.Timestamp = at.UTC().Format("2006-01-02T15:04:05")
		all.Suites = append(all.Suites, suite)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (r *Result) junit() junitSuite {
	file := filepath.ToSlash(r.File)
	suite := junitSuite{
		Package: path.Dir(file), Name: path.Base(file), Time: seconds(r.Elapsed), Tests: len(r.Cases), Failures: r.Failed(),
	}
	for i := range r.Cases {
		suite.Cases = append(suite.Cases, r.Cases[i].junit(file))
	}
	if len(r.Findings) > 0 {
		suite.Tests, suite.Errors = 1, 1
		suite.Cases = []junitCase{{
			Class: file, Name: "the suite can be run", Time: seconds(0),
			Error: &junitFailure{Type: "finding", Message: r.Findings[0].Message, Text: r.Findings.Error()},
		}}
	}
	return suite
}

func (c *CaseResult) junit(file string) junitCase {
	written := junitCase{Class: file, Name: c.Case.Name, Time: seconds(c.Elapsed)}
	if c.Failed() {
		var text strings.Builder
		for _, fault := range c.Faults {
			fmt.Fprintf(&text, "%s: %s\n", printable(c.Case.Position.String()), printable(fault))
		}
		for _, line := range c.detail() {
			fmt.Fprintf(&text, "    %s\n", line)
		}
		written.Failure = &junitFailure{Type: "verdict", Message: c.Faults[0], Text: text.String()}
	}
	return written
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
