package keystest_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func serve(t *testing.T, handler http.Handler, method, target, form string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form))
	if form != "" {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

func TestDiscovery(t *testing.T) {
	issuer := newIssuer(t)
	answer := serve(t, issuer, "GET", "/.well-known/openid-configuration", "")
	var document map[string]any
	if err := json.Unmarshal(answer.Body.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	if document["issuer"] != name || document["jwks_uri"] != name+"/jwks.json" {
		t.Errorf("the document is %v", document)
	}
	set := serve(t, issuer, "GET", "/jwks.json", "")
	if diff := cmp.Diff(string(issuer.JWKS()), set.Body.String()); diff != "" {
		t.Errorf("the key set (-want +got):\n%s", diff)
	}
	for _, answer := range []*httptest.ResponseRecorder{answer, set} {
		if answer.Code != http.StatusOK || answer.Header().Get("Cache-Control") == "" {
			t.Errorf("status %d, Cache-Control %q", answer.Code, answer.Header().Get("Cache-Control"))
		}
	}
}

func TestKeySetIsPublicOnly(t *testing.T) {
	var document struct{ Keys []map[string]any }
	if err := json.Unmarshal(newIssuer(t).JWKS(), &document); err != nil {
		t.Fatal(err)
	}
	if len(document.Keys) != 3 {
		t.Fatalf("%d keys", len(document.Keys))
	}
	for _, key := range document.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if _, ok := key[private]; ok {
				t.Errorf("the %v key publishes %q", key["alg"], private)
			}
		}
	}
}

func TestTokenEndpoint(t *testing.T) {
	issuer := newIssuer(t)
	form := url.Values{"sub": {"bob"}, "aud": {"api,web"}, "roles": {"admin, editor", "viewer"}, "scope": {"read write"}}
	for _, method := range []string{"GET", "POST"} {
		for ttl, want := range map[string]float64{"": 3600, "90": 90, "10m": 600, "86400": 86400} {
			t.Run(method+" ttl "+ttl, func(t *testing.T) {
				form.Set("ttl", ttl)
				target, body := "/token?"+form.Encode(), ""
				if method == "POST" {
					target, body = "/token", form.Encode()
				}
				answer := serve(t, issuer, method, target, body)
				if got := answer.Header().Get("Cache-Control"); got != "no-store" {
					t.Errorf("Cache-Control %q", got)
				}
				var response struct {
					Token   string  `json:"access_token"`
					Type    string  `json:"token_type"`
					Expires float64 `json:"expires_in"`
				}
				if err := json.Unmarshal(answer.Body.Bytes(), &response); err != nil {
					t.Fatalf("status %d: %v", answer.Code, err)
				}
				if response.Type != "Bearer" || response.Expires != want {
					t.Errorf("token_type %q, expires_in %v", response.Type, response.Expires)
				}
				claims, err := verify(t, issuer.JWKS(), response.Token)
				if err != nil {
					t.Fatal(err)
				}
				got := []any{claims["sub"], claims["aud"], claims["roles"], claims["scope"], claims["exp"]}
				wanted := []any{"bob", []any{"api", "web"}, []any{"admin", "editor", "viewer"}, "read write", float64(instant.Unix()) + want}
				if diff := cmp.Diff(wanted, got); diff != "" {
					t.Errorf("claims (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestTokenEndpointRefuses(t *testing.T) {
	issuer := newIssuer(t)
	for _, query := range []string{
		"alg=HS256", "alg=none", "ttl=0", "ttl=-1m", "ttl=500ms", "ttl=25h", "ttl=86401", "ttl=99999999999999999999", "ttl=soon", "sub=%zz",
	} {
		t.Run(query, func(t *testing.T) {
			answer := serve(t, issuer, "GET", "/token?"+query, "")
			if answer.Code != http.StatusBadRequest || !strings.Contains(answer.Body.String(), "invalid_request") {
				t.Errorf("status %d: %s", answer.Code, answer.Body)
			}
		})
	}
	if answer := serve(t, issuer, "POST", "/token", "sub="+strings.Repeat("a", 20<<10)); answer.Code != http.StatusBadRequest {
		t.Errorf("a form of 20 KiB: status %d", answer.Code)
	}
}

func TestRotateEndpoint(t *testing.T) {
	issuer := newIssuer(t)
	before := len(published(t, issuer.JWKS()))
	if answer := serve(t, issuer, "GET", "/rotate", ""); answer.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", answer.Code)
	}
	if got := len(published(t, issuer.JWKS())); got != before {
		t.Errorf("GET rotated: %d keys", got)
	}
	if answer := serve(t, issuer, "POST", "/rotate", ""); answer.Code != http.StatusNoContent {
		t.Errorf("POST: status %d", answer.Code)
	}
	if got := len(published(t, issuer.JWKS())); got != 2*before {
		t.Errorf("POST: %d keys, want %d", got, 2*before)
	}
}

func TestOtherPaths(t *testing.T) {
	issuer := newIssuer(t)
	if answer := serve(t, issuer, "GET", "/", ""); answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), "/token") {
		t.Errorf("/: status %d: %s", answer.Code, answer.Body)
	}
	for target, want := range map[string]int{
		"/nothing": http.StatusNotFound, "/jwks.json/": http.StatusNotFound, "/token/x": http.StatusNotFound,
	} {
		if answer := serve(t, issuer, "GET", target, ""); answer.Code != want {
			t.Errorf("%s: status %d, want %d", target, answer.Code, want)
		}
	}
	for _, target := range []string{"/jwks.json", "/.well-known/openid-configuration"} {
		if answer := serve(t, issuer, "DELETE", target, ""); answer.Code != http.StatusMethodNotAllowed {
			t.Errorf("DELETE %s: status %d", target, answer.Code)
		}
	}
	if answer := serve(t, issuer, "PUT", "/token", ""); answer.Code != http.StatusMethodNotAllowed {
		t.Errorf("PUT /token: status %d", answer.Code)
	}
}
