package config_test

import (
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/kasbah-authz/kasbah/proto/config"
	"github.com/kasbah-authz/kasbah/testdata"
)

// slowest is far above what any file within the bounds takes, so that a busy machine does not fail the test,
// and far below what an unbounded expansion would take.
const slowest = 20 * time.Second

// checkLoad holds one load to what the package guarantees for any bytes.
func checkLoad(t interface {
	Helper()
	Errorf(format string, arguments ...any)
}, data []byte,
) *config.Document {
	t.Helper()
	start := time.Now()
	document, findings := config.Load("kasbah.yaml", data)
	if took := time.Since(start); took > slowest {
		t.Errorf("loading %d bytes took %v", len(data), took)
	}
	if (document == nil) != (findings.Err() != nil) {
		t.Errorf("a document is %v, and the findings are\n%v", document != nil, findings)
	}
	if len(findings) > 2*config.MaxFindings+2 {
		t.Errorf("%d findings", len(findings))
	}
	lines := strings.Count(string(data), "\n") + 1
	for _, finding := range findings {
		if finding.File != "kasbah.yaml" || finding.Line < 0 || finding.Line > lines || finding.Column < 0 || finding.Message == "" {
			t.Errorf("finding without its place: %v", finding)
		}
		if len(finding.Message) > 4096 || strings.ContainsAny(finding.Message, "\n\r\x00") {
			t.Errorf("finding that is not one short line: %.200q", finding.Message)
		}
	}
	if document != nil {
		if err := protovalidate.Validate(document.Config()); err != nil {
			t.Errorf("what was loaded breaks a constraint: %v", err)
		}
	}
	return document
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"configs/good/*.yaml", "configs/bad/*.yaml"} {
		testdata.Each(f, pattern, func(_ string, data []byte) { f.Add(data) })
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		document := checkLoad(t, data)
		if document == nil {
			return
		}
		data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(document.Config())
		again, findings := config.Load("again.yaml", asWritten(t, data, err))
		if again == nil {
			t.Fatalf("what was loaded and written again does not load:\n%v", findings)
		}
		if diff := cmp.Diff(document.Config(), again.Config(), protocmp.Transform()); diff != "" {
			t.Errorf("what was loaded and written again is not the same:\n%s", diff)
		}
	})
}
