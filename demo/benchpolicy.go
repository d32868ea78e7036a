package demo

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

const benchModel = `[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act
`

const benchConfig = `server: {drain: 0s, log: {decisions: none, level: error}}
providers:
- name: corp
  jwt: {issuer: "` + IssuerURL + `", audiences: [api], algorithms: [RS256], jwks: {file: jwks.json}}
enforcers:
- name: orders
  model: {file: model.conf}
  policy: {file: policy.csv}
routes:
- name: orders
  match: [{path: /}]
  authenticate: [corp]
  authorize: orders
  headers: {x-user: principal.id}
`

// benchPermits is how many of that many rules permit something; the others give a role to a user, as on Casbin's benchmark
// page.
func benchPermits(rules int) int { return max(rules/11, 1) }

// benchPolicy is a policy of that many rules: role i may read the orders of shop i/10, user i has role i.
func benchPolicy(rules int) string {
	permits := benchPermits(rules)
	var text strings.Builder
	for i := range permits {
		fmt.Fprintf(&text, "p, group%d, /shop%d/orders/:id, GET\n", i, i/10)
	}
	for i := range rules - permits {
		fmt.Fprintf(&text, "g, user%d, group%d\n", i, i%permits)
	}
	return text.String()
}

// benchRequests are requests of as many users, spread over all that there are, each for what it may.
func benchRequests(issuer *keystest.Issuer, rules, count int) [][]byte {
	permits := benchPermits(rules)
	users := rules - permits
	requests := make([][]byte, count)
	for i := range requests {
		user := i * users / count
		token := issuer.Token(keystest.Claims{Subject: fmt.Sprint("user", user)})
		requests[i] = fmt.Appendf(nil, "GET /shop%d/orders/%d HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench\r\nAuthorization: Bearer %s\r\n\r\n",
			user%permits/10, i, token)
	}
	return requests
}

func writeBenchFiles(folder string, issuer *keystest.Issuer, rules int) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"kasbah.yaml": benchConfig, "model.conf": benchModel, "policy.csv": benchPolicy(rules), "jwks.json": string(issuer.JWKS()),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// benchBootstrap is an Envoy with a listener for each server, which answers by itself what that server allows.
func benchBootstrap(servers []*measured) []byte {
	var listeners, clusters strings.Builder
	for i, s := range servers {
		name := listenerName(i)
		host, port, _ := strings.Cut(s.address, ":")
		fmt.Fprintf(&listeners, benchListener, name, name, name, name)
		fmt.Fprintf(&clusters, benchCluster, name, name, host, port)
	}
	return fmt.Appendf(nil, "static_resources:\n  listeners:\n%s  clusters:\n%s", listeners.String(), clusters.String())
}

const benchListener = `  - name: %s
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: %s
          normalize_path: true
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: ok}}}]
          http_filters:
          - name: envoy.filters.http.ext_authz
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              stat_prefix: %s
              transport_api_version: V3
              grpc_service: {envoy_grpc: {cluster_name: %s}, timeout: 5s}
              encode_raw_headers: true
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
`

const benchCluster = `  - name: %s
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: %s
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]
`
