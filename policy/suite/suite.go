package suite

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
)

// Bounds of a suite, so that a file of one size can only ask for so much.
const (
	maxBytes    = 1 << 20
	maxCases    = 10_000  // table cells included
	maxNamed    = 1_000   // shared principals, and shared requests
	maxEntries  = 256     // headers, claims, roles and the like of one principal or request
	maxPath     = 8 << 10 // bytes, as the edge takes
	maxHost     = 255     // bytes, as the edge takes
	maxName     = 256     // bytes of a name
	maxDepth    = 64      // of lists and mappings
	maxFindings = 100
)

// Suite is a file of cases that one enforcer is asked about.
type Suite struct {
	// File is the suite's own, as Parse was given it.
	File string
	// Config is the path of the configuration, as the suite has it: relative to the suite's folder. [Suite.ConfigPath]
	// resolves it.
	Config string
	// Enforcer is the name of the configuration's enforcer that is tested.
	Enforcer string
	// Cases are the cases, then the cells of the tables row by row. There is at least one.
	Cases []Case

	configAt, enforcerAt policy.Position
}

// Case is one request of one principal, and what is expected.
type Case struct {
	Name string
	policy.Position
	Principal *policy.Principal
	Request   *policy.Request
	Want      Want
}

// Want is what a case expects.
type Want struct {
	Verdict Verdict
	// Reason is the name of the [policy.Reason] that is expected beside the verdict, empty where any will do.
	Reason string
	// Rule is the text of the rule that is expected to decide, or its place as "file:line" with the file relative to the
	// suite's folder; empty where any will do.
	Rule string
}

// Verdict is what an enforcer says of a case. The zero Verdict denies.
type Verdict uint8

// The verdicts.
const (
	Deny Verdict = iota
	Allow
	// Error is a request that could not be evaluated. A server denies it.
	Error
)

var verdictNames = [...]string{Deny: "deny", Allow: "allow", Error: "error"}

// String returns the verdict as suites write it.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// Parse reads a suite. The file's name is used in positions, and to find what the suite names. The findings are sorted by
// position; each is an error, and with one the Suite is nil.
func Parse(file string, data []byte) (*Suite, policy.Findings) {
	r := &reader{file: file, now: defaultTime}
	suite := r.suite(data)
	if len(r.findings) == 0 {
		return suite, nil
	}
	r.findings.Sort()
	return nil, r.findings
}

// ConfigPath returns the path of the configuration.
func (s *Suite) ConfigPath() string {
	if filepath.IsAbs(s.Config) {
		return filepath.Clean(s.Config)
	}
	return filepath.Join(filepath.Dir(s.File), s.Config)
}

// NoConfig returns the finding that the suite's configuration is not fit for use.
func (s *Suite) NoConfig(message string) *policy.Finding {
	return &policy.Finding{Position: s.configAt, Message: message}
}

// NoEnforcer returns the finding that the configuration has no enforcer of the suite's name, but those.
func (s *Suite) NoEnforcer(names []string) *policy.Finding {
	return &policy.Finding{Position: s.enforcerAt, Message: fmt.Sprintf("%s has no enforcer %s%s", s.ConfigPath(), quote(s.Enforcer), among(names))}
}

// defaultTime is when the requests of a suite arrive that does not say: any time will do that never changes.
var defaultTime = time.Date(2026, time.January, 1, 12, 0, 0, 0, time.UTC)

// suite reads the whole file.
func (r *reader) suite(data []byte) *Suite {
	root := r.parse(data)
	if root == nil {
		return nil
	}
	f := r.fields(root, "a suite", "config", "enforcer", "now", "defaults", "principals", "requests", "cases", "tables")
	if f == nil {
		return nil
	}
	s := &Suite{File: r.file, Config: "kasbah.yaml", configAt: r.position(root), enforcerAt: r.position(root)}
	if node := f["config"]; node != nil {
		s.configAt = r.position(node)
		s.Config = r.name(node)
	}
	if node := f["enforcer"]; node != nil {
		s.enforcerAt = r.position(node)
		s.Enforcer = r.name(node)
	} else {
		r.errorf(root, "the suite does not name the enforcer that it tests")
	}
	if node := f["now"]; node != nil {
		r.now = r.time(node)
	}
	r.shared(f)
	s.Cases = r.cases(f)
	if len(s.Cases) == 0 && len(r.findings) == 0 {
		r.errorf(root, "the suite has no case; it needs cases or tables")
	}
	return s
}
