package server

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/kasbah-authz/kasbah/policy"
)

// respond returns the response as Envoy reads it.
func respond(t *testing.T, d *policy.Decision, grpcCaller bool) *authv3.CheckResponse {
	t.Helper()
	wire, valid := []byte(nil), d.Effect == policy.Allow
	if valid {
		wire, valid = encodeAllow(d)
	}
	if !valid {
		wire = encodeDenial(d, grpcCaller)
	}
	var response authv3.CheckResponse
	if err := proto.Unmarshal(wire, &response); err != nil {
		t.Fatal(err)
	}
	return &response
}

// TestEveryReasonHasItsAnswer walks the closed set: DESIGN's table, row by row.
func TestEveryReasonHasItsAnswer(t *testing.T) {
	want := map[policy.Reason]struct {
		http int
		grpc codes.Code
	}{
		policy.Internal: {500, codes.Internal}, policy.NoReason: {500, codes.Internal},
		policy.MissingCredential: {401, codes.Unauthenticated}, policy.MalformedCredential: {401, codes.Unauthenticated},
		policy.InvalidSignature: {401, codes.Unauthenticated}, policy.UnknownKey: {401, codes.Unauthenticated},
		policy.Expired: {401, codes.Unauthenticated}, policy.NotYetValid: {401, codes.Unauthenticated},
		policy.WrongIssuer: {401, codes.Unauthenticated}, policy.WrongAudience: {401, codes.Unauthenticated},
		policy.InvalidClaims: {401, codes.Unauthenticated}, policy.InvalidProof: {401, codes.Unauthenticated}, policy.Replayed: {401, codes.Unauthenticated}, policy.Revoked: {401, codes.Unauthenticated},
		policy.Insufficient: {401, codes.Unauthenticated},
		policy.RateLimited:  {429, codes.ResourceExhausted}, policy.LockedOut: {429, codes.ResourceExhausted},
		policy.SourceBlocked: {403, codes.PermissionDenied}, policy.ThreatDetected: {403, codes.PermissionDenied},
		policy.InvalidRequest: {400, codes.InvalidArgument}, policy.BodyMissing: {400, codes.InvalidArgument},
		policy.BodyTooLarge: {413, codes.ResourceExhausted},
		policy.NoRoute:      {403, codes.PermissionDenied}, policy.NoMatchingPolicy: {403, codes.PermissionDenied},
		policy.DeniedByPolicy: {403, codes.PermissionDenied}, policy.PolicyError: {403, codes.PermissionDenied},
		policy.Deadline: {503, codes.Unavailable}, policy.Unavailable: {503, codes.Unavailable},
	}
	if len(want) != len(policy.Reasons()) {
		t.Errorf("the table has %d reasons of %d", len(want), len(policy.Reasons()))
	}
	for _, reason := range append(policy.Reasons(), 255) {
		expected, ok := want[reason]
		if !ok {
			expected = want[policy.Internal]
		}
		for _, grpcCaller := range []bool{false, true} {
			response := respond(t, &policy.Decision{ID: "id", Reason: reason, Challenges: []string{"Bearer"}}, grpcCaller)
			denied := response.GetDeniedResponse()
			if denied == nil || response.GetOkResponse() != nil {
				t.Fatalf("%s: no denial", reason)
			}
			if int(denied.GetStatus().GetCode()) != expected.http || codes.Code(response.GetStatus().GetCode()) != expected.grpc {
				t.Errorf("%s: HTTP %d, gRPC %d; want %d, %d", reason, denied.GetStatus().GetCode(), response.GetStatus().GetCode(), expected.http, expected.grpc)
			}
			checkDenial(t, reason, denied, grpcCaller)
		}
	}
}

// TestDenialHasResponseHeaders: what a stage has for the caller is in a denial, for gRPC callers too.
func TestDenialHasResponseHeaders(t *testing.T) {
	for _, grpcCaller := range []bool{false, true} {
		response := respond(t, &policy.Decision{Reason: policy.InvalidProof, Response: []policy.Mutation{{Name: "dpop-nonce", Value: "n"}}}, grpcCaller)
		if !slices.ContainsFunc(response.GetDeniedResponse().GetHeaders(), func(h *corev3.HeaderValueOption) bool {
			return h.GetHeader().GetKey() == "dpop-nonce" && h.GetHeader().GetValue() == "n"
		}) {
			t.Errorf("%v", response)
		}
	}
}

