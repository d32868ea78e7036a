package keystest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxForm is the longest token request, in bytes.
	maxForm = 16 << 10
	// maxLifetime is the longest that a token of the token endpoint is good for.
	maxLifetime = 24 * time.Hour
)

const overview = `This is a development issuer. It gives a token to whoever asks; nothing that matters may trust it.

GET  /.well-known/openid-configuration   the discovery document
GET  /jwks.json                          the public keys
GET  /token, POST /token                 a token: sub, aud, roles (repeated or with commas), scope,
                                         ttl (such as 10m, or seconds), alg (RS256, ES256, EdDSA)
POST /introspect                         whether a token is active that Opaque gave out
POST /rotate                             a new signing key; the former stays published until the next
`

// ServeHTTP serves the discovery document (OpenID Connect Discovery 1.0, section 4), the key set, the token
// endpoint and the rotation.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		serveJSON(w, r, "public, max-age=60", i.discovery())
	case "/jwks.json":
		serveJSON(w, r, "public, max-age=60", i.JWKS())
	case "/token":
		i.serveToken(w, r)
	case "/introspect":
		i.serveIntrospection(w, r)
	case "/rotate":
		if r.Method != http.MethodPost {
			refuseMethod(w, "POST")
			return
		}
		i.Rotate()
		w.WriteHeader(http.StatusNoContent)
	case "/":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		write(w, []byte(overview))
	default:
		http.NotFound(w, r)
	}
}

func (i *Issuer) discovery() []byte {
	base := strings.TrimSuffix(i.name, "/")
	return mustJSON(map[string]any{
		"issuer":                                i.name,
		"jwks_uri":                              base + "/jwks.json",
		"token_endpoint":                        base + "/token",
		"response_types_supported":              []string{"token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{rs256, es256, eddsa},
	})
}

func (i *Issuer) serveToken(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost && r.Method != http.MethodGet {
		refuseMethod(w, "GET, POST")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	claims, err := readClaims(r)
	if err != nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		write(w, mustJSON(map[string]any{"error": "invalid_request", "error_description": err.Error()}))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	write(w, mustJSON(map[string]any{
		"access_token": i.Token(claims),
		"token_type":   "Bearer",
		"expires_in":   int64(claims.Lifetime / time.Second),
	}))
}

func readClaims(r *http.Request) (Claims, error) {
	if err := r.ParseForm(); err != nil {
		return Claims{}, fmt.Errorf("reading the form: %w", err)
	}
	claims := Claims{
		Subject:   r.Form.Get("sub"),
		Audience:  words(r.Form["aud"]),
		Roles:     words(r.Form["roles"]),
		Scope:     r.Form.Get("scope"),
		Lifetime:  time.Hour,
		Algorithm: r.Form.Get("alg"),
	}
	switch claims.Algorithm {
	case "", rs256, es256, eddsa:
	default:
		return Claims{}, fmt.Errorf("alg is none of RS256, ES256, EdDSA")
	}
	if ttl := r.Form.Get("ttl"); ttl != "" {
		lifetime, err := readLifetime(ttl)
		if err != nil {
			return Claims{}, err
		}
		claims.Lifetime = lifetime
	}
	return claims, nil
}

func readLifetime(text string) (time.Duration, error) {
	lifetime, err := time.ParseDuration(text)
	if seconds, atoiErr := strconv.Atoi(text); atoiErr == nil && seconds <= int(maxLifetime/time.Second) {
		lifetime, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || lifetime < time.Second || lifetime > maxLifetime {
		return 0, fmt.Errorf("ttl is no duration from 1s to 24h, such as 10m, or 600 for seconds")
	}
	return lifetime, nil
}

// words splits values that were repeated, or written with commas between them, or both.
func words(values []string) []string {
	var all []string
	for _, value := range values {
		for word := range strings.SplitSeq(value, ",") {
			if word = strings.TrimSpace(word); word != "" {
				all = append(all, word)
			}
		}
	}
	return all
}

func serveJSON(w http.ResponseWriter, r *http.Request, cache string, body []byte) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuseMethod(w, "GET, HEAD")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", cache)
	write(w, body)
}

func refuseMethod(w http.ResponseWriter, allowed string) {
	w.Header().Set("Allow", allowed)
	http.Error(w, "the method here is "+allowed, http.StatusMethodNotAllowed)
}

// write sends the answer. A client that has gone cannot be told so.
func write(w http.ResponseWriter, body []byte) { _, _ = w.Write(body) }
