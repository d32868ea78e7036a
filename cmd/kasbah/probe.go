package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"
)

// probe is a health check for images that have neither a shell nor curl.
func probe(ctx context.Context, args []string, std streams) int {
	flags := flag.NewFlagSet("kasbah probe", flag.ContinueOnError)
	url := flags.String("url", "http://127.0.0.1:9192/readyz", "the `URL` to ask")
	timeout := flags.Duration("timeout", 2*time.Second, "how long to wait for the answer")
	if code, ok := parseAlone(flags, args, std); !ok {
		return code
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, *url, nil)
	if err != nil {
		fmt.Fprintln(std.err, "kasbah probe:", err)
		return exitUsage
	}
	response, err := (&http.Client{}).Do(request)
	if err != nil {
		fmt.Fprintln(std.err, "kasbah probe:", err)
		return exitFindings
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil || response.StatusCode != http.StatusOK {
		fmt.Fprintf(std.err, "kasbah probe: %s answers %s\n%s", *url, response.Status, body)
		return exitFindings
	}
	_, _ = std.out.Write(body)
	return exitOK
}
