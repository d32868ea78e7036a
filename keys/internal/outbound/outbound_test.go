package outbound_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/keys/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, settings outbound.Settings, proxy outbound.Proxy) *http.Client {
	t.Helper()
	client, err := outbound.New(settings, proxy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// get returns the status of an answer and its body.
func get(t *testing.T, client *http.Client, address string) (int, string, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body), nil
}

func TestAddresses(t *testing.T) {
	for text, public := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "172.15.255.255": true, "172.32.0.0": true, "100.63.255.255": true, "100.128.0.0": true,
		"169.253.255.255": true, "192.167.255.255": true, "11.0.0.0": true, "223.255.255.255": true, "198.20.0.0": true,
		"2606:4700::1111": true, "2a00:1450::1": true, "64:ff9b::8.8.8.8": true, "::ffff:8.8.8.8": true,

		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "100.64.0.1": false, "100.127.255.255": false, "127.0.0.1": false, "127.255.255.255": false,
		"169.254.169.254": false, "172.16.0.0": false, "172.31.255.255": false, "192.0.0.1": false, "192.0.2.1": false, "192.168.0.1": false,
		"198.18.0.1": false, "198.19.255.255": false, "198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false, "239.255.255.255": false,
		"240.0.0.1": false, "255.255.255.255": false, "192.88.99.1": false,
		"::": false, "::1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false, "::ffff:0.0.0.0": false,
		"::127.0.0.1": false, "::8.8.8.8": false, "64:ff9b::127.0.0.1": false, "64:ff9b::10.0.0.1": false, "64:ff9b:1::8.8.8.8": false, "2002:7f00:1::": false,
		"2001:0:1::1": false, "2001:db8::1": false, "3fff::1": false, "fc00::1": false, "fd12:3456::1": false, "fe80::1": false, "fe80::1%eth0": false,
		"::1%lo": false, "fec0::1": false, "ff02::1": false, "100::1": false, "5f00::1": false,
	} {
		if got := outbound.Public(netip.MustParseAddr(text)); got != public {
			t.Errorf("%s: public is %t", text, got)
		}
	}
	if outbound.Public(netip.Addr{}) {
		t.Error("no address is public")
	}
}

// Whatever the standard library knows of an address, however it is written, it is not public here.
func TestAddressesAsTheStandardLibraryHasThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytes := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address"))
		prefix := rapid.SampledFrom([][]byte{nil, make([]byte, 12), []byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff"), {0xfe, 0x80}, {0xfd}, {0xff}}).Draw(t, "prefix")
		copy(bytes[:], prefix)
		address := netip.AddrFrom16(bytes)
		for _, written := range []netip.Addr{address, address.Unmap(), address.WithZone("eth0")} {
			plain := written.Unmap()
			special := !plain.IsGlobalUnicast() || plain.IsPrivate()
			if special && outbound.Public(written) {
				t.Fatalf("%s is public", written)
			}
		}
	})
}

// A name leads to this machine; the name alone does not say so, the address that is dialled does.
func TestPrivateAddressesAreNotDialled(t *testing.T) {
	var reached atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	strict, lax := newClient(t, outbound.Settings{}, nil), newClient(t, outbound.Settings{PrivateAddresses: true}, nil)
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "[::1]"} {
		if _, _, err := get(t, strict, "http://"+host+":"+port); !errors.Is(err, outbound.ErrPrivateAddress) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if reached.Load() != 0 {
		t.Error("the server was reached")
	}
	if status, _, err := get(t, lax, "http://localhost:"+port); err != nil || status != http.StatusOK || reached.Load() != 1 {
		t.Errorf("where it is allowed: %d, %v", status, err)
	}
}

// A client follows no redirect, and one whose owner lets it dials no private address for it.
func TestRedirects(t *testing.T) {
	server := httptest.NewServer(http.RedirectHandler("http://127.0.0.1:1/elsewhere", http.StatusFound))
	defer server.Close()
	client := newClient(t, outbound.Settings{PrivateAddresses: true}, nil)
	if status, _, err := get(t, client, server.URL); err != nil || status != http.StatusFound {
		t.Errorf("a redirect: %d, %v", status, err)
	}
	proxy := httptest.NewServer(http.RedirectHandler("http://[::ffff:169.254.169.254]/latest", http.StatusFound))
	defer proxy.Close()
	following := newClient(t, outbound.Settings{Proxy: proxy.URL}, nil)
	following.CheckRedirect = nil
	if _, _, err := get(t, following, "http://issuer.example/"); !errors.Is(err, outbound.ErrPrivateAddress) {
		t.Errorf("a redirect to a private address: %v", err)
	}
}

