package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/server"
)

func serve(ctx context.Context, args []string, std streams) int {
	flags := flag.NewFlagSet("kasbah serve", flag.ContinueOnError)
	path := flags.String("config", "kasbah.yaml", "the configuration `file`")
	listen := flags.String("listen", "", "listen for Envoy on this `address` instead of the configuration's")
	admin := flags.String("admin", "", "serve the admin service on this `address` instead of the configuration's")
	if code, ok := parse(flags, args, std); !ok {
		return code
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(std.err, "kasbah serve: unexpected argument %q; the configuration is given with --config\n", flags.Arg(0))
		return exitUsage
	}
	background, end := context.WithCancel(ctx)
	var heap sync.WaitGroup
	heap.Go(func() { keepHeap(background) })
	defer heap.Wait()
	defer end()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	s, err := server.New(server.Config{
		Path: *path, Listen: *listen, Admin: *admin,
		Proxy: http.ProxyFromEnvironment, Log: logTo(std.err), Now: time.Now,
		LookupEnv: os.LookupEnv, Reload: reloads(ctx, hangup),
	})
	if err == nil {
		err = s.Run(ctx)
	}
	var findings policy.Findings
	switch {
	case errors.As(err, &findings):
		fmt.Fprintln(std.err, findings)
		return exitFindings
	case err != nil:
		fmt.Fprintln(std.err, "kasbah serve:", err)
		return exitFindings
	}
	return exitOK
}

// reloads passes signals on as requests to reload, until ctx ends.
func reloads(ctx context.Context, signals <-chan os.Signal) <-chan struct{} {
	requests := make(chan struct{})
	go func() {
		for {
			select {
			case <-signals:
			case <-ctx.Done():
				return
			}
			select {
			case requests <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return requests
}

// logTo returns what makes the handler of the log.
func logTo(w io.Writer) func(slog.Leveler, bool) slog.Handler {
	return func(level slog.Leveler, text bool) slog.Handler {
		options := &slog.HandlerOptions{Level: level}
		if text {
			return slog.NewTextHandler(w, options)
		}
		return slog.NewJSONHandler(w, options)
	}
}
