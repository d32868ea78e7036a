package demo

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// echo is what the upstream saw of a request.
type echo struct {
	Method  string              `json:"method"`
	Host    string              `json:"host"`
	Path    string              `json:"path"`
	Query   string              `json:"query,omitempty"`
	Headers map[string][]string `json:"headers"`
}

// Upstream returns the service behind Envoy: it answers every request with what it saw of it, over HTTP/1 and
// HTTP/2 without TLS, and every gRPC call with an empty message.
func Upstream() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           http.HandlerFunc(serveEcho),
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
	}
}

func serveEcho(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write(make([]byte, 5)) // one message of no bytes
		w.Header().Set("Grpc-Status", "0")
		return
	}
	seen := echo{Method: r.Method, Host: r.Host, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Headers: map[string][]string{}}
	for name, values := range r.Header {
		seen.Headers[strings.ToLower(name)] = values
	}
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(seen) // a client that went away is no fault
}
