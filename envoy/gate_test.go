package envoy_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

func TestAllowedReachesTheUpstream(t *testing.T) {
	s := newSystem(t)
	response, body := s.raw(t, get("/hello?x=1"))
	if response.StatusCode != http.StatusOK || body != "HTTP/1.1 /hello?x=1" {
		t.Errorf("HTTP/1.1: %s %q", response.Status, body)
	}
	s.authz.one(t)
	if err := s.call(t); err != nil {
		t.Errorf("gRPC: %v", err)
	}
	s.authz.one(t)
	seen := s.up.taken()
	if len(seen) != 2 || seen[1].Proto != "HTTP/2.0" || seen[1].URL.Path != "/test.Service/Method" {
		t.Errorf("the upstream saw %d requests", len(seen))
	}
}

// call makes a gRPC call through Envoy.
func (s *system) call(t *testing.T) error {
	t.Helper()
	connection, err := grpc.NewClient("passthrough:///"+s.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	return connection.Invoke(t.Context(), "/test.Service/Method", &emptypb.Empty{}, &emptypb.Empty{})
}

func TestDeniedDoesNotReachTheUpstream(t *testing.T) {
	s := newSystem(t)
	s.authz.always(deny(http.StatusForbidden, `{"status":403}`, set("content-type", "application/problem+json"), set("www-authenticate", "Bearer")))
	response, body := s.raw(t, get("/hello"))
	if response.StatusCode != http.StatusForbidden || body != `{"status":403}` ||
		response.Header.Get("Content-Type") != "application/problem+json" || response.Header.Get("Www-Authenticate") != "Bearer" {
		t.Errorf("%s %v %q", response.Status, response.Header, body)
	}
	if seen := s.up.taken(); len(seen) != 0 {
		t.Errorf("the upstream saw %v", seen)
	}
}

// What Envoy refuses by itself reaches neither Kasbah nor the upstream.
func TestEnvoyRefuses(t *testing.T) {
	s := newSystem(t)
	for name, request := range map[string]string{
		"encoded slash":             get("/a%2fb"),
		"encoded slash in capitals": get("/a%2Fb"),
		"encoded backslash":         get("/a%5cb"),
		"encoded slash and dots":    get("/public/..%2fadmin"),
		"encoded NUL":               get("/a%00b"),
		"fragment":                  get("/admin#x"),
		"fragment and query":        get("/admin#x?y=1"),
		"space":                     get("/a b"),
		"control character":         get("/a\x01"),
		"no slash":                  get("a"),
		"asterisk":                  get("*"),
		"underscore in a header":    get("/", "x_user: alice"),
		"space before the colon":    get("/", "x-user : alice"),
		"two lengths":               get("/", "content-length: 0", "transfer-encoding: chunked"),
		"headers over the limit":    get("/", "x-long: "+strings.Repeat("x", 40<<10)),
		"too many headers":          get("/", strings.Split(strings.TrimSuffix(strings.Repeat("x-a: 1|", 120), "|"), "|")...),
	} {
		response, _ := s.raw(t, request)
		if response.StatusCode < 400 || response.StatusCode > 431 {
			t.Errorf("%s: %s", name, response.Status)
		}
		if asked := s.authz.taken(); len(asked) != 0 {
			t.Errorf("%s: Kasbah was asked about %q", name, asked[0].GetAttributes().GetRequest().GetHttp().GetPath())
		}
		if seen := s.up.taken(); len(seen) != 0 {
			t.Errorf("%s: the upstream saw it", name)
		}
	}
}

// The path that Kasbah decides about is the path that the upstream gets.
func TestOneReadingOfThePath(t *testing.T) {
	s := newSystem(t)
	for target, want := range map[string]string{
		"/a?x=1":                 "/a?x=1",
		"//a":                    "/a",
		"///a//b?c//d":           "/a/b?c//d",
		"/a/../b":                "/b",
		"/../a":                  "/a",
		"/a/./b":                 "/a/b",
		"/a/%2e%2e/b":            "/b",
		"/%61dmin":               "/admin",
		`/a\b`:                   "/a/b",
		"/public/..;/admin":      "/admin",
		"/a%252fb":               "/a%252fb",
		"http://api.other.com/a": "/a",
	} {
		response, _ := s.raw(t, get(target))
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", target, response.Status)
			continue
		}
		decided := s.authz.one(t).GetAttributes().GetRequest().GetHttp()
		if got := s.up.one(t).RequestURI; decided.GetPath() != want || got != want {
			t.Errorf("%s: decided about %q, the upstream got %q, want %q", target, decided.GetPath(), got, want)
		}
		if decided.GetQuery() != "" || decided.GetFragment() != "" {
			t.Errorf("%s: the query stands apart from the path", target)
		}
	}
}

// Without an answer nobody passes, and the caller is told to try again.
func TestNoAnswerDenies(t *testing.T) {
	s := newSystem(t)
	refused := func(name string) {
		t.Helper()
		if response, _ := s.raw(t, get("/hello")); response.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: %s, want 503", name, response.Status)
		}
		if err := s.call(t); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: gRPC: %v, want UNAVAILABLE", name, err)
		}
		if seen := s.up.taken(); len(seen) != 0 {
			t.Errorf("%s: the upstream saw a request", name)
		}
	}
	for _, code := range []codes.Code{codes.Unavailable, codes.Internal, codes.PermissionDenied, codes.Unknown, codes.ResourceExhausted} {
		s.authz.answers(func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
			return nil, status.Error(code, "no answer")
		})
		refused(code.String())
	}
	s.authz.always(&authv3.CheckResponse{Status: deny(403, "").GetStatus()}) // an answer without an HTTP part
	if response, _ := s.raw(t, get("/hello")); response.StatusCode != http.StatusForbidden {
		t.Errorf("a bare denial: %s", response.Status)
	}
	release := make(chan struct{})
	s.authz.answers(func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		<-release
		return allow(nil), nil
	})
	refused("an answer after the timeout")
	close(release)
	s.authz.server.Stop()
	refused("no server")
}

