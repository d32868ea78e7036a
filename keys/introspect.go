package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/kasbah-authz/kasbah/keys/internal/outbound"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const (
	// maxAnswer is the longest answer about a token that is read, in bytes.
	maxAnswer = 64 << 10
	// complaintInterval is the least time between two lines of the log about one server.
	complaintInterval = 10 * time.Second
	// signedAnswer is the media type of an answer that is a token itself (RFC 9701, section 5).
	signedAnswer = "token-introspection+jwt"
)

// introspectionServer is where tokens are asked about, and how we say who is asking.
type introspectionServer struct {
	name       string // of the provider
	url        string
	clientID   string
	secret     string
	asForm     bool          // the secret goes in the form, not in the header
	assertion  crypto.Signer // in place of the secret
	method     jwt.SigningMethod
	keyID      string
	timeout    time.Duration
	client     *http.Client
	signed     *jwtProvider // who signs the answers; nil: they are plain
	now        func() time.Time
	logger     *slog.Logger
	complained *atomic.Int64 // when, in Unix nanoseconds
}

// introspectionServer reads how a server is asked.
func (s *Store) introspectionServer(cfg *configv1.Provider, reach outbound.Settings, files Files) (*introspectionServer, error) {
	message := cfg.GetIntrospection()
	if !isURL(message.GetUrl()) {
		return nil, &policy.FieldError{Field: "introspection.url", Err: errors.New("no http or https URL")}
	}
	client, err := s.client(reach)
	if err != nil {
		return nil, err
	}
	server := &introspectionServer{
		name: cfg.GetName(), url: message.GetUrl(), clientID: message.GetClientId(), keyID: message.GetKeyId(),
		asForm:  message.GetAuthentication() == configv1.ClientAuthentication_CLIENT_AUTHENTICATION_POST,
		timeout: duration(message.GetTimeout(), defaultIntrospectionTimeout),
		client:  &http.Client{Transport: client.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		now:     s.now, logger: s.logger, complained: &atomic.Int64{},
	}
	if files.Secret == nil {
		return nil, &policy.FieldError{Field: "introspection.client_secret", Err: errors.New("secrets are not read here")}
	}
	byKey := message.GetAuthentication() == configv1.ClientAuthentication_CLIENT_AUTHENTICATION_PRIVATE_KEY_JWT
	if byKey == (message.GetPrivateKey() == nil) || byKey == (message.GetClientSecret() != nil) {
		return nil, &policy.FieldError{Field: "introspection.authentication", Err: errors.New("private_key_jwt needs a private_key, and the others a client_secret")}
	}
	if byKey {
		err = server.readKey(message.GetPrivateKey(), files)
	} else if server.secret, err = files.Secret(message.GetClientSecret()); err != nil {
		err = &policy.FieldError{Field: "introspection.client_secret", Err: err}
	}
	if err != nil {
		return nil, err
	}
	if from := message.GetSigned(); from != nil {
		server.signed, err = s.jwtProvider(&configv1.Provider{Name: cfg.GetName(), Kind: &configv1.Provider_Jwt{Jwt: &configv1.Jwt{
			Issuer: from.GetIssuer(), Audiences: []string{message.GetClientId()}, Algorithms: from.GetAlgorithms(), Jwks: from.GetJwks(), Types: []string{signedAnswer},
		}}}, reach, files)
		if err != nil {
			return nil, fmt.Errorf("introspection.signed: %w", err)
		}
	}
	return server, nil
}

func (i *introspectionServer) readKey(message *configv1.Secret, files Files) error {
	text, err := files.Secret(message)
	if err != nil {
		return &policy.FieldError{Field: "introspection.private_key", Err: err}
	}
	fault := &policy.FieldError{Field: "introspection.private_key", Err: errors.New("it is no private key in PEM (PKCS #8) of RSA, P-256 or Ed25519")}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return fault
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fault
	}
	switch private := private.(type) {
	case *rsa.PrivateKey:
		i.assertion, i.method = private, jwt.SigningMethodPS256
	case *ecdsa.PrivateKey:
		i.assertion, i.method = private, jwt.SigningMethodES256
		if private.Curve.Params().BitSize != 256 {
			return fault
		}
	case ed25519.PrivateKey:
		i.assertion, i.method = private, jwt.SigningMethodEdDSA
	default:
		return fault
	}
	return nil
}

