package envoytest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// The most that is read of an answer of the admin interface.
const maxAnswer = 64 << 20

// ready waits until Envoy is live and its listeners are bound, and fills in their addresses.
func (p *Process) ready(ctx context.Context, adminFile string) error {
	err := p.await(ctx, "opens its admin interface", func(context.Context) (bool, error) {
		address, err := os.ReadFile(adminFile)
		p.admin = strings.TrimSpace(string(address))
		_, _, incomplete := net.SplitHostPort(p.admin)
		return err == nil && incomplete == nil, nil
	})
	if err != nil {
		return err
	}
	err = p.await(ctx, "is live", func(ctx context.Context) (bool, error) {
		answer, err := p.ask(ctx, "/ready")
		return err == nil && strings.TrimSpace(string(answer)) == "LIVE", nil
	})
	if err != nil {
		return err
	}
	return p.await(ctx, "binds its listeners", func(ctx context.Context) (bool, error) {
		listeners, err := p.readListeners(ctx)
		p.listeners = listeners
		return listeners != nil, err
	})
}

// readListeners returns the listeners' addresses, nil while one is not bound.
func (p *Process) readListeners(ctx context.Context) (map[string]string, error) {
	answer, err := p.ask(ctx, "/listeners?format=json")
	if err != nil {
		return nil, err
	}
	var statuses struct {
		Listeners []struct {
			Name    string `json:"name"`
			Address struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(answer, &statuses); err != nil {
		return nil, fmt.Errorf("reading Envoy's listeners: %w", err)
	}
	listeners := make(map[string]string, len(statuses.Listeners))
	for _, listener := range statuses.Listeners {
		socket := listener.Address.Socket
		if socket.Address == "" {
			continue // not a TCP listener
		}
		if socket.Port == 0 {
			return nil, nil
		}
		host := socket.Address
		switch host {
		case "0.0.0.0":
			host = "127.0.0.1"
		case "::":
			host = "::1"
		}
		listeners[listener.Name] = net.JoinHostPort(host, strconv.Itoa(socket.Port))
	}
	return listeners, nil
}

// Stats returns Envoy's counters and gauges whose names match the filter, a regular expression that need not match
// the whole name; an empty one is all. Those that Envoy has not used yet are there, as zero.
func (p *Process) Stats(ctx context.Context, filter string) (map[string]int64, error) {
	answer, err := p.ask(ctx, "/stats?format=json&filter="+url.QueryEscape(filter))
	if err != nil {
		return nil, err
	}
	var all struct {
		Stats []struct {
			Name  string          `json:"name"`
			Value json.RawMessage `json:"value"`
		} `json:"stats"`
	}
	if err := json.Unmarshal(answer, &all); err != nil {
		return nil, fmt.Errorf("reading Envoy's stats: %w", err)
	}
	stats := make(map[string]int64, len(all.Stats))
	for _, stat := range all.Stats {
		// Histograms have no name here, and text readouts no number.
		if value, err := strconv.ParseInt(string(stat.Value), 10, 64); err == nil && stat.Name != "" {
			stats[stat.Name] = value
		}
	}
	return stats, nil
}

func (p *Process) ask(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true} // no connection and no goroutine outlives the question
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("asking Envoy's admin interface: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("asking Envoy's admin interface: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("asking Envoy's admin interface for %s: %s", path, response.Status)
	}
	return answer, nil
}
