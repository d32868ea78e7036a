// Package outbound makes the HTTP clients that ask issuers and their servers: for discovery documents, key sets, and what a
// server says of a token or its bearer.
//
// [New] returns a client for the [Settings] of one provider. Such a client connects to public addresses only, unless it is told
// otherwise: the address is looked at where it is dialled (address.go), after the name was resolved, so that no name leads
// elsewhere, whoever answers for it, and neither does a redirect. It follows no redirect of itself, verifies every server's
// certificate, and bounds the headers of an answer; the time of a request and the length of a body are for its caller to bound.
//
// Through a proxy it is the proxy that is dialled, and the configuration has named it; so the proxy's own address may be any. What
// it connects to is the proxy's business, because only the proxy resolves the name; this package still refuses a URL that has an
// address that is not public in place of a name.
package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	connectTimeout = 5 * time.Second
	idleTimeout    = time.Minute
	// maxIdlePerHost is how many connections to one server are kept; with HTTP/2 there is one.
	maxIdlePerHost = 8
	// maxHeaderBytes is the longest head of an answer.
	maxHeaderBytes = 64 << 10
)

// Settings say how a provider's servers are reached. They are comparable: two that are equal reach the same, in the same way. The
// zero Settings reach public addresses, whose certificates the system's authorities have signed.
type Settings struct {
	// Authorities are the certificates (DER, one behind the other) of the only authorities whose signatures count; empty: the
	// system's.
	Authorities string
	// Proxy is the URL of the proxy for every request; empty: what New is told.
	Proxy string
	// PrivateAddresses lets the client connect to any address.
	PrivateAddresses bool
}

// Proxy says through which proxy a request goes; nil for none.
type Proxy func(*http.Request) (*url.URL, error)

// New returns a client for those settings. Where they name no proxy, proxy says which one a request takes; nil: none. It is safe
// for use by many goroutines at once; idle connections end with its CloseIdleConnections. Errors name no certificate.
func New(settings Settings, proxy Proxy) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if settings.Authorities != "" {
		certificates, err := x509.ParseCertificates([]byte(settings.Authorities))
		if err != nil {
			return nil, fmt.Errorf("reading the authorities: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		for _, certificate := range certificates {
			config.RootCAs.AddCert(certificate)
		}
	}
	if settings.Proxy != "" {
		parsed, err := ParseProxy(settings.Proxy)
		if err != nil {
			return nil, err
		}
		proxy = http.ProxyURL(parsed)
	}
	t := &transport{proxy: proxy, direct: newTransport(config), private: settings.PrivateAddresses}
	dialer := &net.Dialer{Timeout: connectTimeout}
	if !settings.PrivateAddresses {
		dialer.ControlContext = publicOnly
	}
	t.direct.DialContext = dialer.DialContext
	if proxy != nil {
		t.proxied = newTransport(config.Clone())
		t.proxied.DialContext = (&net.Dialer{Timeout: connectTimeout}).DialContext
		t.proxied.Proxy = chosen
	}
	return &http.Client{Transport: t, CheckRedirect: noRedirect}, nil
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func newTransport(config *tls.Config) *http.Transport {
	return &http.Transport{
		TLSClientConfig: config, TLSHandshakeTimeout: connectTimeout, IdleConnTimeout: idleTimeout,
		MaxIdleConnsPerHost: maxIdlePerHost, MaxResponseHeaderBytes: maxHeaderBytes, ForceAttemptHTTP2: true,
	}
}

// transport sends a request straight to its host, or through a proxy. The two never share a connection nor a dialer, so that what
// is said about the address of one cannot be had by the other.
type transport struct {
	proxy   Proxy // nil: never through one
	direct  *http.Transport
	proxied *http.Transport // dials proxies and nothing else; nil: there are none
	private bool
}

// chosenProxy is where a request's context has the proxy that it goes through.
type chosenProxy struct{}

// chosen returns it. Without it there is an error, because a proxied transport must never dial a host itself.
func chosen(request *http.Request) (*url.URL, error) {
	through, ok := request.Context().Value(chosenProxy{}).(*url.URL)
	if !ok {
		return nil, errors.New("no proxy was chosen for a request")
	}
	return through, nil
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if t.proxy == nil {
		return t.direct.RoundTrip(request)
	}
	through, err := t.proxy(request)
	if err != nil {
		return nil, errors.New("the proxy of the environment cannot be read") // the error would quote it, with its password
	}
	if through == nil {
		return t.direct.RoundTrip(request)
	}
	if !t.private {
		if err := publicHost(request.URL.Hostname()); err != nil {
			return nil, err
		}
	}
	return t.proxied.RoundTrip(request.WithContext(context.WithValue(request.Context(), chosenProxy{}, through)))
}

// CloseIdleConnections closes what no request uses. [http.Client] calls it.
func (t *transport) CloseIdleConnections() {
	t.direct.CloseIdleConnections()
	if t.proxied != nil {
		t.proxied.CloseIdleConnections()
	}
}

// ParseProxy reads the URL of a proxy. Its errors do not quote it.
func ParseProxy(text string) (*url.URL, error) {
	parsed, err := url.Parse(text)
	switch {
	case err != nil || parsed.Hostname() == "":
		return nil, errors.New("no URL of a proxy")
	case parsed.Scheme != "http" && parsed.Scheme != "https" && parsed.Scheme != "socks5":
		return nil, errors.New("a proxy is reached over http, https or socks5")
	case parsed.User != nil:
		return nil, errors.New("a password does not stand in the configuration")
	case parsed.Path != "" && parsed.Path != "/" || parsed.RawQuery != "" || parsed.Fragment != "":
		return nil, errors.New("a proxy has a host and a port, and nothing behind it")
	}
	return parsed, nil
}
