package demo_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/keys/keystest"
)

const locationsConfig = `server: {drain: 0s, log: {decisions: none}}
providers:
- name: corp
  jwt: {issuer: http://issuer:9193, audiences: [api], algorithms: [RS256], jwks: {file: jwks.json}}
  from: [{header: authorization}, {cookie: session}, {query: access_token}, {websocket_protocol: bearer.}]
- name: device
  jwt: {issuer: http://issuer:9193, audiences: [api], algorithms: [RS256], jwks: {file: jwks.json}}
  from: [{header: x-device}]
enforcers:
- name: orders
  model: {file: model.conf}
  policy:
    inline: |
      p, guest, /orders/public, GET, allow
      p, alice, /orders/*, GET, allow
routes:
- name: devices
  match: [{path: /devices/}]
  authenticate: [corp]
  authenticate_also: [device]
  any_principal: true
- name: orders
  match: [{path: /orders/}]
  authenticate: [corp]
  anonymous: guest
  authorize: orders
  headers: {x-user: principal.id}
`

// A token is taken from wherever the route says, and the upstream does not find it there.
func TestLocations(t *testing.T) {
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": locationsConfig})
	token := g.issuer.Token(keystest.Claims{Subject: "alice"})
	e := g.edge(t, "hardened", rawUpstream(t))
	for name, c := range map[string]struct {
		target, line, wantTarget string
		wantHeader               []string // a name, and the values that the upstream sees of it
		status                   int
	}{
		"the header":           {target: "/orders/7", line: "Authorization: Bearer " + token, wantHeader: []string{"authorization"}, status: 200},
		"a cookie":             {target: "/orders/7", line: "Cookie: a=1; session=" + token + "; b=2", wantHeader: []string{"cookie", "a=1; b=2"}, status: 200},
		"a cookie alone":       {target: "/orders/7", line: "Cookie: session=" + token, wantHeader: []string{"cookie"}, status: 200},
		"a parameter":          {target: "/orders/7?a=1&access_token=" + token + "&b=2", wantTarget: "/orders/7?a=1&b=2", status: 200},
		"an encoded parameter": {target: "/orders/7?access%5ftoken=" + token, wantTarget: "/orders/7", status: 200},
		"a subprotocol":        {target: "/orders/7", line: "Sec-WebSocket-Protocol: chat, bearer." + token, wantHeader: []string{"sec-websocket-protocol", "chat"}, status: 200},
		"two places":           {target: "/orders/7?access_token=" + token, line: "Authorization: Bearer " + token, status: 401},
		"nobody":               {target: "/orders/7", status: 403},
		"nobody, and he may":   {target: "/orders/public", wantHeader: []string{"x-user", "guest"}, status: 200},
		"a bad one, nobody":    {target: "/orders/public", line: "Cookie: session=x", status: 401},
		"one of two":           {target: "/devices/1", line: "Authorization: Bearer " + token, status: 401},
		"the other of two":     {target: "/devices/1", line: "X-Device: " + token, status: 401},
		"both":                 {target: "/devices/1", line: "Authorization: Bearer " + token + "\r\nX-Device: " + token, wantHeader: []string{"x-device"}, status: 200},
	} {
		var lines []string
		if c.line != "" {
			lines = strings.Split(c.line, "\r\n")
		}
		shot := attack{target: c.target}.with(lines...)
		o := e.try(t, shot)
		mustBe(t, e, attack{target: name}, o, c.status)
		if c.wantTarget != "" && o.target != c.wantTarget {
			t.Errorf("%s: the upstream sees %q, want %q", name, o.target, c.wantTarget)
		}
		if len(c.wantHeader) > 0 && !slices.Equal(o.values(c.wantHeader[0]), c.wantHeader[1:]) {
			t.Errorf("%s: the upstream sees %q in %s, want %q", name, o.values(c.wantHeader[0]), c.wantHeader[0], c.wantHeader[1:])
		}
	}
	e.noErrors(t)
}
