package keys

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/outbound"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// endpointAge is how long the address of a UserInfo endpoint is believed before it is discovered anew.
const endpointAge = time.Hour

// enrichmentServer is who is asked what they know of a caller.
type enrichmentServer struct {
	name     string // of the provider
	userInfo bool   // with the caller's token; otherwise, with its id
	url      string // empty: discovered at the token's issuer
	secret   string // that we show; empty: none
	timeout  time.Duration
	client   *http.Client
	now      func() time.Time
	logger   *slog.Logger

	complained *atomic.Int64 // when, in Unix nanoseconds
	mu         sync.Mutex
	discovered map[string]endpointAt // by issuer, of which the configuration bounds the number
}

// endpointAt is an address that a discovery document gave, and when it did.
type endpointAt struct {
	url string
	at  time.Time
}

// enrichmentServer reads how a server is asked.
func (s *Store) enrichmentServer(cfg *configv1.Provider, reach outbound.Settings, files Files) (*enrichmentServer, error) {
	message := cfg.GetEnrich()
	client, err := s.client(reach)
	if err != nil {
		return nil, err
	}
	server := &enrichmentServer{
		name: cfg.GetName(), timeout: duration(message.GetTimeout(), defaultEnrichmentTimeout),
		client: &http.Client{Transport: client.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		now:    s.now, logger: s.logger, complained: &atomic.Int64{}, discovered: map[string]endpointAt{},
	}
	switch from := message.GetSource().(type) {
	case *configv1.Enrichment_Userinfo:
		server.userInfo, server.url = true, from.Userinfo.GetUrl()
		issuer := cfg.GetJwt().GetIssuer() + cfg.GetIntrospection().GetIssuer()
		if server.url == "" && !isURL(issuer) {
			return nil, &policy.FieldError{Field: "enrich.userinfo.url", Err: errors.New("without it the endpoint is discovered at the issuer, which must be named, and an http or https URL")}
		}
		if cfg.GetJwt().GetProof() != nil || cfg.GetIntrospection().GetProof() != nil {
			return nil, &policy.FieldError{Field: "enrich.userinfo", Err: errors.New("it takes bound tokens from their callers alone; use http")}
		}
		if len(cfg.GetJwt().GetDecryption()) > 0 {
			return nil, &policy.FieldError{Field: "enrich.userinfo", Err: errors.New("it goes with no encrypted tokens")}
		}
	case *configv1.Enrichment_Http:
		server.url = from.Http.GetUrl()
		if !isURL(server.url) {
			return nil, &policy.FieldError{Field: "enrich.http.url", Err: errors.New("no http or https URL")}
		}
		if from.Http.GetSecret() == nil {
			break
		}
		if files.Secret == nil {
			return nil, &policy.FieldError{Field: "enrich.http.secret", Err: errors.New("secrets are not read here")}
		}
		if server.secret, err = files.Secret(from.Http.GetSecret()); err == nil && !isToken68(server.secret) {
			err = errors.New("it is no text that can stand behind Bearer (RFC 6750, section 2.1)")
		}
		if err != nil {
			return nil, &policy.FieldError{Field: "enrich.http.secret", Err: err}
		}
	default:
		return nil, &policy.FieldError{Field: "enrich", Err: errors.New("say who is asked: userinfo or http")}
	}
	if server.url != "" && !isURL(server.url) {
		return nil, &policy.FieldError{Field: "enrich.userinfo.url", Err: errors.New("no http or https URL")}
	}
	return server, nil
}

// ask returns what the server knows of a caller, and the length of its text. Errors hold nothing of the token nor of the answer; errDisowned
// is that the token's own issuer does not stand by it.
func (s *enrichmentServer) ask(ctx context.Context, c caller) (map[string]any, int, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	request, err := s.request(ctx, c)
	if err != nil {
		return nil, 0, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		var wrapped *url.Error // which quotes the address
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	switch {
	case s.userInfo && response.StatusCode == http.StatusUnauthorized: // OpenID Connect Core, section 5.3.3
		return nil, 0, errDisowned
	case response.StatusCode != http.StatusOK:
		return nil, 0, fmt.Errorf("status %d, and only 200 is an answer", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, 0, fmt.Errorf("reading the answer: %w", err)
	}
	if len(body) > maxAnswer {
		return nil, 0, fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	answer, err := decodeObject(string(body), maxClaimsDepth)
	if err != nil {
		return nil, 0, fmt.Errorf("no answer that can be read: %w", err)
	}
	// Without this an answer about somebody else would do (OpenID Connect Core, section 5.3.2).
	if subject, _ := answer["sub"].(string); s.userInfo && subject != c.principal.Subject {
		return nil, 0, errors.New("the answer is about another subject")
	}
	return answer, len(body), nil
}

func (s *enrichmentServer) request(ctx context.Context, c caller) (*http.Request, error) {
	if s.userInfo {
		if _, bound := c.principal.Claims["cnf"]; bound { // and behind Bearer it would be refused (RFC 9449, section 7.2)
			return nil, errors.New("the token is bound to its caller, and the UserInfo endpoint takes it from nobody else")
		}
		address, err := s.endpoint(ctx, c.principal.Issuer)
		if err != nil {
			return nil, err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
		if err != nil {
			return nil, errors.New("no URL that can be asked")
		}
		request.Header.Set("Authorization", "Bearer "+c.token)
		request.Header.Set("Accept", "application/json")
		return request, nil
	}
	question, err := json.Marshal(map[string]string{
		"id": c.principal.ID, "subject": c.principal.Subject, "provider": s.name, "issuer": c.principal.Issuer, "tenant": c.principal.Tenant,
	})
	if err != nil {
		return nil, errors.New("no question that can be written")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(question))
	if err != nil {
		return nil, errors.New("no URL that can be asked")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	if s.secret != "" {
		request.Header.Set("Authorization", "Bearer "+s.secret)
	}
	return request, nil
}

// endpoint returns the issuer's UserInfo endpoint. The token goes there, so that an https issuer must have an https endpoint.
func (s *enrichmentServer) endpoint(ctx context.Context, issuer string) (string, error) {
	if s.url != "" {
		return s.url, nil
	}
	s.mu.Lock()
	known, ok := s.discovered[issuer]
	s.mu.Unlock()
	if ok && s.now().Sub(known.at) < endpointAge {
		return known.url, nil
	}
	body, _, err := get(ctx, s.client, source{issuer: issuer}.discovery())
	if err != nil {
		return "", fmt.Errorf("discovering the UserInfo endpoint: %w", err)
	}
	document, err := decodeObject(string(body), maxSetDepth)
	if err != nil {
		return "", fmt.Errorf("no discovery document: %w", err)
	}
	if named, _ := document["issuer"].(string); named != issuer {
		return "", errors.New("the discovery document is of another issuer")
	}
	address, _ := document["userinfo_endpoint"].(string)
	if !isURL(address) || strings.HasPrefix(issuer, "https:") && !strings.HasPrefix(address, "https:") {
		return "", errors.New("userinfo_endpoint is no URL, or not https where the issuer is")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discovered[issuer] = endpointAt{address, s.now()}
	return address, nil
}

// complain logs why there was no answer, once in a while.
func (s *enrichmentServer) complain(ctx context.Context, err error) {
	now, last := s.now().UnixNano(), s.complained.Load()
	if now-last < int64(complaintInterval) || !s.complained.CompareAndSwap(last, now) {
		return
	}
	s.logger.WarnContext(ctx, "a server that is asked more about callers gives no answer", "provider", s.name, "err", err)
}
