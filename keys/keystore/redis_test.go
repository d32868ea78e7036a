package keystore_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys/keystore"
)

// TestRedis: a server is reached with its password, and no password gets into an error, right or wrong.
func TestRedis(t *testing.T) {
	t.Parallel()
	right := envoytest.RunRedis(t).URL()
	at, err := url.Parse(right)
	if err != nil {
		t.Fatal(err)
	}
	if err := (keystore.Redis{URL: right, Prefix: keystore.DefaultPrefix}).Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	password, _ := at.User.Password()
	for name, address := range map[string]string{
		"another password": strings.Replace(right, password, "another-password", 1),
		"no password":      "redis://" + at.Host + "/0",
		"nobody there":     strings.Replace(right, at.Host, closed.Addr().String(), 1),
		"TLS with nobody":  strings.Replace(right, "redis://", "rediss://", 1),
		"no database":      strings.Replace(right, "/0", "/99999", 1),
		"no number":        strings.Replace(right, "/0", "/zero", 1),
		"another scheme":   strings.Replace(right, "redis://", "http://", 1),
		"settings":         right + "?dial_timeout=0",
		"no host":          "redis://:" + password + "@/0",
		"no URL":           "redis://:" + password + "%zz@" + at.Host,
		"empty":            "",
	} {
		bad := keystore.Redis{URL: address, Prefix: keystore.DefaultPrefix}
		err := bad.Ping(t.Context())
		if err == nil {
			t.Errorf("%s: it answers", name)
			continue
		}
		text := fmt.Sprintf("%v %v %#v %v", err, bad, bad, bad.Check())
		if strings.Contains(text, password) || strings.Contains(text, "another-password") || strings.ContainsAny(text, "\r\n") {
			t.Errorf("%s: it says %q", name, text)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if (keystore.Redis{URL: right}).Ping(ctx) == nil {
		t.Error("an ended context is answered")
	}
}

// TestRedisTLS: rediss:// begins with TLS, before anything of ours is said.
func TestRedisTLS(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan byte, 1)
	go func() {
		defer close(first)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		one := make([]byte, 1)
		if _, err := conn.Read(one); err == nil {
			first <- one[0]
		}
	}()
	if (keystore.Redis{URL: "rediss://:secret@" + listener.Addr().String() + "/0"}).Ping(t.Context()) == nil {
		t.Error("who speaks no TLS is Redis")
	}
	_ = listener.Close()
	if got := <-first; got != 0x16 { // a handshake (RFC 8446, section 5.1)
		t.Errorf("the first byte is %#x", got)
	}
}
