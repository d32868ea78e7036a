package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/outbound"
)

// fetchTimeout bounds one fetch in all: connecting, discovery, the key set, every byte of both.
const fetchTimeout = 5 * time.Second

// maxRedirects is how many redirects, all on the same host, are followed.
const maxRedirects = 3

// sameHost returns a client like that one, which follows redirects on the host that was asked.
func sameHost(client *http.Client) *http.Client {
	return &http.Client{Transport: client.Transport, CheckRedirect: checkRedirect}
}

func checkRedirect(next *http.Request, via []*http.Request) error {
	last := via[len(via)-1]
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case !strings.EqualFold(next.URL.Host, last.URL.Host):
		return fmt.Errorf("a redirect to another host")
	case last.URL.Scheme == "https" && next.URL.Scheme != "https":
		return fmt.Errorf("a redirect from https to http")
	}
	return nil
}

// source is where a remote key set comes from: url, or when that is empty, discovery at the issuer; and over which way.
type source struct {
	url, issuer string
	reach       outbound.Settings
}

// String returns the URL that is asked first, without what may be secret in it.
func (s source) String() string {
	address := s.url
	if address == "" {
		address = s.discovery()
	}
	parsed, err := url.Parse(address)
	if err != nil {
		return "a URL that cannot be read"
	}
	return (&url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path}).String()
}

// discovery returns the URL of the issuer's discovery document (OpenID Connect Discovery 1.0, section 4.1).
func (s source) discovery() string {
	return strings.TrimSuffix(s.issuer, "/") + "/.well-known/openid-configuration"
}

// fetch gets the key set, and how long its sender says that it may be kept; 0 when it does not say.
func (s source) fetch(ctx context.Context, client *http.Client) (*keySet, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	address := s.url
	if address == "" {
		var err error
		if address, err = s.discover(ctx, client); err != nil {
			return nil, 0, fmt.Errorf("discovering the key set: %w", err)
		}
	}
	body, header, err := get(ctx, client, address)
	if err != nil {
		return nil, 0, fmt.Errorf("fetching the key set: %w", err)
	}
	set, err := parseKeySet(body)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the key set: %w", err)
	}
	return set, maxAge(header), nil
}

// discover returns the address of the issuer's key set. The document must be the issuer's own (section 4.3).
func (s source) discover(ctx context.Context, client *http.Client) (string, error) {
	body, _, err := get(ctx, client, s.discovery())
	if err != nil {
		return "", err
	}
	document, err := decodeObject(string(body), maxSetDepth)
	if err != nil {
		return "", fmt.Errorf("no discovery document: %w", err)
	}
	if issuer, _ := document["issuer"].(string); issuer != s.issuer {
		return "", fmt.Errorf("the discovery document is of another issuer")
	}
	address, _ := document["jwks_uri"].(string)
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return "", fmt.Errorf("jwks_uri is no http or https URL")
	}
	if strings.HasPrefix(s.issuer, "https:") && parsed.Scheme != "https" {
		return "", fmt.Errorf("jwks_uri is not https, and the issuer is")
	}
	return address, nil
}

// get returns the body of an answer with status 200. Errors name no URL, which might hold a secret.
func get(ctx context.Context, client *http.Client, address string) ([]byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, nil, fmt.Errorf("no URL that can be asked")
	}
	request.Header.Set("Accept", "application/json")
	response, err := client.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }() // read to its end or given up; neither can fail in a way that matters
	if response.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("status %d, and only 200 is an answer", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxKeySet+1))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(body) > maxKeySet {
		return nil, nil, fmt.Errorf("an answer of more than %d bytes", maxKeySet)
	}
	return body, response.Header, nil
}

// maxAge reads how long an answer may be kept (RFC 9111, section 5.2.2): 0 when it does not say, 1ns when it
// says not at all.
func maxAge(header http.Header) time.Duration {
	for _, line := range header.Values("Cache-Control") {
		for directive := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			switch strings.ToLower(name) {
			case "no-store", "no-cache":
				return 1
			case "max-age":
				seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
				if err == nil {
					return max(time.Duration(seconds)*time.Second, 1)
				}
			}
		}
	}
	return 0
}
