// Package tabletest has what tests of policies in databases share. Only tests use it.
package tabletest

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Gate is an address of the loopback interface behind which a database is, another one, or none. What connects through
// it sees a database that is lost and comes back.
type Gate struct {
	tb       testing.TB
	listener net.Listener

	mu     sync.Mutex
	target string // empty: shut
	open   map[net.Conn]bool
	ended  sync.WaitGroup
}

// NewGate returns a gate before that database, until the test ends.
func NewGate(tb testing.TB, dsn string) *Gate {
	tb.Helper()
	listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	g := &Gate{tb: tb, listener: listener, open: map[net.Conn]bool{}}
	g.Open(dsn)
	g.ended.Go(g.accept)
	tb.Cleanup(func() {
		_ = listener.Close()
		g.Shut()
		g.ended.Wait()
	})
	return g
}

// DSN returns the connection string, with the gate's address.
func (g *Gate) DSN(dsn string) string {
	g.tb.Helper()
	at := g.parse(dsn)
	at.Host = g.listener.Addr().String()
	return at.String()
}

func (g *Gate) parse(dsn string) *url.URL {
	g.tb.Helper()
	at, err := url.Parse(dsn)
	if err != nil {
		g.tb.Fatal("a connection string that is no URL")
	}
	return at
}

// Open lets through to that database.
func (g *Gate) Open(dsn string) {
	g.tb.Helper()
	host := g.parse(dsn).Host
	g.mu.Lock()
	defer g.mu.Unlock()
	g.target = host
}

// Shut ends every connection and lets no other through.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.target = ""
	for conn := range g.open {
		_ = conn.Close()
	}
}

func (g *Gate) accept() {
	for {
		client, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.ended.Go(func() { g.join(client) })
	}
}

// join copies between a client and the database until either ends.
func (g *Gate) join(client net.Conn) {
	defer client.Close()
	g.mu.Lock()
	target := g.target
	g.mu.Unlock()
	if target == "" {
		return
	}
	database, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", target)
	if err != nil {
		return
	}
	defer database.Close()
	if !g.keep(target, client, database) {
		return
	}
	defer g.forget(client, database)
	var copying sync.WaitGroup
	for _, pair := range [][2]net.Conn{{client, database}, {database, client}} {
		copying.Go(func() {
			_, _ = io.Copy(pair[0], pair[1]) // it ends when one of them does
			_ = pair[0].Close()
			_ = pair[1].Close()
		})
	}
	copying.Wait()
}

func (g *Gate) keep(target string, conns ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.target != target {
		return false
	}
	for _, conn := range conns {
		g.open[conn] = true
	}
	return true
}

func (g *Gate) forget(conns ...net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, conn := range conns {
		delete(g.open, conn)
	}
}