func checkDenial(t *testing.T, reason policy.Reason, denied *authv3.DeniedHttpResponse, grpcCaller bool) {
	t.Helper()
	headers := map[string]string{}
	for _, h := range denied.GetHeaders() {
		headers[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	status := denied.GetStatus().GetCode()
	if (headers["www-authenticate"] != "") != (status == 401) {
		t.Errorf("%s: WWW-Authenticate is %q", reason, headers["www-authenticate"])
	}
	if (headers["retry-after"] != "") != (status == 429 || status == 503) {
		t.Errorf("%s: Retry-After is %q", reason, headers["retry-after"])
	}
	if grpcCaller {
		if headers["grpc-status"] == "" || headers["grpc-status"] == "0" || denied.GetBody() != "" {
			t.Errorf("%s: grpc-status %q, body %q", reason, headers["grpc-status"], denied.GetBody())
		}
		return
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(denied.GetBody()), &body); err != nil {
		t.Fatalf("%s: body %q: %v", reason, denied.GetBody(), err)
	}
	if body["status"] != float64(status) || body["decision_id"] != "id" || body["title"] == "" || headers["content-type"] != "application/problem+json" {
		t.Errorf("%s: body %v, headers %v", reason, body, headers)
	}
	if precise := reason.String(); strings.Contains(denied.GetBody(), precise) && !slices.Contains([]string{"invalid_request", "body_too_large", "missing_credential", "unavailable", "internal"}, precise) {
		t.Errorf("%s: the caller is told the precise reason: %s", reason, denied.GetBody())
	}
}

// TestAllowedResponse is the whole of an allow. A header that is set replaces the client's.
func TestAllowedResponse(t *testing.T) {
	got := respond(t, &policy.Decision{
		ID: "id", Effect: policy.Allow, Reason: policy.NoReason, Route: "orders",
		Principal: &policy.Principal{ID: "alice\xff", Provider: "corp"},
		Set:       []policy.Mutation{{Name: "x-user", Value: "alice"}},
		Remove:    []string{"x-roles", "authorization"},
		Query:     []policy.Mutation{{Name: "tenant", Value: "a b"}}, RemoveQuery: []string{"%74enant"},
		Response: []policy.Mutation{{Name: "x-decision", Value: "id"}},
	}, true).GetOkResponse()
	set := func(name, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: name, Value: value},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}
	}
	want := &authv3.OkHttpResponse{
		Headers: []*corev3.HeaderValueOption{set("x-user", "alice")}, HeadersToRemove: []string{"x-roles", "authorization"},
		QueryParametersToSet:    []*corev3.QueryParameter{{Key: "tenant", Value: "a%20b"}},
		QueryParametersToRemove: []string{"%74enant"},
		ResponseHeadersToAdd:    []*corev3.HeaderValueOption{set("x-decision", "id")},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("response (-want +got):\n%s", diff)
	}
}

// TestZeroDecisionDenies also shows that a response always encodes: protobuf refuses text that is not UTF-8.
func TestZeroDecisionDenies(t *testing.T) {
	for _, d := range []policy.Decision{
		{},
		{Effect: 7, Principal: &policy.Principal{ID: "\xff\xfe", Provider: "corp"}},
		policy.Refuse(policy.NoReason, ""),
	} {
		response := respond(t, &d, false)
		if response.GetDeniedResponse() == nil || response.GetStatus().GetCode() == int32(codes.OK) {
			t.Errorf("%+v is answered with %v", d, response)
		}
		if response.GetDynamicMetadata() == nil {
			t.Errorf("%+v is answered by the last resort", d)
		}
	}
}

// TestLastResort: what is sent when a denial cannot be encoded denies too. A message that is cut off, or empty, would allow.
func TestLastResort(t *testing.T) {
	d := policy.Refuse(policy.MissingCredential, "")
	d.Challenges = []string{"\xff"}
	response := respond(t, &d, false)
	want := &authv3.CheckResponse{
		Status: &statuspb.Status{Code: int32(codes.Internal)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode_InternalServerError},
		}},
	}
	if diff := cmp.Diff(want, response, protocmp.Transform()); diff != "" {
		t.Errorf("response (-want +got):\n%s", diff)
	}
}
