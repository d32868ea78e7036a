package demo_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// attack is a request as bytes. No library tidies it.
type attack struct {
	method  string // default GET
	target  string
	host    string   // default api.example.com
	headers []string // "name: value"
	body    string
}

func (a attack) bytes() []byte {
	var text bytes.Buffer
	method, host := a.method, a.host
	if method == "" {
		method = "GET"
	}
	if host == "" {
		host = "api.example.com"
	}
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, a.target, host)
	for _, line := range a.headers {
		text.WriteString(line + "\r\n")
	}
	if a.body != "" {
		fmt.Fprintf(&text, "Content-Length: %d\r\n", len(a.body))
	}
	text.WriteString("\r\n" + a.body)
	return text.Bytes()
}

// with returns the attack with more header lines.
func (a attack) with(headers ...string) attack {
	a.headers = slices.Concat(a.headers, headers)
	return a
}

// bearer returns the header line of a token.
func bearer(token string) string { return "Authorization: Bearer " + token }

// outcome is how an attack went. The zero status is a connection that Envoy closed without an answer.
type outcome struct {
	status int
	header http.Header
	// served says that the upstream got it; what it got is in the rest.
	served         bool
	method, target string
	lines          []string // "name: value", as they came
}

// values returns the values of a header as the upstream got them.
func (o *outcome) values(name string) []string {
	var values []string
	for _, line := range o.lines {
		if n, value, _ := strings.Cut(line, ": "); strings.EqualFold(n, name) {
			values = append(values, value)
		}
	}
	return values
}

// reporter is a *testing.T or a *rapid.T.
type reporter interface {
	Helper()
	Fatalf(format string, arguments ...any)
}

// try sends an attack on a connection of its own, and keeps the verdict.
func (e *edge) try(t reporter, a attack) *outcome {
	t.Helper()
	o, err := send(e.address, a.bytes())
	if err != nil {
		t.Fatalf("%s: %.100q: %v", e.name, a.bytes(), err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.verdicts[string(a.bytes())] = o.status
	return o
}

// tryAll sends attacks, several at a time, and returns their outcomes in order.
func (e *edge) tryAll(t *testing.T, attacks []attack) []*outcome {
	t.Helper()
	outcomes, next := make([]*outcome, len(attacks)), make(chan int)
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for i := range next {
				o, err := send(e.address, attacks[i].bytes())
				if err != nil {
					t.Errorf("%s: %.100q: %v", e.name, attacks[i].bytes(), err)
					o = &outcome{}
				}
				outcomes[i] = o
			}
		})
	}
	for i := range attacks {
		next <- i
	}
	close(next)
	senders.Wait()
	return outcomes
}

func send(address string, request []byte) (*outcome, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return exchange(conn, request)
}

// exchange sends a request on a connection, which it closes.
func exchange(conn net.Conn, request []byte) (*outcome, error) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil, err
	}
	written := make(chan struct{})
	go func() { // Envoy may answer before it has read all
		defer close(written)
		_, _ = conn.Write(request)
	}()
	defer func() { _ = conn.Close(); <-written }()
	method, _, _ := strings.Cut(string(request), " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if timeout := net.Error(nil); err != nil && !(errors.As(err, &timeout) && timeout.Timeout()) {
		return &outcome{}, nil // closed without an answer
	}
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	o := &outcome{status: response.StatusCode, header: response.Header, served: response.Header.Get(fromUpstream) != ""}
	if !o.served {
		return o, nil
	}
	first, err := hex.DecodeString(response.Header.Get(fromUpstream))
	if err != nil {
		return nil, err
	}
	method, target, _ := strings.Cut(string(first), " ")
	o.method, o.target = method, strings.TrimSuffix(target, " HTTP/1.1")
	head, err := io.ReadAll(response.Body)
	o.lines = strings.Split(strings.TrimSuffix(string(head), "\r\n"), "\r\n")
	return o, err
}

// fromUpstream marks the answers of the upstream, and holds the first line of the request in hexadecimal.
const fromUpstream = "X-From-Upstream"

// rawUpstream is a service that understands nothing and refuses nothing: it answers every request over HTTP/1.1 with
// its own head, byte for byte. So whatever any upstream could see, the test sees. It returns its address.
func rawUpstream(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				closer := context.AfterFunc(ctx, func() { _ = conn.Close() })
				defer closer()
				defer conn.Close()
				answerHead(conn)
			})
		}
	})
	t.Cleanup(func() { cancel(); _ = listener.Close(); running.Wait() })
	return listener.Addr().String()
}

func answerHead(conn net.Conn) {
	reader := bufio.NewReader(conn)
	var head []byte
	length := 0
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		line, err := reader.ReadBytes('\n')
		if err != nil {
			return
		}
		head = append(head, line...)
		if name, value, _ := strings.Cut(string(line), ":"); strings.EqualFold(name, "content-length") {
			length, _ = strconv.Atoi(strings.TrimSpace(value)) // Envoy wrote it
		}
	}
	if _, err := io.CopyN(io.Discard, reader, int64(length)); err != nil {
		return
	}
	first, rest, _ := bytes.Cut(bytes.TrimSuffix(head, []byte("\r\n")), []byte("\r\n"))
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%s: %x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", fromUpstream, first, len(rest))
	if !bytes.HasPrefix(first, []byte("HEAD ")) {
		_, _ = conn.Write(rest)
	}
}
