package server_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/kasbah-authz/kasbah/server"
)

// The public service answers whole methods at whole paths, and 404 to everything else.
func TestPublicService(t *testing.T) {
	t.Parallel()
	echo := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var tooLong *http.MaxBytesError
		if errors.As(err, &tooLong) {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		fmt.Fprintf(w, "%s %d", r.Method, len(body))
	}
	service := httptest.NewUnstartedServer(nil)
	service.Config = server.NewPublic(map[string]http.HandlerFunc{"GET /.well-known/a": echo, "POST /b": echo})
	service.Start()
	defer service.Close()
	for request, want := range map[string]string{
		"GET /.well-known/a HTTP/1.1":                                      "200 no-store GET 0",
		"HEAD /.well-known/a HTTP/1.1":                                     "200 no-store ",
		"GET /.well-known/a?x=1 HTTP/1.1":                                  "200 no-store GET 0",
		"POST /b HTTP/1.1\r\nContent-Length: 3":                            "200 no-store POST 3",
		"POST /b HTTP/1.1\r\nContent-Length: 70000":                        "413 no-store ",
		"GET /b HTTP/1.1":                                                  "405 no-store the method here is POST\n",
		"POST /.well-known/a HTTP/1.1":                                     "405 no-store the method here is GET\n",
		"GET / HTTP/1.1":                                                   "404 no-store there is nothing here\n",
		"GET /metrics HTTP/1.1":                                            "404 no-store there is nothing here\n",
		"GET //.well-known/a HTTP/1.1":                                     "404 no-store there is nothing here\n",
		"GET /.well-known/a/ HTTP/1.1":                                     "404 no-store there is nothing here\n",
		"GET /x/../.well-known/a HTTP/1.1":                                 "404 no-store there is nothing here\n",
		"GET /.well-known%2fa HTTP/1.1":                                    "404 no-store there is nothing here\n",
		"GET /.WELL-KNOWN/a HTTP/1.1":                                      "404 no-store there is nothing here\n",
		"OPTIONS * HTTP/1.1":                                               "404 no-store there is nothing here\n",
		"CONNECT /b:80 HTTP/1.1":                                           "404 no-store there is nothing here\n",
		"GET /.well-known/a HTTP/1.1\r\nx: " + strings.Repeat("x", 20<<10): "431  431 Request Header Fields Too Large",
	} {
		if got := ask1(t, service.Listener.Addr().String(), request); got != want {
			t.Errorf("%.60q: %q, want %q", request, got, want)
		}
	}
}

// TestPublicEndpointsApart: one whose answers all wait keeps nobody from another.
func TestPublicEndpointsApart(t *testing.T) {
	t.Parallel()
	release, waiting := make(chan struct{}), make(chan struct{})
	service := httptest.NewUnstartedServer(nil)
	service.Config = server.NewPublic(map[string]http.HandlerFunc{
		"GET /slow":  func(http.ResponseWriter, *http.Request) { waiting <- struct{}{}; <-release },
		"GET /quick": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") },
	})
	service.Start()
	defer service.Close()
	address := service.Listener.Addr().String()
	var slow sync.WaitGroup
	for range server.MaxPublicRequests {
		slow.Go(func() { ask1(t, address, "GET /slow HTTP/1.1") })
		<-waiting
	}
	if got := ask1(t, address, "GET /slow HTTP/1.1"); !strings.HasPrefix(got, "503 ") {
		t.Errorf("one more: %s", got)
	}
	if got := ask1(t, address, "GET /quick HTTP/1.1"); got != "200 no-store here" {
		t.Errorf("another endpoint: %s", got)
	}
	close(release)
	slow.Wait()
}

// ask1 sends one request on a connection of its own, with as much body as it says. It returns status, Cache-Control and body.
func ask1(t *testing.T, address, head string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	length := 0
	_, _ = fmt.Sscanf(head[strings.LastIndex(head, "\n")+1:], "Content-Length: %d", &length)
	go func() { // the server may answer, and close, before it has read everything
		_, _ = io.WriteString(conn, head+"\r\nHost: kasbah\r\nConnection: close\r\n\r\n"+strings.Repeat("x", length))
	}()
	method, _, _ := strings.Cut(head, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body) // the connection may be reset behind an early answer
	return fmt.Sprintf("%d %s %s", response.StatusCode, response.Header.Get("Cache-Control"), body)
}

// It is there only where the configuration names its address, and is none of the others.
func TestPublicListener(t *testing.T) {
	f := start(t, map[string]string{"kasbah.yaml": strings.Replace(configText, "server: {", `server: {public: "127.0.0.1:0", `, 1)})
	address := f.server.PublicAddr().String()
	for _, path := range []string{"/", "/metrics", "/readyz"} {
		if got := ask1(t, address, "GET "+path+" HTTP/1.1"); !strings.HasPrefix(got, "404 ") {
			t.Errorf("%s: %s", path, got)
		}
	}
	if code, _ := f.admin("/livez"); code != http.StatusOK {
		t.Errorf("the admin service answers %d", code)
	}
	if got := start(t, nil).server.PublicAddr(); got != nil {
		t.Errorf("a public service at %s that nobody asked for", got)
	}
}
