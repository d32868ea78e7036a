package server_test

import (
	"os"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// withBody gives a check a body of JSON, in the form of headers that the check has.
func withBody(check *authv3.CheckRequest, body string) *authv3.CheckRequest {
	http := check.GetAttributes().GetRequest().GetHttp()
	http.Method, http.RawBody, http.Size = "POST", []byte(body), int64(len(body))
	if http.GetHeaderMap() != nil {
		http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: "content-type", RawValue: []byte("application/json")})
		return check
	}
	if http.Headers == nil {
		http.Headers = map[string]string{}
	}
	http.Headers["content-type"] = "application/json"
	return check
}

// A descriptor set that does not compile leaves the one in force, and the log says where it is named and why; a good one is
// in force at once. In report mode what would have been refused is counted.
func TestSchemasReload(t *testing.T) {
	bank, err := os.ReadFile("../proto/schema/testdata/bank.binpb")
	if err != nil {
		t.Fatal(err)
	}
	const config = configText + `
- name: transfers
  match: [{path: /transfers}]
  public: true
  validate: bank
schemas:
- name: bank
  protobuf: {descriptors: {file: bank.binpb}, message: bank.v1.Item}
`
	f := start(t, map[string]string{"kasbah.yaml": config, "bank.binpb": string(bank)})
	conn := f.dial()
	try := func(body string) int { return status(ask(t, conn, withBody(get("/transfers", ""), body))) }
	if got := [2]int{try(`{"name": "a"}`), try(`{"price": "1"}`)}; got != [2]int{200, 400} {
		t.Fatalf("at first: %v", got)
	}
	f.replace("bank.binpb", string(bank[:len(bank)/2]))
	await(t, "the refusal", func() bool { return strings.Contains(f.log.String(), "FileDescriptorSet") })
	if !strings.Contains(f.log.String(), "kasbah.yaml:26:34") || !strings.Contains(f.log.String(), "bank.binpb: it is no") {
		t.Errorf("the log does not say where: %s", f.log)
	}
	if got := [2]int{try(`{"name": "a"}`), try(`{"price": "1"}`)}; got != [2]int{200, 400} {
		t.Errorf("after a broken load: %v", got)
	}
	f.replace("kasbah.yaml", strings.Replace(config, "- name: bank\n", "- name: bank\n  mode: report\n", 1))
	f.replace("bank.binpb", string(bank))
	await(t, "what is only reported", func() bool { return try(`{"price": "1"}`) == 200 })
	if got := f.metric(`kasbah_validation_reported_total{route="transfers"}`); got == "" || got == "0" {
		t.Errorf("reported: %q", got)
	}
}
