package server_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/server"
	"github.com/kasbah-authz/kasbah/server/servertest"
)

// TestSecretsStayInside sends marked secrets of every kind at debug level, with every decision logged, and looks for them
// in all that comes out: the log, the metrics, the readiness page, the answers.
func TestSecretsStayInside(t *testing.T) {
	issuer, client := servertest.Issuer(t)
	files := servertest.Orders(issuer)
	files[servertest.ConfigFile] = replaceOnce(t, files[servertest.ConfigFile], "file: jwks.json}}", "url: 'http://"+secret+":"+secret+"@issuer.test/jwks.json?key="+secret+"'}}\n  client: {private_addresses: true}") +
		"- name: lost\n  match: [{path: /lost}]\n  authenticate: [lost]\n  any_principal: true\n"
	files[servertest.ConfigFile] = replaceOnce(t, files[servertest.ConfigFile], "enforcers:\n",
		"- name: lost\n  jwt: {issuer: 'http://lost.test', audiences: [api], algorithms: [RS256], jwks: {url: 'http://issuer.test/none?key="+secret+"'}}\n  client: {private_addresses: true}\nenforcers:\n")
	s := servertest.Start(t, servertest.Options{Files: files, Keys: client})
	secrets := []string{secret}
	var out strings.Builder
	send := func(path, authorization string) {
		for _, form := range []func(*authv3.CheckRequest){servertest.Lines, func(*authv3.CheckRequest) {}} {
			response := s.Check(servertest.NewCheck("GET", path+"?token="+secret, form, servertest.Header("authorization", authorization),
				servertest.Header("cookie", "session="+secret), servertest.Header("x-api-key", secret), servertest.Header("proxy-authorization", secret)))
			fmt.Fprintln(&out, response)
		}
	}
	tokens := []string{issuer.Token(keystest.Claims{Extra: map[string]any{"note": secret}})}
	for _, forgery := range keystest.Forgeries() {
		tokens = append(tokens, issuer.Forge(forgery, alice))
	}
	for _, token := range tokens {
		for i, part := range strings.Split(token, ".") {
			if i > 0 && len(part) > 20 {
				secrets = append(secrets, part[:20], part[len(part)-20:])
			}
		}
		for _, path := range []string{"/healthz", "/orders/7", "/reports/2026", "/lost", "/nowhere", "//"} {
			send(path, "Bearer "+token)
		}
	}
	for _, other := range []string{"Basic " + secret, "Bearer " + secret, "Bearer " + secret + " " + secret, "Bearer" + secret, secret} {
		send("/orders/7", other)
	}
	servertest.Replace(t, s.Folder+"/policy.csv", "q, "+servertest.OrdersPolicy)
	s.AwaitRefused(1)
	for _, page := range []string{"/metrics", "/readyz", "/livez", "/"} {
		_, body := s.Admin(page)
		out.WriteString(body)
	}
	out.WriteString(s.Log.String())
	if text := out.String(); len(text) < 100_000 || strings.Count(text, `"msg":"decision"`) < 400 {
		t.Fatalf("only %d bytes came out", len(text))
	}
	for line := range strings.Lines(out.String()) {
		for _, hidden := range secrets {
			if strings.Contains(line, hidden) {
				t.Fatalf("a secret came out: %.600s", line)
			}
		}
	}
}

// TestSeriesAreNotTheCallers: 2,000 requests of arbitrary text add no series, and none has their text.
func TestSeriesAreNotTheCallers(t *testing.T) {
	issuer := testIssuer(t)
	s := startOrders(t, func(files map[string]string) {
		files[servertest.ConfigFile] = replaceOnce(t, files[servertest.ConfigFile], "level: debug, decisions: all", "level: error, decisions: none")
	})
	source := rand.New(rand.NewPCG(1, 2))
	word := func() string { return fmt.Sprintf("zq%x", source.Uint64()) }
	send := func(i int) {
		var options []func(*authv3.CheckRequest)
		path, method := "/"+word(), "GET"
		switch i % 8 {
		case 1:
			method = strings.ToUpper(word())
		case 2:
			options = append(options, servertest.Host(word()+".example"))
		case 3:
			path = "/orders/" + word()
			options = append(options, servertest.Bearer(word()))
		case 4:
			path = "/orders/" + word()
			options = append(options, servertest.Bearer(issuer.Token(keystest.Claims{Subject: word(), Roles: []string{word()}})))
		case 5:
			options = append(options, func(in *authv3.CheckRequest) {
				in.Attributes.ContextExtensions = map[string]string{"kasbah.route": word()}
			})
		case 6:
			path = "/orders/" + word()
			options = append(options, servertest.Bearer(issuer.TokenWithHeader(alice, map[string]any{"kid": word()})))
		case 7:
			path = "/../" + word()
		}
		s.Check(servertest.NewCheck(method, path, append(options, servertest.Header(word(), word()))...))
	}
	for i := range 8 {
		send(i)
	}
	before := slices.Sorted(maps.Keys(s.Metrics()))
	for i := range 2000 {
		send(i)
	}
	metrics := s.Metrics()
	for name := range metrics { // a machine that stalls makes decisions late, and that is a reason of its own
		if !slices.Contains(before, name) && !strings.Contains(name, `"deadline"`) && !strings.Contains(name, `"unavailable"`) {
			t.Errorf("a series more: %s", name)
		}
	}
	decisions := 0.0
	for name, value := range metrics {
		if strings.Contains(strings.ToLower(name), "zq") {
			t.Errorf("a caller's text is in %s", name)
		}
		if strings.HasPrefix(name, "kasbah_decisions_total{") {
			decisions += value
		}
	}
	if decisions != 2008 || metrics["kasbah_decision_seconds_count"] != 2008 {
		t.Errorf("%v decisions are counted, %v timed, of 2008", decisions, metrics["kasbah_decision_seconds_count"])
	}
}