// A check that a replica could not take is asked again; a denial never is.
func TestRetries(t *testing.T) {
	s := newSystem(t)
	var failures atomic.Int32
	s.authz.answers(func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		if failures.Add(1) <= 2 {
			return nil, status.Error(codes.Unavailable, "going away")
		}
		return allow(nil), nil
	})
	response, _ := s.raw(t, get("/hello"))
	if asked := len(s.authz.taken()); response.StatusCode != http.StatusOK || asked != 3 {
		t.Errorf("two replicas gone: %s after %d checks", response.Status, asked)
	}
	s.authz.always(deny(http.StatusServiceUnavailable, ""))
	s.raw(t, get("/hello"))
	s.authz.one(t)
	// A slow decision is waited for and not asked for again.
	s.authz.answers(func(ctx context.Context, _ *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		select {
		case <-time.After(150 * time.Millisecond):
			return allow(nil), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	for try := 1; ; try++ { // a machine that stalls makes 150 ms longer than Envoy waits
		response, _ := s.raw(t, get("/hello"))
		s.authz.one(t)
		if response.StatusCode == http.StatusOK {
			break
		}
		if try == 10 {
			t.Fatalf("a decision of 150 ms, ten times: %s", response.Status)
		}
	}
}

// Kasbah is told how long Envoy will wait.
func TestDeadlineIsSent(t *testing.T) {
	s := newSystem(t)
	left := make(chan time.Duration, 1)
	s.authz.answers(func(ctx context.Context, _ *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		deadline, ok := ctx.Deadline()
		if !ok {
			deadline = time.Now().Add(time.Hour)
		}
		left <- time.Until(deadline)
		return allow(nil), nil
	})
	s.raw(t, get("/hello"))
	if got := <-left; got > 500*time.Millisecond {
		t.Errorf("%v left of the 500 ms of envoy.yaml", got)
	}
}

// What Kasbah says in its metadata is in the access log, on allowed and on denied requests, one line a request
// whatever the values hold.
func TestMetadataReachesTheAccessLog(t *testing.T) {
	s := newSystem(t)
	metadata, err := structpb.NewStruct(map[string]any{
		"decision_id": "d-1", "route": "or\"ders\n", "reason": "denied_by_policy", "principal": "zo\u00eb",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"decision_id": "d-1", "route": "or\"ders\n", "reason": "denied_by_policy", "principal": "zo\u00eb"}
	denied, allowed := deny(http.StatusForbidden, ""), allow(nil)
	denied.DynamicMetadata, allowed.DynamicMetadata = metadata, metadata
	for i, answer := range []*authv3.CheckResponse{denied, allowed} {
		s.authz.always(answer)
		s.raw(t, get("/logged?token=secret", "Authorization: Bearer secret", "User-Agent: x\"y"))
		eventually(t, "the line of the access log", func() bool { return len(s.log.lines()) == i+1 })
		line := s.log.lines()[i]
		if strings.Contains(string(line), "secret") {
			t.Errorf("a credential is in the log: %s", line)
		}
		var entry map[string]any
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		got := map[string]any{}
		for name := range want {
			got[name] = entry[name]
		}
		if diff := cmp.Diff(want, got); diff != "" || entry["path"] != "/logged" {
			t.Errorf("path %v, (-want +got):\n%s", entry["path"], diff)
		}
	}
}

// A gRPC caller gets the status that Kasbah put into the headers of its denial, with its details. With a body
// the body would take the message's place, so Kasbah sends none to a gRPC caller.
func TestDenialOfAGRPCCaller(t *testing.T) {
	s := newSystem(t)
	want, err := status.New(codes.InvalidArgument, "two violations: 50%").WithDetails(&errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "amount", Description: "must be positive"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	details, err := proto.Marshal(want.Proto())
	if err != nil {
		t.Fatal(err)
	}
	headers := deny(http.StatusBadRequest, "", set("grpc-status", "3"), set("grpc-message", "two violations: 50%25"),
		set("grpc-status-details-bin", base64.RawStdEncoding.EncodeToString(details)))
	s.authz.always(headers)
	got := status.Convert(s.call(t))
	if !proto.Equal(got.Proto(), want.Proto()) {
		t.Errorf("got %v, want %v", got.Proto(), want.Proto())
	}
	headers.GetDeniedResponse().Body = "instead"
	headers.GetDeniedResponse().Headers = headers.GetDeniedResponse().GetHeaders()[:2]
	if got := status.Convert(s.call(t)); got.Code() != codes.InvalidArgument || got.Message() != "instead" {
		t.Errorf("with a body: %v", got)
	}
	// Envoy's own mapping, without our header, knows only the HTTP status.
	for code, want := range map[int]codes.Code{400: codes.Internal, 401: codes.Unauthenticated, 403: codes.PermissionDenied, 413: codes.Unknown, 429: codes.Unavailable, 503: codes.Unavailable} {
		s.authz.always(deny(typeStatus(code), ""))
		if got := status.Code(s.call(t)); got != want {
			t.Errorf("Envoy maps %d to %v, not %v any more", code, got, want)
		}
	}
}
