package envoytest_test

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
)

const withAdmin = bootstrap + "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}\n"

// asJSON is the bootstrap in JSON, with the names that protobuf's JSON gives its fields.
func asJSON(t *testing.T, text string) string {
	t.Helper()
	var tree any
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("socket_address", "socketAddress", "port_value", "portValue").Replace(string(out))
}

func TestEveryFormOfBootstrapIsRewritten(t *testing.T) {
	upstream := backend(t)
	anchored := strings.Replace(bootstrap, "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 8080}}}}",
		"{endpoint: {address: &back {socket_address: {address: 127.0.0.1, port_value: 8080}}}}, {endpoint: {address: *back}}", 1)
	if anchored == bootstrap {
		t.Fatal("the bootstrap of this test has changed")
	}
	for name, text := range map[string]string{
		"YAML": bootstrap, "with admin": withAdmin, "JSON": asJSON(t, bootstrap), "JSON with admin": asJSON(t, withAdmin), "anchors": anchored,
	} {
		t.Run(name, func(t *testing.T) {
			envoy := envoytest.Run(t, envoytest.Config{
				Bootstrap: []byte(text),
				Addresses: map[string]string{"0.0.0.0:10000": "127.0.0.1:0", "127.0.0.1:8080": upstream},
			})
			if host, port, err := net.SplitHostPort(envoy.Admin()); err != nil || host != "127.0.0.1" || port == "9901" || port == "0" {
				t.Errorf("the admin interface is at %s, want a free port of 127.0.0.1", envoy.Admin())
			}
			for range 2 {
				if status, body, err := get(t.Context(), envoy.Listener("front"), "/x"); status != http.StatusOK || body != "upstream saw /x" {
					t.Errorf("got %d %q, %v", status, body, err)
				}
			}
		})
	}
}

// An operator who names the admin's address gets it there, and names count as they are written.
func TestNamedAdminIsKept(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	envoy := envoytest.Run(t, envoytest.Config{
		Bootstrap: []byte(withAdmin),
		Addresses: map[string]string{"0.0.0.0:10000": "127.0.0.1:0", "127.0.0.1:9901": free},
	})
	if envoy.Admin() != free {
		t.Errorf("the admin interface is at %s, want %s", envoy.Admin(), free)
	}
}

func TestConfigMapData(t *testing.T) {
	for _, text := range []string{"", "kind: Secret\ndata: {a: b}", "kind: ConfigMap", "kind: [", "- a"} {
		if data, err := envoytest.ConfigMapData([]byte(text)); err == nil {
			t.Errorf("%q has %v", text, data)
		}
	}
	data, err := envoytest.ConfigMapData([]byte("kind: ConfigMap\ndata: {a.yaml: \"x: y\\n\"}"))
	if err != nil || data["a.yaml"] != "x: y\n" {
		t.Errorf("got %v, %v", data, err)
	}
}
