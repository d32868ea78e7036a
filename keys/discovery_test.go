package keys_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
)

const discoveryURL = issuerName + "/.well-known/openid-configuration"

// discovering gives the world a provider whose keys are discovered at its issuer, as its only one.
func (w *world) discovering(issuer string) {
	w.t.Helper()
	cfg := config("corp", nil)
	cfg.GetJwt().Issuer, cfg.GetJwt().Jwks = issuer, nil
	provider := compile(w.t, w.store, cfg)
	w.auth = keys.NewAuthenticator([]*keys.Provider{provider})
	w.store.Retain([]*keys.Provider{provider})
}

func TestDiscovery(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.discovering(issuerName)
		w.run()
		status := w.status()
		if status.Source != discoveryURL || status.Keys != 3 || status.Err != nil {
			t.Errorf("the status is %+v", status)
		}
		if got := w.reason(w.issuer.Token(keystest.Claims{})); got != policy.NoReason {
			t.Errorf("a good token: %v", got)
		}
		documents, sets := w.network.count(discoveryURL)
		if documents != 1 || len(sets) != 1 || sets[0] != keysURL {
			t.Errorf("%d documents, and %q", documents, sets)
		}
	})
}

func TestDiscoveryDocuments(t *testing.T) {
	for name, test := range map[string]struct {
		document string
		good     bool
	}{
		"good":           {`{"issuer":"https://issuer.test","jwks_uri":"https://issuer.test/jwks.json"}`, true},
		"elsewhere":      {`{"issuer":"https://issuer.test","jwks_uri":"https://keys.test/jwks.json?x=1"}`, true},
		"another issuer": {`{"issuer":"https://issuer.test/","jwks_uri":"https://issuer.test/jwks.json"}`, false},
		"no issuer":      {`{"jwks_uri":"https://issuer.test/jwks.json"}`, false},
		"issuer twice":   {`{"issuer":"https://evil.test","issuer":"https://issuer.test","jwks_uri":"https://issuer.test/jwks.json"}`, false},
		"no jwks_uri":    {`{"issuer":"https://issuer.test"}`, false},
		"http":           {`{"issuer":"https://issuer.test","jwks_uri":"http://issuer.test/jwks.json"}`, false},
		"file":           {`{"issuer":"https://issuer.test","jwks_uri":"file:///etc/passwd"}`, false},
		"no host":        {`{"issuer":"https://issuer.test","jwks_uri":"/jwks.json"}`, false},
		"number":         {`{"issuer":"https://issuer.test","jwks_uri":7}`, false},
		"HTML":           {`<html>`, false},
		"null":           {`null`, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				set := w.issuer.JWKS()
				w.network.serve(http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/jwks.json" {
						_, _ = writer.Write(set)
						return
					}
					_, _ = fmt.Fprint(writer, test.document)
				}))
				w.discovering(issuerName)
				w.run()
				status := w.status()
				if good := status.Err == nil && status.Keys == 3; good != test.good {
					t.Errorf("the status is %+v", status)
				}
				if _, others := w.network.count(discoveryURL); !test.good && len(others) > 0 {
					t.Errorf("somebody else was asked: %q", others)
				}
			})
		})
	}
}

func TestDiscoveryOfAnIssuerWithAPath(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.network.serve(http.NotFoundHandler())
		w.discovering("https://issuer.test/tenant/v2/")
		w.run()
		count, others := w.network.count("https://issuer.test/tenant/v2/.well-known/openid-configuration")
		if count != 1 || !slices.Equal(others, []string{"https://issuer.test/.well-known/oauth-authorization-server/tenant/v2"}) {
			t.Errorf("asked %d times, and %q", count, others)
		}
	})
}

// Authorization servers without OpenID Connect have their metadata elsewhere (RFC 8414), which is looked for when there is no
// other document, and must be the issuer's own as well.
func TestAuthorizationServerMetadata(t *testing.T) {
	const at = "/.well-known/oauth-authorization-server/tenant"
	for name, test := range map[string]struct {
		openid   http.Handler
		document string
		good     bool
	}{
		"good":             {http.NotFoundHandler(), `{"issuer":"https://issuer.test/tenant","jwks_uri":"https://issuer.test/jwks.json"}`, true},
		"another issuer":   {http.NotFoundHandler(), `{"issuer":"https://issuer.test","jwks_uri":"https://issuer.test/jwks.json"}`, false},
		"no jwks_uri":      {http.NotFoundHandler(), `{"issuer":"https://issuer.test/tenant"}`, false},
		"http":             {http.NotFoundHandler(), `{"issuer":"https://issuer.test/tenant","jwks_uri":"http://issuer.test/jwks.json"}`, false},
		"a broken server":  {answer(500, ""), `{"issuer":"https://issuer.test/tenant","jwks_uri":"https://issuer.test/jwks.json"}`, false},
		"a forbidding one": {answer(403, ""), `{"issuer":"https://issuer.test/tenant","jwks_uri":"https://issuer.test/jwks.json"}`, false},
		"another's OpenID": {answer(200, `{"issuer":"https://evil.test"}`), `{"issuer":"https://issuer.test/tenant","jwks_uri":"https://issuer.test/jwks.json"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				set := w.issuer.JWKS()
				w.network.serve(http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
					switch r.URL.Path {
					case at:
						_, _ = fmt.Fprint(writer, test.document)
					case "/jwks.json":
						_, _ = writer.Write(set)
					default:
						test.openid.ServeHTTP(writer, r)
					}
				}))
				w.discovering("https://issuer.test/tenant")
				w.run()
				if status := w.status(); (status.Err == nil && status.Keys == 3) != test.good {
					t.Errorf("the status is %+v", status)
				}
			})
		})
	}
}

func TestRedirectOnTheSameHostIsFollowed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.network.serve(http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/jwks.json" {
				http.Redirect(writer, r, "/moved", http.StatusMovedPermanently)
				return
			}
			_, _ = writer.Write(w.issuer.JWKS())
		}))
		w.run()
		synctest.Wait()
		if status := w.status(); status.Err != nil || status.Keys != 3 {
			t.Errorf("the status is %+v", status)
		}
	})
}

// A request to a set that appears while Run runs waits for its first fetch.
func TestSetAskedForLaterIsFetchedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.run()
		time.Sleep(time.Second)
		w.discovering(issuerName)
		if got := w.reason(w.issuer.Token(keystest.Claims{})); got != policy.NoReason {
			t.Errorf("a good token: %v", got)
		}
	})
}
