package server

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/policy"
)

// plainAllow is the response to an allow as protobuf's own types say it.
func plainAllow(d *policy.Decision) *authv3.CheckResponse {
	overwrite := func(mutations []policy.Mutation) (options []*corev3.HeaderValueOption) {
		for _, m := range mutations {
			options = append(options, header(m.Name, m.Value, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
		}
		return options
	}
	ok := &authv3.OkHttpResponse{
		Headers: overwrite(d.Set), HeadersToRemove: d.Remove, ResponseHeadersToAdd: overwrite(d.Response), QueryParametersToRemove: d.RemoveQuery,
	}
	for _, m := range d.Query {
		ok.QueryParametersToSet = append(ok.QueryParametersToSet, &corev3.QueryParameter{Key: escapeQuery(m.Name), Value: escapeQuery(m.Value)})
	}
	return &authv3.CheckResponse{
		Status: &statuspb.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok}, DynamicMetadata: newMetadata(d),
	}
}

// TestEncodingAsProtobufDoes: every allow is read by protobuf as what it was, and one that protobuf would not write is not
// written.
func TestEncodingAsProtobufDoes(t *testing.T) {
	text := rapid.OneOf(rapid.StringN(0, 40, 200), rapid.StringN(0, 40, 200), rapid.StringN(150, 300, 1000), rapid.SampledFrom([]string{"\xff", "a\xc3"}))
	mutations := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) policy.Mutation {
		return policy.Mutation{Name: text.Draw(t, "name"), Value: text.Draw(t, "value")}
	}), 0, 4)
	written, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		d := policy.Decision{
			ID: text.Draw(t, "id"), Effect: policy.Allow, Route: text.Draw(t, "route"), Reason: policy.NoReason,
			Set: mutations.Draw(t, "set"), Response: mutations.Draw(t, "response"), Query: mutations.Draw(t, "query"),
			Remove: rapid.SliceOfN(text, 0, 5).Draw(t, "remove"), RemoveQuery: rapid.SliceOfN(text, 0, 2).Draw(t, "remove query"),
			Principal: &policy.Principal{ID: text.Draw(t, "principal"), Provider: text.Draw(t, "provider")},
		}
		want := plainAllow(&d)
		_, err := proto.Marshal(want)
		wire, ok := encodeAllow(&d)
		if ok != (err == nil) {
			t.Fatalf("written: %t; protobuf: %v", ok, err)
		}
		if !ok {
			refused++
			return
		}
		written++
		var got authv3.CheckResponse
		if err := proto.Unmarshal(wire, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, &got, protocmp.Transform()); diff != "" {
			t.Fatalf("response (-protobuf +written):\n%s", diff)
		}
	})
	if written == 0 || refused == 0 {
		t.Errorf("%d written and %d refused, which shows little", written, refused)
	}
}
