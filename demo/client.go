package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// request is one request as it goes over the wire: no client library tidies its path or its headers.
type request struct {
	method  string
	path    string
	host    string   // default "api.example.com"
	headers []string // "name: value"
	token   string   // goes into an Authorization header
	grpc    bool     // a gRPC call, over HTTP/2
}

// answer is what came back.
type answer struct {
	status     int
	grpcStatus string // of a gRPC call
	header     http.Header
	body       []byte
	seen       echo // what the upstream saw, where it answered
	served     bool // by the upstream
}

// String returns the status: "200", or "grpc 7".
func (a *answer) String() string {
	if a.grpcStatus != "" {
		return "grpc " + a.grpcStatus
	}
	return fmt.Sprint(a.status)
}

func (r *request) authority() string {
	if r.host == "" {
		return "api.example.com"
	}
	return r.host
}

func (r *request) lines() []string {
	lines := r.headers
	if r.token != "" {
		lines = append([]string{"Authorization: Bearer " + r.token}, lines...)
	}
	return lines
}

// send sends the request to Envoy at address and reads its answer.
func (r *request) send(ctx context.Context, address string) (*answer, error) {
	if r.grpc {
		return r.call(ctx, address)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.method, r.path, r.authority())
	for _, line := range r.lines() {
		fmt.Fprintf(&text, "%s\r\n", line)
	}
	text.WriteString("\r\n")
	if _, err := conn.Write(text.Bytes()); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: r.method})
	if err != nil {
		return nil, err
	}
	return read(response)
}

// call makes a gRPC call with one empty message.
func (r *request) call(ctx context.Context, address string) (*answer, error) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	call, err := http.NewRequestWithContext(ctx, r.method, "http://"+address, bytes.NewReader(make([]byte, 5)))
	if err != nil {
		return nil, err
	}
	call.URL.Path, call.Host = r.path, r.authority()
	call.Header.Set("Content-Type", "application/grpc")
	call.Header.Set("Te", "trailers")
	for _, line := range r.lines() {
		name, value, _ := strings.Cut(line, ": ")
		call.Header.Add(name, value)
	}
	response, err := transport.RoundTrip(call)
	if err != nil {
		return nil, err
	}
	return read(response)
}

func read(response *http.Response) (*answer, error) {
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	a := &answer{status: response.StatusCode, header: response.Header, body: body}
	for _, header := range []http.Header{response.Trailer, response.Header} {
		if status := header.Get("Grpc-Status"); status != "" {
			a.grpcStatus = status
		}
	}
	a.served = json.Unmarshal(body, &a.seen) == nil && a.seen.Headers != nil
	return a, nil
}
