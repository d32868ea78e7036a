package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kasbah-authz/kasbah/demo"
	"github.com/kasbah-authz/kasbah/server"
)

const benchUsage = `Usage: kasbah bench [FLAGS]

Measures a whole check through a real Envoy with one worker: a token that is in the cache, a policy of each size, an injected
header; beside a grpc-go ext_authz server with default settings that does nothing, by turns in one run. CPU is from the
accounts of the servers' processes. Needs Linux.

`

// bench measures, and prints a table.
func bench(ctx context.Context, args []string, std streams) int {
	if len(args) > 1 && args[0] == "part" {
		return benchPart(ctx, args[1:], std)
	}
	options := demo.BenchOptions{Rules: []int{10, 100_000, 1_000_000}, Progress: std.err}
	flags := flag.NewFlagSet("kasbah bench", flag.ContinueOnError)
	flags.Func("rules", "measure policies of these `sizes`, separated by commas; default 10,100000,1000000", func(text string) (err error) {
		options.Rules, err = readSizes(text)
		return err
	})
	flags.IntVar(&options.Rounds, "rounds", 5, "how often every server has its turn")
	flags.DurationVar(&options.Slice, "slice", 2*time.Second, "how long a turn is")
	flags.IntVar(&options.Connections, "connections", 32, "connections to Envoy")
	flags.StringVar(&options.Profile, "profile", "", "write CPU profiles of Kasbah into this `folder`")
	asJSON := flags.Bool("json", false, "print one JSON object a line for each server")
	flags.Usage = func() {
		fmt.Fprint(std.err, benchUsage)
		flags.PrintDefaults()
	}
	if code, ok := parseAlone(flags, args, std); !ok {
		return code
	}
	if options.Rounds < 1 || options.Slice <= 0 || options.Connections < 1 || options.Connections > 1000 {
		fmt.Fprintln(std.err, "kasbah bench: --rounds, --slice and --connections are positive, the last at most 1000")
		return exitUsage
	}
	var err error
	if options.Program, err = os.Executable(); err == nil {
		var rows []demo.BenchRow
		if rows, err = demo.Bench(ctx, options); err == nil {
			err = writeBench(std.out, rows, *asJSON)
		}
	}
	if err != nil {
		fmt.Fprintln(std.err, "kasbah bench:", err)
		return exitFindings
	}
	return exitOK
}

func readSizes(text string) ([]int, error) {
	var sizes []int
	for part := range strings.SplitSeq(text, ",") {
		size, err := strconv.Atoi(part)
		if err != nil || size < 2 || size > 5_000_000 {
			return nil, fmt.Errorf("%q is no number of rules from 2 to 5000000", part)
		}
		sizes = append(sizes, size)
	}
	return sizes, nil
}

// writeBench writes a table in Markdown, or JSON.
func writeBench(w io.Writer, rows []demo.BenchRow, asJSON bool) error {
	if asJSON {
		for i := range rows {
			if err := json.NewEncoder(w).Encode(&rows[i]); err != nil {
				return err
			}
		}
		return nil
	}
	var out strings.Builder
	out.WriteString("| server | rules | requests/s | median | 99 % | CPU a check | of nothing's | resident | start |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&out, "| %s | %d | %.0f | %s | %s | %.1f µs | %.2f | %d MiB | %s |\n", r.Server, r.Rules, r.Rate,
			r.Median.Round(time.Microsecond), r.P99.Round(time.Microsecond), float64(r.CPU.Nanoseconds())/1000, r.Ratio,
			r.Resident>>20, r.Load.Round(10*time.Millisecond))
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// benchPart is one of the servers that are measured, in a process of its own. It prints its address, and ends with its
// standard input.
func benchPart(ctx context.Context, args []string, std streams) int {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, std.in) // until the parent closes it, or is gone
		stop()
	}()
	var err error
	switch {
	case args[0] == "nothing" && len(args) == 1:
		err = benchNothing(ctx, std)
	case args[0] == "kasbah" && (len(args) == 2 || len(args) == 3):
		err = benchKasbah(ctx, args[1:], std)
	default:
		err = errors.New("a part is nothing, or kasbah CONFIG [PROFILE]")
	}
	if err != nil {
		fmt.Fprintln(std.err, "kasbah bench part:", err)
		return exitFindings
	}
	return exitOK
}

func benchNothing(ctx context.Context, std streams) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(std.out, listener.Addr())
	return demo.ServeNothing(ctx, listener)
}

func benchKasbah(ctx context.Context, args []string, std streams) (err error) {
	background, end := context.WithCancel(ctx)
	var heap sync.WaitGroup
	heap.Go(func() { keepHeap(background) }) // as serve does
	defer heap.Wait()
	defer end()
	s, err := server.New(server.Config{
		Path: args[0], Listen: "127.0.0.1:0", Admin: "off", Now: time.Now, LookupEnv: os.LookupEnv,
		Log: func(slog.Leveler, bool) slog.Handler { return slog.DiscardHandler },
	})
	if err != nil {
		return err
	}
	if len(args) > 1 {
		profile, err := os.Create(args[1]) //nolint:gosec // the parent names it, which is this program
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(profile); err != nil {
			return errors.Join(err, profile.Close())
		}
		defer func() {
			pprof.StopCPUProfile()
			_ = profile.Close() // what is missing of it is seen by who reads it
		}()
	}
	fmt.Fprintln(std.out, s.Addr())
	return s.Run(ctx)
}
