package schema_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
	"github.com/kasbah-authz/kasbah/proto/schema"
)

// bodyOf returns the demand of a route with its defaults filled in, as far as it is not made of these.
func bodyOf(made *configv1.Body) *configv1.Body {
	body := &configv1.Body{
		MaxBytes: 1 << 20, Mode: configv1.ValidationMode_VALIDATION_MODE_ENFORCE,
		Json: &configv1.JsonLimits{MaxDepth: 32, MaxMembers: 1000, MaxElements: 10_000, MaxValues: 20_000, MaxStringBytes: 65_536, MaxNameBytes: 256, MaxNumberBytes: 32},
	}
	proto.Merge(body, made)
	return body
}

func newValidator(t testing.TB, cfg schema.Config) *schema.Validator {
	t.Helper()
	cfg.Body = bodyOf(cfg.Body)
	v, err := schema.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// request has that body, and headers by pairs.
func request(body string, pairs ...string) *policy.Request {
	req := &policy.Request{Method: "POST", Path: "/", Body: policy.Body{Bytes: []byte(body)}}
	for ; len(pairs) > 0; pairs = pairs[2:] {
		req.Headers = append(req.Headers, policy.Header{Name: pairs[0], Value: pairs[1]})
	}
	return req
}

func evaluate(t testing.TB, v *schema.Validator, req *policy.Request) policy.Outcome {
	t.Helper()
	outcome, err := v.Evaluate(t.Context(), req, &policy.Principal{})
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

// rules returns the rules that an outcome says are broken.
func rules(outcome policy.Outcome) string {
	var broken []string
	for _, violation := range outcome.Violations {
		broken = append(broken, violation.Rule)
	}
	return strings.Join(broken, " ")
}

func TestForm(t *testing.T) {
	t.Parallel()
	v := newValidator(t, schema.Config{Body: &configv1.Body{MaxBytes: 100}})
	custom := newValidator(t, schema.Config{Body: &configv1.Body{ContentTypes: []string{"text/plain", "application/merge-patch+json", "application/grpc+json"}}})
	truncated := request(`{}`, "content-type", "application/json")
	truncated.Body.Truncated = true
	for name, c := range map[string]struct {
		v      *schema.Validator
		req    *policy.Request
		reason policy.Reason
		rules  string
	}{
		"plain":             {v, request(`{}`, "content-type", "application/json"), policy.Internal, ""},
		"with a charset":    {v, request(`{}`, "content-type", "Application/JSON ; charset=UTF-8"), policy.Internal, ""},
		"identity":          {v, request(`{}`, "content-type", "application/json", "content-encoding", "identity"), policy.Internal, ""},
		"just long enough":  {v, request(`"`+strings.Repeat("x", 98)+`"`, "content-type", "application/json"), policy.Internal, ""},
		"another type":      {custom, request(`{"a":`, "content-type", "text/plain"), policy.Internal, ""},
		"a patch":           {custom, request(`{"a":1}`, "content-type", "application/merge-patch+json"), policy.Internal, ""},
		"frames":            {custom, request("\x00\x00\x00\x00\x02{}", "content-type", "application/grpc+json"), policy.Internal, ""},
		"a broken patch":    {custom, request(`{"a":`, "content-type", "application/merge-patch+json"), policy.InvalidRequest, "json.syntax"},
		"none":              {v, request(``, "content-type", "application/json"), policy.BodyMissing, "body.missing"},
		"cut":               {v, truncated, policy.BodyTooLarge, "body.max_bytes"},
		"too long":          {v, request(`"`+strings.Repeat("x", 99)+`"`, "content-type", "application/json"), policy.BodyTooLarge, "body.max_bytes"},
		"no type":           {v, request(`{}`), policy.InvalidRequest, "body.content_type"},
		"an empty type":     {v, request(`{}`, "content-type", ""), policy.InvalidRequest, "body.content_type"},
		"a wrong type":      {v, request(`{}`, "content-type", "text/json"), policy.InvalidRequest, "body.content_type"},
		"two types":         {v, request(`{}`, "content-type", "application/json", "content-type", "application/json"), policy.InvalidRequest, "body.content_type"},
		"two in one":        {v, request(`{}`, "content-type", "application/json, text/plain"), policy.InvalidRequest, "body.content_type"},
		"another charset":   {v, request(`{}`, "content-type", "application/json; charset=utf-7"), policy.InvalidRequest, "body.content_type"},
		"two charsets":      {v, request(`{}`, "content-type", "application/json; charset=utf-8; charset=utf-16"), policy.InvalidRequest, "body.content_type"},
		"a parameter":       {v, request(`{}`, "content-type", "application/json; boundary=x"), policy.InvalidRequest, "body.content_type"},
		"a suffix":          {v, request(`{}`, "content-type", "application/json\x0b"), policy.InvalidRequest, "body.content_type"},
		"compressed":        {v, request(`{}`, "content-type", "application/json", "content-encoding", "gzip"), policy.InvalidRequest, "body.content_encoding"},
		"two codings":       {v, request(`{}`, "content-type", "application/json", "content-encoding", "identity", "content-encoding", "identity"), policy.InvalidRequest, "body.content_encoding"},
		"a list of codings": {v, request(`{}`, "content-type", "application/json", "content-encoding", "identity, gzip"), policy.InvalidRequest, "body.content_encoding"},
		"not JSON":          {v, request(`{`, "content-type", "application/json"), policy.InvalidRequest, "json.syntax"},
		"in UTF-16":         {v, request("\xfe\xff\x00{\x00}", "content-type", "application/json"), policy.InvalidRequest, "json.syntax"},
	} {
		outcome := evaluate(t, c.v, c.req)
		want := policy.Denied
		if c.rules == "" {
			want = policy.Passed
		}
		if outcome.Verdict != want || outcome.Reason != c.reason || rules(outcome) != c.rules {
			t.Errorf("%s: %+v", name, outcome)
		}
		if (outcome.Parsed != nil) != (c.rules == "" && name != "another type" && name != "frames") {
			t.Errorf("%s: whether there is a body to read: %v", name, outcome.Parsed != nil)
		}
	}
}

// No text of a body is in what an operator sees.
func TestNothingIsQuoted(t *testing.T) {
	t.Parallel()
	v := newValidator(t, schema.Config{})
	for _, body := range []string{`{"hunter2":1,"hunter2":2}`, `"hunter2`, `hunter2`, `{"hunter2" 1}`, "\"hunter2\xff\"", `["hunter2", "\ud800hunter2"]`, `"` + strings.Repeat("hunter2", 10_000) + `"`} {
		outcome := evaluate(t, v, request(body, "content-type", "application/json", "x-hunter2", "hunter2"))
		if outcome.Verdict != policy.Denied || strings.Contains(outcome.Detail, "hunter2") || strings.Contains(outcome.Violations[0].Message, "hunter2") || outcome.Detail == "" {
			t.Errorf("%.20s: %+v", body, outcome)
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	v := newValidator(t, schema.Config{Body: &configv1.Body{Mode: configv1.ValidationMode_VALIDATION_MODE_REPORT}})
	outcome := evaluate(t, v, request(`{`, "content-type", "application/json"))
	if outcome.Verdict != policy.Passed || rules(outcome) != "json.syntax" || outcome.Parsed != nil {
		t.Errorf("%+v", outcome)
	}
	if outcome := evaluate(t, v, request(`{}`, "content-type", "application/json")); outcome.Verdict != policy.Passed || rules(outcome) != "" || outcome.Parsed == nil {
		t.Errorf("%+v", outcome)
	}
}

// A body of JSON without a schema is read as it is written.
func TestParsedJSON(t *testing.T) {
	t.Parallel()
	outcome := evaluate(t, newValidator(t, schema.Config{}), request(`{"a":[1,"x",null,true,{"b":1e400}]}`, "content-type", "application/json"))
	got, err := outcome.Parsed()
	want := map[string]any{"a": []any{json.Number("1"), "x", nil, true, map[string]any{"b": json.Number("1e400")}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestIncomplete(t *testing.T) {
	t.Parallel()
	for _, cfg := range []schema.Config{{}, {Body: &configv1.Body{}}, {Body: &configv1.Body{MaxBytes: 1}}} {
		if v, err := schema.New(cfg); err == nil || v != nil {
			t.Errorf("%v: a validator without limits was built", cfg)
		}
	}
	if got := (&schema.Validator{}).Name(); got != "validate" {
		t.Error(got)
	}
	// The zero Validator refuses.
	if outcome := evaluate(t, &schema.Validator{}, request(`{}`, "content-type", "application/json")); outcome.Verdict != policy.Denied {
		t.Errorf("%+v", outcome)
	}
}
