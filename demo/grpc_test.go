package demo_test

import (
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/kasbah-authz/kasbah/demo"
	"github.com/kasbah-authz/kasbah/keys/keystest"
)

// call makes a gRPC call through Envoy, as grpc-go does, and returns its code and message.
func call(t *testing.T, e *edge, host, method, token string, pairs ...string) (codes.Code, string) {
	t.Helper()
	connection, err := grpc.NewClient("passthrough:///"+e.address, grpc.WithAuthority(host), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), pairs...)
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	err = connection.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
	return status.Code(err), status.Convert(err).Message()
}

// Callers over gRPC get the code of the design's table, and a message with a category and the decision's id.
func TestGRPC(t *testing.T) {
	g := newGate(t)
	upstream := serve(t, demo.Upstream())
	alice := g.issuer.Token(keystest.Claims{Subject: "alice"})
	const method = "/demo.Greeter/Hello"
	message := regexp.MustCompile(`^[A-Z][a-z ]+ \([0-9a-f]{32}\)$`)
	for name, changes := range map[string][]func(*bootstrap){"hardened": nil, "lax": {lax}} {
		t.Run(name, func(t *testing.T) {
			e := g.edge(t, name, upstream, changes...)
			for what, test := range map[string]struct {
				host, method, token string
				pairs               []string
				want                codes.Code
			}{
				"allowed":               {"api.example.com", method, alice, nil, codes.OK},
				"public":                {"public.example.com", method, "", nil, codes.OK},
				"with junk":             {"api.example.com", method, alice, []string{"x-junk-bin", "\xff\x00"}, codes.OK},
				"no credential":         {"api.example.com", method, "", nil, codes.Unauthenticated},
				"another scheme":        {"api.example.com", method, "", []string{"authorization", "Basic YTpi"}, codes.Unauthenticated},
				"expired":               {"api.example.com", method, g.issuer.Forge(keystest.Expired, keystest.Claims{}), nil, codes.Unauthenticated},
				"for somebody else":     {"api.example.com", method, g.issuer.Forge(keystest.ForeignAudience, keystest.Claims{}), nil, codes.Unauthenticated},
				"no algorithm":          {"api.example.com", method, g.issuer.Forge(keystest.AlgNone, keystest.Claims{}), nil, codes.Unauthenticated},
				"two credentials":       {"api.example.com", method, alice, []string{"authorization", "Bearer x"}, codes.Unauthenticated},
				"not allowed":           {"api.example.com", "/admin/Delete", alice, nil, codes.PermissionDenied},
				"not allowed, by route": {"public.example.com", "/admin/Delete", alice, nil, codes.PermissionDenied},
				"an ambiguous path":     {"api.example.com", method + ";x", alice, nil, codes.InvalidArgument},
				"an encoded percent":    {"api.example.com", "/demo.Greeter/%2525", alice, nil, codes.InvalidArgument},
				"an ambiguous host":     {"api.example.com:x", method, alice, nil, codes.InvalidArgument},
				"keys never fetched":    {"partner.example.com", method, g.issuer.Token(keystest.Claims{Extra: map[string]any{"iss": "http://127.0.0.1:1"}}), nil, codes.Unavailable},
			} {
				got, text := call(t, e, test.host, test.method, test.token, test.pairs...)
				if got != test.want {
					t.Errorf("%s: %s (%s), want %s", what, got, text, test.want)
				}
				if got != codes.OK && !message.MatchString(text) {
					t.Errorf("%s: the message is %q", what, text)
				}
				for _, secret := range []string{"expired", "audience", "kid", "corp", "partner", "alice", "guarded"} {
					if strings.Contains(strings.ToLower(text), secret) {
						t.Errorf("%s: the message speaks of %s: %q", what, secret, text)
					}
				}
			}
			e.noErrors(t)
		})
	}
}

// A stream is decided once, before its first message.
func TestGRPCStream(t *testing.T) {
	g := newGate(t)
	e := g.edge(t, "hardened", serve(t, demo.Upstream()))
	connection, err := grpc.NewClient("passthrough:///"+e.address, grpc.WithAuthority("api.example.com"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	for token, want := range map[string]codes.Code{
		g.issuer.Token(keystest.Claims{}):                   codes.OK,
		g.issuer.Forge(keystest.Expired, keystest.Claims{}): codes.Unauthenticated,
	} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
		stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/demo.Greeter/Watch")
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.SendMsg(&emptypb.Empty{}); err != nil {
			t.Fatal(err)
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&emptypb.Empty{}); status.Code(err) != want {
			t.Errorf("the first message: %v, want %s", err, want)
		}
		if want == codes.OK {
			_ = stream.RecvMsg(&emptypb.Empty{}) // the end, so that the stream is let go
		}
	}
	e.noErrors(t)
}
