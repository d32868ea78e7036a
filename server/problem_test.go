package server

import (
	"encoding/base64"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/kasbah-authz/kasbah/policy"
)

// What is wrong with a body is told to its sender, in the sender's own protocol, and to the operator without the messages.
func TestViolations(t *testing.T) {
	d := policy.Refuse(policy.InvalidRequest, "")
	d.ID = "id"
	d.Violations = []policy.Violation{{Field: "items[3].price", Rule: "int64.gt", Message: "must be greater than \"0\"\xff"}, {Rule: "transfer.sum", Message: "does not add up"}}
	var check authv3.CheckResponse
	if err := proto.Unmarshal(encodeDenial(&d, false), &check); err != nil {
		t.Fatal(err)
	}
	want := `"violations":[{"field":"items[3].price","rule":"int64.gt","message":"must be greater than \"0\"` + "\ufffd" + `"},{"field":"","rule":"transfer.sum","message":"does not add up"}]}` + "\n"
	if got := check.GetDeniedResponse().GetBody(); !strings.HasSuffix(strings.ReplaceAll(got, `\ufffd`, "\ufffd"), want) {
		t.Errorf("the body is %s", got)
	}
	if got := check.GetDynamicMetadata().GetFields()["violations"].GetStringValue(); got != "items[3].price: int64.gt, transfer.sum" {
		t.Errorf("the metadata say %q", got)
	}
	details := func(d *policy.Decision) *errdetails.BadRequest {
		t.Helper()
		var check authv3.CheckResponse
		if err := proto.Unmarshal(encodeDenial(d, true), &check); err != nil {
			t.Fatal(err)
		}
		for _, option := range check.GetDeniedResponse().GetHeaders() {
			if option.GetHeader().GetKey() != "grpc-status-details-bin" {
				continue
			}
			wire, err := base64.RawStdEncoding.DecodeString(option.GetHeader().GetValue())
			if err != nil {
				t.Fatal(err)
			}
			if len(option.GetHeader().GetValue()) > 6<<10 {
				t.Errorf("a header of %d bytes", len(option.GetHeader().GetValue()))
			}
			var told statuspb.Status
			var bad errdetails.BadRequest
			if err := proto.Unmarshal(wire, &told); err != nil || told.GetCode() != 3 || told.GetDetails()[0].UnmarshalTo(&bad) != nil {
				t.Fatal(err, &told)
			}
			return &bad
		}
		return nil
	}
	got := details(&d).GetFieldViolations()
	if len(got) != 2 || got[0].GetField() != "items[3].price" || got[0].GetReason() != "INT64_GT" || got[1].GetDescription() != "does not add up" {
		t.Errorf("%v", got)
	}
	for range 100 {
		d.Violations = append(d.Violations, policy.Violation{Field: strings.Repeat("f", 90), Rule: strings.Repeat("r", 90), Message: strings.Repeat("m", 90)})
	}
	if got := details(&d).GetFieldViolations(); len(got) < 10 || len(got) > 40 {
		t.Errorf("%d violations", len(got))
	}
	d.Violations = nil
	if details(&d) != nil {
		t.Error("there are details of nothing")
	}
	allowed := policy.Decision{Effect: policy.Allow, Reason: policy.NoReason, Principal: &policy.Principal{ID: "a", Provider: "p"}, Reported: []policy.Violation{{Rule: "json.utf8"}}}
	wire, ok := encodeAllow(&allowed)
	check.Reset()
	if !ok || proto.Unmarshal(wire, &check) != nil || check.GetDynamicMetadata().GetFields()["violations"].GetStringValue() != "json.utf8" {
		t.Errorf("%v", &check)
	}
}
