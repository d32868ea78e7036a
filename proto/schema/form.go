package schema

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// kind is how a body is read.
type kind uint8

const (
	opaque          kind = iota // not at all
	jsonText                    // as JSON
	protobufMessage             // as a message in protobuf's own form
	frames                      // as messages of gRPC
	webFrames                   // as those of gRPC-Web, which has its own Content-Type
	webTextFrames               // likewise, in base64
)

// shape is what is known of a body before a schema looks at it.
type shape struct {
	kind   kind
	values int // members and elements of JSON
}

// kindOf returns how a body of that content type is read, which is in lower case and without parameters.
func kindOf(contentType string) kind {
	switch contentType {
	case "application/grpc", "application/grpc+proto":
		return frames
	case "application/grpc-web", "application/grpc-web+proto":
		return webFrames
	case "application/grpc-web-text", "application/grpc-web-text+proto":
		return webTextFrames
	case "application/proto":
		return protobufMessage
	}
	switch {
	case strings.HasPrefix(contentType, "application/grpc"), strings.HasPrefix(contentType, "application/connect+"):
		return opaque // frames, whatever is in them
	case contentType == "application/json", strings.HasSuffix(contentType, "+json"):
		return jsonText
	}
	return opaque
}

// form is what a body must be before a schema looks at it.
type form struct {
	maxBytes int
	types    []string
	limits   Limits
	reported bool // what is wrong is only to be reported
	seed     maphash.Seed
}

// newForm returns the form that the configuration asks for, with the content types that it leaves to its schema.
func newForm(body *configv1.Body, types []string, seed maphash.Seed) form {
	if listed := body.GetContentTypes(); len(listed) > 0 {
		types = listed
	}
	json := body.GetJson()
	return form{
		maxBytes: int(body.GetMaxBytes()),
		types:    types,
		limits: Limits{
			Depth: int(json.GetMaxDepth()), Members: int(json.GetMaxMembers()), Elements: int(json.GetMaxElements()), Values: int(json.GetMaxValues()),
			String: int(json.GetMaxStringBytes()), Name: int(json.GetMaxNameBytes()), Number: int(json.GetMaxNumberBytes()),
		},
		reported: body.GetMode() == configv1.ValidationMode_VALIDATION_MODE_REPORT,
		seed:     seed,
	}
}

// widest returns the form of which no more is demanded than that a schema can look at the body, for where the route's own
// demands are only to be reported.
func (f *form) widest(types []string) form {
	wide := *f
	wide.types, wide.reported = types, false
	wide.limits = Limits{Depth: maxNesting, Members: maxWide, Elements: maxWide, Values: maxWide, String: f.maxBytes, Name: f.maxBytes, Number: 4096}
	return wide
}

// maxWide is how many members and elements there may be where no limit of the configuration's holds.
const maxWide = 100_000

// check returns how the body is to be read, or what is wrong with it.
func (f *form) check(req *policy.Request) (shape, *finding) {
	switch length := len(req.Body.Bytes); {
	case length == 0:
		return shape{}, &finding{reason: policy.BodyMissing, violations: one("body.missing", "the request must have a body")}
	case req.Body.Truncated:
		return shape{}, tooLong("the body is longer than can be looked at")
	case length > f.maxBytes:
		return shape{}, tooLong(fmt.Sprintf("the body is longer than %d bytes", f.maxBytes))
	}
	if coding, lines := req.Headers.Get("content-encoding"); lines > 1 || lines == 1 && !strings.EqualFold(coding, "identity") {
		return shape{}, invalid("body.content_encoding", "the body must not be compressed (Content-Encoding)")
	}
	written, lines := req.Headers.Get("content-type")
	if lines != 1 {
		return shape{}, invalid("body.content_type", "the request must have one Content-Type")
	}
	contentType, ok := mediaType(written)
	if !ok || !slices.Contains(f.types, contentType) {
		return shape{}, invalid("body.content_type", "the Content-Type must be "+strings.Join(f.types, " or ")+", with no parameter but charset=utf-8")
	}
	seen := shape{kind: kindOf(contentType)}
	if seen.kind == jsonText {
		var d *defect
		if seen.values, d = checkJSON(req.Body.Bytes, &f.limits, f.seed); d != nil {
			return shape{}, invalid(d.rule, d.message())
		}
	}
	return seen, nil
}

// mediaType reads the value of a Content-Type (RFC 9110, section 8.3.1), which is accepted in its plainest forms only: any other
// has been read in another way by somebody.
func mediaType(written string) (contentType string, ok bool) {
	contentType, parameters, has := strings.Cut(strings.ToLower(written), ";")
	contentType = strings.TrimRight(contentType, " \t")
	if has {
		parameter := strings.Trim(parameters, " \t")
		if parameter != "charset=utf-8" && parameter != `charset="utf-8"` {
			return "", false
		}
		if strings.HasPrefix(contentType, "application/grpc") {
			return "", false // which has none
		}
	}
	return contentType, true
}
