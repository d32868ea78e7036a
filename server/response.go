package server

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/proto/schema"
)

// answer is what a caller is told for a reason: a status, and a category that gives nothing away.
type answer struct {
	http  int
	grpc  codes.Code
	code  string // the category, for programs
	title string // the category, for people
	// retryAfter is the value of Retry-After in seconds; 0 is none.
	retryAfter int
}

var (
	unauthenticated = answer{401, codes.Unauthenticated, "missing_credential", "Authentication is required", 0}
	invalidToken    = answer{401, codes.Unauthenticated, "invalid_credential", "The credential is not valid", 0}
	forbidden       = answer{403, codes.PermissionDenied, "forbidden", "You may not do this", 0}
	malformed       = answer{400, codes.InvalidArgument, "invalid_request", "The request is malformed or ambiguous", 0}
	insufficient    = answer{401, codes.Unauthenticated, "authenticate_again", "You must authenticate again, or more strongly", 0}
	tooLarge        = answer{413, codes.ResourceExhausted, "body_too_large", "The body is too large", 0}
	tooMany         = answer{429, codes.ResourceExhausted, "too_many_requests", "Too many requests", 1}
	unavailable     = answer{503, codes.Unavailable, "unavailable", "This cannot be decided now", 1}
	faulty          = answer{500, codes.Internal, "internal", "The request could not be decided", 0}
)

// answerTo maps every reason to what the caller is told; the only place where a reason meets a status.
// A reason that it does not know is our own fault.
func answerTo(reason policy.Reason) answer {
	switch reason {
	case policy.MissingCredential:
		return unauthenticated
	case policy.MalformedCredential, policy.InvalidSignature, policy.UnknownKey, policy.Expired, policy.NotYetValid,
		policy.WrongIssuer, policy.WrongAudience, policy.InvalidClaims, policy.InvalidProof, policy.Replayed, policy.Revoked:
		return invalidToken
	case policy.Insufficient:
		return insufficient
	case policy.RateLimited, policy.LockedOut:
		return tooMany
	case policy.SourceBlocked, policy.ThreatDetected, policy.NoRoute, policy.NoMatchingPolicy, policy.DeniedByPolicy,
		policy.PolicyError:
		return forbidden
	case policy.InvalidRequest, policy.BodyMissing:
		return malformed
	case policy.BodyTooLarge:
		return tooLarge
	case policy.Deadline, policy.Unavailable:
		return unavailable
	case policy.Internal, policy.NoReason:
	}
	return faulty
}

// escapeQuery percent-encodes what goes into a query, a space included, because Envoy puts it there as it is.
func escapeQuery(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}

// newDenial answers in the caller's own protocol. Envoy turns a denial of a gRPC request into a gRPC
// status by a table of its own, which knows neither INVALID_ARGUMENT nor RESOURCE_EXHAUSTED; the headers
// grpc-status and grpc-message override it.
func newDenial(d *policy.Decision, grpcCaller bool) *authv3.CheckResponse {
	told := answerTo(d.Reason)
	denied := &authv3.DeniedHttpResponse{
		Status:  &typev3.HttpStatus{Code: typev3.StatusCode(told.http)},
		Headers: make([]*corev3.HeaderValueOption, 0, 4),
	}
	add := func(name, value string) {
		denied.Headers = append(denied.Headers, header(name, value, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
	}
	if grpcCaller {
		add("grpc-status", strconv.Itoa(int(told.grpc)))
		add("grpc-message", told.title+" ("+d.ID+")")
		if details := statusDetails(told, d); details != "" {
			add("grpc-status-details-bin", details)
		}
	} else {
		add("content-type", "application/problem+json")
		add("cache-control", "no-store")
		denied.Body = problem(told, d)
	}
	if told.retryAfter > 0 {
		add("retry-after", strconv.Itoa(told.retryAfter))
	}
	for _, m := range d.Response {
		add(m.Name, m.Value)
	}
	if told.http == http.StatusUnauthorized {
		for _, challenge := range d.Challenges {
			denied.Headers = append(denied.Headers,
				header("www-authenticate", challenge, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD))
		}
	}
	return &authv3.CheckResponse{
		Status:          &statuspb.Status{Code: int32(told.grpc)},
		HttpResponse:    &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied},
		DynamicMetadata: newMetadata(d),
	}
}

func header(name, value string, action corev3.HeaderValueOption_HeaderAppendAction) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: action,
	}
}

// told is one text that later Envoy filters and the access log learn of a decision.
type told struct{ name, text string }

// describe describes the decision, denials included. Its readers are the operator's, so the reason is
// precise here. Text of the caller's is kept to valid UTF-8, which protobuf demands.
func describe(d *policy.Decision) (texts [7]told, count int) {
	texts = [7]told{{"decision_id", d.ID}, {"effect", d.Effect.String()}, {"reason", d.Reason.String()}, {"route", d.Route}}
	count = 4
	if !d.Principal.Anonymous() {
		texts[4], texts[5] = told{"principal", strings.ToValidUTF8(d.Principal.ID, "\uFFFD")}, told{"provider", d.Principal.Provider}
		count = 6
	}
	if found := violated(d); len(found) > 0 {
		texts[count] = told{"violations", schema.Describe(found)}
		count++
	}
	return texts, count
}

// violated returns what is wrong with the body, whether or not that denied.
func violated(d *policy.Decision) []policy.Violation {
	if len(d.Violations) > 0 {
		return d.Violations
	}
	return d.Reported
}

func newMetadata(d *policy.Decision) *structpb.Struct {
	texts, count := describe(d)
	fields := make(map[string]*structpb.Value, count)
	for _, text := range texts[:count] {
		fields[text.name] = structpb.NewStringValue(text.text)
	}
	return &structpb.Struct{Fields: fields}
}