// ask returns the members of the server's answer about a token, and the length of their text. Errors hold nothing of the
// token nor of the answer.
func (i *introspectionServer) ask(ctx context.Context, raw string) (answer map[string]any, size int, err error) {
	ctx, cancel := context.WithTimeout(ctx, i.timeout)
	defer cancel()
	request, err := i.request(ctx, raw)
	if err != nil {
		return nil, 0, err
	}
	response, err := i.client.Do(request)
	if err != nil {
		var wrapped *url.Error // which quotes the address
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("status %d, and only 200 is an answer", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, 0, fmt.Errorf("reading the answer: %w", err)
	}
	if len(body) > maxAnswer {
		return nil, 0, fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	if i.signed != nil {
		answer, err = i.signed.signedAnswer(ctx, strings.TrimSpace(string(body)))
	} else {
		answer, err = decodeObject(string(body), maxClaimsDepth)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("no answer that can be read: %w", err)
	}
	return answer, len(body), nil
}

// request writes the question (RFC 7662, section 2.1), with who is asking (RFC 6749, section 2.3.1; RFC 7523, section 2.2).
func (i *introspectionServer) request(ctx context.Context, raw string) (*http.Request, error) {
	form := url.Values{"token": {raw}, "token_type_hint": {"access_token"}}
	switch {
	case i.assertion != nil:
		assertion, err := i.sign()
		if err != nil {
			return nil, err
		}
		form.Set("client_id", i.clientID)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	case i.asForm:
		form.Set("client_id", i.clientID)
		form.Set("client_secret", i.secret)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, i.url, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("no URL that can be asked")
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	if i.signed != nil {
		request.Header.Set("Accept", "application/"+signedAnswer)
	}
	if i.assertion == nil && !i.asForm {
		request.SetBasicAuth(url.QueryEscape(i.clientID), url.QueryEscape(i.secret))
	}
	return request, nil
}

func (i *introspectionServer) sign() (string, error) {
	now := i.now()
	token := jwt.NewWithClaims(i.method, jwt.MapClaims{
		"iss": i.clientID, "sub": i.clientID, "aud": i.url, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	if i.keyID != "" {
		token.Header["kid"] = i.keyID
	}
	text, err := token.SignedString(i.assertion)
	if err != nil {
		return "", fmt.Errorf("signing who is asking: %w", err)
	}
	return text, nil
}

// signedAnswer returns the answer inside of a token (RFC 9701, section 5), which has no times and no subject of its own.
func (p *jwtProvider) signedAnswer(ctx context.Context, raw string) (map[string]any, error) {
	t, err := parseToken(raw)
	if err != nil {
		return nil, err
	}
	from, ok := p.issuers[t.issuer]
	switch {
	case !ok:
		return nil, errIssuer
	case !slices.Contains(p.algorithms, t.algorithm):
		return nil, errAlgorithm
	case !slices.Contains(p.types, t.typ):
		return nil, fmt.Errorf("typ is not %s", signedAnswer)
	}
	if err := from.ready(ctx, false, t); err != nil {
		return nil, err
	}
	key, err := find(from.keys.current(), t)
	if err != nil {
		return nil, err
	}
	if err := key.verify(t); err != nil {
		return nil, err
	}
	if err := p.checkAudience(t.claims); err != nil {
		return nil, err
	}
	at, present, err := readTime(t.claims, "iat")
	if now := p.store.now(); err != nil || !present || at.After(now.Add(p.leeway)) || now.Sub(at) > time.Minute+p.leeway {
		return nil, errors.New("it was not made now: iat is absent, or more than a minute ago")
	}
	answer, ok := t.claims["token_introspection"].(map[string]any)
	if !ok {
		return nil, errors.New("it has no token_introspection")
	}
	return answer, nil
}

// complain logs why there was no answer, once in a while.
func (i *introspectionServer) complain(ctx context.Context, err error) {
	now, last := i.now().UnixNano(), i.complained.Load()
	if now-last < int64(complaintInterval) || !i.complained.CompareAndSwap(last, now) {
		return
	}
	i.logger.WarnContext(ctx, "an introspection server gives no answer; its callers are refused as unavailable", "provider", i.name, "err", err)
}
