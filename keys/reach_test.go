package keys_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/internal/outbound"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// runStore runs a store with a transport of its own until the test ends.
func runStore(t *testing.T, options keys.Options) *keys.Store {
	t.Helper()
	options.Now = time.Now
	store := newStore(t, options)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return store
}

// serveTLS serves a handler over TLS on this machine, and returns its URL and its certificate in PEM.
func serveTLS(t *testing.T, handler http.Handler) (address, authority string) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of callers that do not know its authority
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

func attempted(store *keys.Store) func() bool { return func() bool { return store.Sets()[0].Attempted } }

// An issuer's server is believed by the authorities of ca_file alone, and reached at a private address only where that is allowed.
func TestReach(t *testing.T) {
	issuer := newIssuer(t, issuerName, time.Now)
	var asked atomic.Int32
	address, authority := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		issuer.ServeHTTP(w, r)
	}))
	files := map[string]string{"ca.pem": authority, "other.pem": string(keystest.NewAuthority("another", time.Now()).PEM())}
	read := func(path string) ([]byte, error) {
		text, ok := files[path]
		if !ok {
			return nil, os.ErrNotExist
		}
		return []byte(text), nil
	}
	for name, test := range map[string]struct {
		client *configv1.HttpClient
		good   bool
	}{
		"its authority":      {&configv1.HttpClient{CaFile: "ca.pem", PrivateAddresses: true}, true},
		"another authority":  {&configv1.HttpClient{CaFile: "other.pem", PrivateAddresses: true}, false},
		"the system's":       {anyAddress, false},
		"public addresses":   {&configv1.HttpClient{CaFile: "ca.pem"}, false},
		"nothing is allowed": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			asked.Store(0)
			store := runStore(t, keys.Options{})
			cfg := remoteConfig("corp", address+"/jwks.json")
			cfg.Client = test.client
			if _, err := store.Provider(cfg, keys.Files{Read: read}); err != nil {
				t.Fatal(err)
			}
			await(t, attempted(store))
			status := store.Sets()[0]
			if (status.Err == nil) != test.good || (status.Keys == 3) != test.good || (asked.Load() > 0) != test.good {
				t.Errorf("%+v, asked %d times", status, asked.Load())
			}
			if private := errors.Is(status.Err, outbound.ErrPrivateAddress); private != !test.client.GetPrivateAddresses() {
				t.Errorf("it failed by %v", status.Err)
			}
		})
	}
}

// A discovery document leads nowhere but where the provider may go: here to this machine, over a proxy that is one.
func TestDiscoveryLeadsToNoPrivateAddress(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		_, _ = io.WriteString(w, `{"issuer":"http://issuer.example","jwks_uri":"http://169.254.169.254/latest/keys"}`)
	}))
	defer proxy.Close()
	store := runStore(t, keys.Options{})
	cfg := config("corp", nil)
	cfg.GetJwt().Issuer, cfg.GetJwt().Jwks, cfg.Client = "http://issuer.example", nil, &configv1.HttpClient{Proxy: proxy.URL}
	compile(t, store, cfg)
	await(t, attempted(store))
	if status := store.Sets()[0]; !errors.Is(status.Err, outbound.ErrPrivateAddress) || len(asked) != 1 {
		t.Errorf("%+v, and the proxy was asked for %q", status, asked)
	}
}

func TestReachIsRefused(t *testing.T) {
	_, authority := serveTLS(t, http.NotFoundHandler())
	for name, test := range map[string]struct {
		client *configv1.HttpClient
		file   string
		field  string
	}{
		"no file":           {client: &configv1.HttpClient{CaFile: "missing.pem"}, field: "client.ca_file"},
		"an empty file":     {client: &configv1.HttpClient{CaFile: "ca.pem"}, field: "client.ca_file"},
		"garbage":           {client: &configv1.HttpClient{CaFile: "ca.pem"}, file: "garbage", field: "client.ca_file"},
		"half of one":       {client: &configv1.HttpClient{CaFile: "ca.pem"}, file: authority[:len(authority)/2], field: "client.ca_file"},
		"one and half":      {client: &configv1.HttpClient{CaFile: "ca.pem"}, file: authority + authority[:len(authority)/2], field: "client.ca_file"},
		"a key":             {client: &configv1.HttpClient{CaFile: "ca.pem"}, file: strings.ReplaceAll(authority, "CERTIFICATE", "PRIVATE KEY"), field: "client.ca_file"},
		"no proxy":          {client: &configv1.HttpClient{Proxy: "proxy:3128"}, field: "client.proxy"},
		"a proxy's secrets": {client: &configv1.HttpClient{Proxy: "http://user:s3cret@proxy:3128"}, field: "client.proxy"},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(t, keys.Options{Now: time.Now})
			cfg := remoteConfig("corp", keysURL)
			cfg.Client = test.client
			_, err := store.Provider(cfg, keys.Files{Read: func(path string) ([]byte, error) {
				if path != "ca.pem" {
					return nil, os.ErrNotExist
				}
				return []byte(test.file), nil
			}})
			var fault *policy.FieldError
			if !errors.As(err, &fault) || fault.Field != test.field || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("it is %v", err)
			}
			if len(store.Sets()) != 0 {
				t.Error("it is fetched all the same")
			}
		})
	}
}

// A server that is asked about tokens is reached by the same rules.
func TestIntrospectionReachesNoPrivateAddress(t *testing.T) {
	issuer := newIssuer(t, issuerName, time.Now)
	address, authority := serveTLS(t, issuer)
	for _, private := range []bool{false, true} {
		store := runStore(t, keys.Options{})
		provider, err := store.Provider(&configv1.Provider{
			Name: "opaque", Client: &configv1.HttpClient{CaFile: "ca.pem", PrivateAddresses: private},
			Kind: &configv1.Provider_Introspection{Introspection: &configv1.Introspection{
				Url: address + "/introspect", ClientId: "kasbah", ClientSecret: &configv1.Secret{}, Audiences: []string{"api"},
			}},
		}, keys.Files{
			Read:   func(string) ([]byte, error) { return []byte(authority), nil },
			Secret: func(*configv1.Secret) (string, error) { return "s3cret", nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		auth := keys.NewAuthenticator([]*keys.Provider{provider})
		var outcome policy.Outcome
		await(t, func() bool {
			outcome, err = auth.Evaluate(t.Context(), withToken(issuer.Opaque(keystest.Claims{})), &policy.Principal{})
			return err == nil || !strings.Contains(err.Error(), "does not run")
		})
		if private && (err != nil || outcome.Principal == nil) || !private && !errors.Is(err, outbound.ErrPrivateAddress) {
			t.Errorf("private addresses %t: %+v, %v", private, outcome, err)
		}
	}
}
