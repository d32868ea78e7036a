package server

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/kasbah-authz/kasbah/policy"
)

// problem is the body of a denial (RFC 9457). It holds a category, the decision's id, and what is wrong with the body where
// that is the reason; nothing else that came from the request.
func problem(told answer, d *policy.Decision) string {
	type violation struct {
		Field   string `json:"field"`
		Rule    string `json:"rule"`
		Message string `json:"message"`
	}
	var violations []violation
	for _, v := range d.Violations {
		violations = append(violations, violation(v))
	}
	body, err := json.Marshal(struct {
		Title      string      `json:"title"`
		Status     int         `json:"status"`
		Code       string      `json:"code"`
		DecisionID string      `json:"decision_id"`
		Violations []violation `json:"violations,omitempty"`
	}{told.title, told.http, told.code, d.ID, violations})
	if err != nil {
		return `{"title":"The request could not be decided"}`
	}
	return string(body) + "\n"
}

// maxDetails is the longest value of grpc-status-details-bin, in bytes: it is a header, and clients bound those.
const maxDetails = 6 << 10

// statusDetails is the value of grpc-status-details-bin for a denial of which there is more to say than a status: a
// google.rpc.Status with a google.rpc.BadRequest, of as many violations as have room. It is empty for any other.
func statusDetails(told answer, d *policy.Decision) string {
	bad := &errdetails.BadRequest{}
	size := 0
	for _, v := range d.Violations {
		violation := &errdetails.BadRequest_FieldViolation{Field: utf8Text(v.Field), Description: utf8Text(v.Message), Reason: reasonOf(v.Rule)}
		if size += proto.Size(violation) + 8; base64.RawStdEncoding.EncodedLen(size+512) > maxDetails {
			break
		}
		bad.FieldViolations = append(bad.FieldViolations, violation)
	}
	if len(bad.FieldViolations) == 0 {
		return ""
	}
	detail, err := anypb.New(bad)
	if err != nil {
		return ""
	}
	wire, err := proto.Marshal(&statuspb.Status{Code: int32(told.grpc), Message: told.title + " (" + d.ID + ")", Details: []*anypb.Any{detail}})
	if err != nil {
		return ""
	}
	return base64.RawStdEncoding.EncodeToString(wire)
}

func utf8Text(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// reasonOf writes a rule's id as google.rpc.BadRequest wants it: STRING_MIN_LEN, of 63 characters at most.
func reasonOf(rule string) string {
	reason := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return c - 'a' + 'A'
		case c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
			return c
		}
		return '_'
	}, rule)
	return reason[:min(len(reason), 63)]
}
