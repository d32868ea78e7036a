package servertest

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

// IssuerName is the identifier of the issuers of this package, and a URL at which only their own client finds them.
const IssuerName = "http://issuer.test"

// Issuer serves a new issuer on the loopback interface until the test ends, and returns the client that reaches it, and
// nobody else, under [IssuerName].
func Issuer(tb testing.TB) (*keystest.Issuer, *http.Client) {
	tb.Helper()
	issuer, err := keystest.New(IssuerName)
	if err != nil {
		tb.Fatal(err)
	}
	return issuer, Serve(tb, issuer)
}

// Serve serves a handler on the loopback interface until the test ends, and returns a client for which every host is it.
func Serve(tb testing.TB, handler http.Handler) *http.Client {
	tb.Helper()
	served := httptest.NewServer(handler)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, served.Listener.Addr().String())
	}}
	tb.Cleanup(func() {
		transport.CloseIdleConnections()
		served.CloseClientConnections()
		served.Close()
	})
	return &http.Client{Transport: transport}
}
