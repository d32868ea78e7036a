package server_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/server/servertest"
)

// sharedIssuer has the keys of all tests that do not change them: RSA keys take long to make.
var sharedIssuer = sync.OnceValues(func() (*keystest.Issuer, error) { return keystest.New(servertest.IssuerName) })

func testIssuer(tb testing.TB) *keystest.Issuer {
	tb.Helper()
	issuer, err := sharedIssuer()
	if err != nil {
		tb.Fatal(err)
	}
	return issuer
}

// startOrders runs the small system of servertest, its files changed by change.
func startOrders(tb testing.TB, change func(files map[string]string)) *servertest.Server {
	tb.Helper()
	files := servertest.Orders(testIssuer(tb))
	if change != nil {
		change(files)
	}
	return servertest.Start(tb, servertest.Options{Files: files})
}

// replaceOnce replaces what must be in the text.
func replaceOnce(tb testing.TB, text, old, replacement string) string {
	tb.Helper()
	if !strings.Contains(text, old) {
		tb.Fatalf("the text has no %q", old)
	}
	return strings.Replace(text, old, replacement, 1)
}

// alice is a reader.
var alice = keystest.Claims{Subject: "alice"}