// TestOneRequestIsOneLine: whatever a field holds, a decision is one line of the log, and in JSON one valid object.
func TestOneRequestIsOneLine(t *testing.T) {
	issuer := testIssuer(t)
	for _, format := range []string{"json", "text"} {
		s := startOrders(t, func(files map[string]string) {
			files[servertest.ConfigFile] = replaceOnce(t, files[servertest.ConfigFile], "decisions: all", "decisions: all, format: "+format)
		})
		checks := 0
		for r := range rune(260) {
			if r >= 256 {
				r = []rune{0x2028, 0x2029, 0x202e, 0xfeff}[r-256]
			}
			odd := "a" + string(r) + `b","effect":"allow`
			peer := func(in *authv3.CheckRequest) {
				in.Attributes.Source = &authv3.AttributeContext_Peer{Principal: odd, Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
					SocketAddress: &corev3.SocketAddress{Address: odd},
				}}}
			}
			for _, in := range []*authv3.CheckRequest{
				servertest.NewCheck("GET", "/orders/"+odd), servertest.NewCheck("GET", fmt.Sprintf("/orders/%%%02X", byte(r))),
				servertest.NewCheck("GET", "/nowhere", change(func(h *authv3.AttributeContext_HttpRequest) { h.Id = odd })), servertest.NewCheck("G"+odd, "/"),
				servertest.NewCheck("GET", "/nowhere", servertest.Host(odd)), servertest.NewCheck("GET", "/nowhere?"+odd), servertest.NewCheck("GET", "/nowhere", peer),
				servertest.NewCheck("GET", "/nowhere", servertest.Lines, servertest.Header("x"+odd, odd)),
				servertest.NewCheck("GET", "/nowhere", servertest.Lines, servertest.Header("x", "a\xff"+odd)),
			} {
				s.Check(in)
				checks++
			}
		}
		for _, subject := range []string{"a\nb", "a\rb", "a\x00b", `a","effect":"allow`, "\u2028", "\x1b[2J"} {
			s.Check(servertest.NewCheck("GET", "/orders/7", servertest.Bearer(issuer.Token(keystest.Claims{Subject: subject}))))
			checks++
		}
		wantOneLineEach(t, s.Log, format, checks)
	}
}

// TestBytesInTheLog is the same for bytes that are no text, which protobuf keeps out and a fault in it might not.
func TestBytesInTheLog(t *testing.T) {
	log := &servertest.Log{}
	checker, err := server.NewChecker(server.CheckerConfig{
		Routes: everything(stage{"refuses", refuse}), Timeout: time.Second, Now: time.Now, Log: slog.NewJSONHandler(log, nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 256 {
		odd := "a" + string([]byte{byte(i)}) + "b"
		in := servertest.NewCheck("GET", "/x", change(func(h *authv3.AttributeContext_HttpRequest) { h.Id = odd; h.Protocol = odd }), servertest.Header("x", odd))
		if response, err := checker.CheckAsRead(t.Context(), in); err != nil || servertest.Status(response) == 200 {
			t.Fatalf("byte %d: %v, %v", i, response, err)
		}
	}
	wantOneLineEach(t, log, "json", 256)
}

func wantOneLineEach(t *testing.T, log *servertest.Log, format string, checks int) {
	t.Helper()
	decisions := 0
	for line := range strings.Lines(log.String()) {
		if format == "text" {
			if !strings.HasPrefix(line, "time=") {
				t.Fatalf("a line begins in the middle: %q", line)
			}
			if strings.Contains(line, "msg=decision") {
				decisions++
			}
			continue
		}
		var object struct{ Msg, Effect, Reason string }
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatalf("a line is no JSON: %v: %q", err, line)
		}
		if object.Msg == "decision" {
			decisions++
			if object.Effect != "deny" {
				t.Fatalf("an effect was written by the caller: %q", line)
			}
		}
	}
	if decisions != checks {
		t.Errorf("%d lines for %d decisions", decisions, checks)
	}
}