func TestProxy(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "by proxy: "+r.URL.String()) }))
	defer proxy.Close()
	environment := func(request *http.Request) (*url.URL, error) {
		switch request.URL.Hostname() {
		case "direct.example", "127.0.0.1":
			return nil, nil
		case "broken.example":
			return nil, errors.New("parse \"http://user:s3cret@proxy\": invalid")
		}
		return url.Parse(proxy.URL)
	}
	for name, client := range map[string]*http.Client{
		"configured": newClient(t, outbound.Settings{Proxy: proxy.URL}, func(*http.Request) (*url.URL, error) { return nil, errors.New("asked") }), "of the environment": newClient(t, outbound.Settings{}, environment),
	} {
		if _, body, err := get(t, client, "http://issuer.example/keys"); err != nil || body != "by proxy: http://issuer.example/keys" {
			t.Errorf("%s: %q, %v", name, body, err)
		}
		for _, address := range []string{
			"http://10.0.0.1/", "http://169.254.169.254/latest", "http://localhost/", "http://x.LOCALHOST./", "http://[::1]/", "http://[fe80::1]/", "http://2130706433/",
			"http://0x7f000001/", "http://127.1/", "http://0177.0.0.01/", "http://[64:ff9b::7f00:1]/",
		} {
			if _, _, err := get(t, client, address); !errors.Is(err, outbound.ErrPrivateAddress) {
				t.Errorf("%s: %s: %v", name, address, err)
			}
		}
	}
	client := newClient(t, outbound.Settings{}, environment)
	if _, _, err := get(t, client, proxy.URL); !errors.Is(err, outbound.ErrPrivateAddress) {
		t.Errorf("the proxy, as a server: %v", err)
	}
	if _, _, err := get(t, client, "http://broken.example/"); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a proxy that cannot be read: %v", err)
	}
	if _, body, err := get(t, newClient(t, outbound.Settings{Proxy: proxy.URL, PrivateAddresses: true}, nil), "http://10.0.0.1/"); err != nil || body != "by proxy: http://10.0.0.1/" {
		t.Errorf("a private address, where it is allowed: %q, %v", body, err)
	}
}

func TestAuthorities(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	known := newClient(t, outbound.Settings{Authorities: string(server.Certificate().Raw), PrivateAddresses: true}, nil)
	if status, _, err := get(t, known, server.URL); err != nil || status != http.StatusOK {
		t.Errorf("a server of that authority: %d, %v", status, err)
	}
	unknown := newClient(t, outbound.Settings{PrivateAddresses: true}, nil)
	if _, _, err := get(t, unknown, server.URL); err == nil {
		t.Error("a server of an unknown authority is believed")
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for _, broken := range []string{string(text), "x", string(server.Certificate().Raw[:100])} {
		if _, err := outbound.New(outbound.Settings{Authorities: broken}, nil); err == nil {
			t.Errorf("%.20q are authorities", broken)
		}
	}
}

func TestParseProxy(t *testing.T) {
	for text, good := range map[string]bool{
		"http://proxy:3128": true, "https://proxy.example:443/": true, "socks5://10.0.0.1:1080": true, "http://[fd00::1]:3128": true,
		"": false, "proxy:3128": false, "ftp://proxy": false, "http://": false, "http://:80": false, "http://user:s3cret@proxy": false, "http://proxy/x": false,
		"http://proxy?x": false, "http://proxy#x": false, "http://pro xy": false, "socks5h://s3cret\x00": false,
	} {
		_, err := outbound.ParseProxy(text)
		if (err == nil) != good || err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", text, err)
		}
		if _, err := outbound.New(outbound.Settings{Proxy: text}, nil); text != "" && (err == nil) != good {
			t.Errorf("%q: New: %v", text, err)
		}
	}
}

func TestContextEndsARequest(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	client := newClient(t, outbound.Settings{PrivateAddresses: true}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := client.Do(request); !errors.Is(err, context.Canceled) {
		if err == nil {
			_ = response.Body.Close()
		}
		t.Errorf("it is %v", err)
	}
}
