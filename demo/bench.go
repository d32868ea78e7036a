package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys/keystest"
)

// BenchOptions say what Bench measures.
type BenchOptions struct {
	// Rules are the sizes of the policies.
	Rules []int
	// Rounds is how often every server gets a slice of the load, and Slice how long one is. What is reported is
	// over all rounds.
	Rounds int
	Slice  time.Duration
	// Connections is the number of connections to Envoy, each with one request at a time.
	Connections int
	// Program is the kasbah binary, which is run as the servers that are measured.
	Program string
	// Profile is a folder for CPU profiles of Kasbah; empty for none.
	Profile string
	// Progress is told what is being done.
	Progress io.Writer
}

// BenchRow is what was measured of one server.
type BenchRow struct {
	Server   string        `json:"server"`
	Rules    int           `json:"rules"` // 0 for the server that does nothing
	Load     time.Duration `json:"load_ns"`
	Requests int           `json:"requests"`
	Rate     float64       `json:"requests_per_second"`
	Median   time.Duration `json:"median_ns"`
	P99      time.Duration `json:"p99_ns"`
	CPU      time.Duration `json:"cpu_ns_per_check"`
	Ratio    float64       `json:"cpu_ratio"` // to the server that does nothing
	Resident int64         `json:"resident_bytes"`
}

// measured is one server that is measured.
type measured struct {
	BenchRow
	command   *exec.Cmd
	stdin     io.Closer
	address   string // of its gRPC service
	requests  [][]byte
	latencies []time.Duration
	cpu       time.Duration
	busy      time.Duration
}

// Bench sends the same load through a real Envoy with one worker, in slices by turns to a server that does nothing and to
// Kasbah at each size of policy, and returns a row for each. A verdict other than the expected one is an error, and so is a
// request about which a server was not asked.
func Bench(ctx context.Context, options BenchOptions) (rows []BenchRow, err error) {
	folder, err := os.MkdirTemp("", "kasbah-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	issuer, err := keystest.New(IssuerURL)
	if err != nil {
		return nil, err
	}
	servers := []*measured{{BenchRow: BenchRow{Server: "a server that does nothing"}}}
	for _, rules := range options.Rules {
		servers = append(servers, &measured{BenchRow: BenchRow{Server: "Kasbah", Rules: rules}})
	}
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.end())
		}
	}()
	for _, s := range servers {
		fmt.Fprintf(options.Progress, "starting %s, %d rules\n", s.Server, s.Rules)
		s.requests = benchRequests(issuer, max(s.Rules, 10), options.Connections)
		if err := s.start(ctx, filepath.Join(folder, fmt.Sprint(s.Rules)), issuer, &options); err != nil {
			return nil, fmt.Errorf("starting %s with %d rules: %w", s.Server, s.Rules, err)
		}
	}
	envoy, err := envoytest.Start(ctx, envoytest.Config{Bootstrap: benchBootstrap(servers), Concurrency: 1})
	if err != nil {
		return nil, err
	}
	defer envoy.Stop()
	if err := measure(ctx, envoy, servers, &options); err != nil {
		return nil, err
	}
	for _, s := range servers {
		rows = append(rows, s.row(servers[0]))
	}
	return rows, nil
}

// measure gives every server its slices, and compares what Envoy asked with what was sent.
func measure(ctx context.Context, envoy *envoytest.Process, servers []*measured, options *BenchOptions) error {
	for round := range options.Rounds + 1 { // the first fills caches and is not counted
		for i, s := range servers {
			before, err := cpuTime(s.command.Process.Pid)
			if err != nil {
				return err
			}
			started := time.Now()
			latencies, err := benchLoad(ctx, envoy.Listener(listenerName(i)), s.requests, options.Slice)
			if err != nil {
				return fmt.Errorf("%s with %d rules: %w", s.Server, s.Rules, err)
			}
			busy := time.Since(started)
			after, err := cpuTime(s.command.Process.Pid)
			if err != nil {
				return err
			}
			s.Requests += len(latencies)
			if round > 0 {
				s.latencies, s.cpu, s.busy = append(s.latencies, latencies...), s.cpu+after-before, s.busy+busy
			}
		}
		fmt.Fprintf(options.Progress, "round %d of %d\n", round, options.Rounds)
	}
	stats, err := envoy.Stats(ctx, `ext_authz\..*\.ok$`)
	if err != nil {
		return err
	}
	for i, s := range servers {
		asked := int64(0)
		for name, count := range stats {
			if strings.Contains(name, "."+listenerName(i)+".") {
				asked += count
			}
		}
		if asked != int64(s.Requests) {
			return fmt.Errorf("%s with %d rules was asked about %d requests of %d", s.Server, s.Rules, asked, s.Requests)
		}
		if s.Resident, err = residentSize(s.command.Process.Pid); err != nil {
			return err
		}
	}
	return nil
}

func listenerName(i int) string { return fmt.Sprint("server", i) }

// row sums up what was measured.
func (s *measured) row(nothing *measured) BenchRow {
	slices.Sort(s.latencies)
	r := s.BenchRow
	counted := len(s.latencies)
	r.Requests = counted
	r.Rate = float64(counted) / s.busy.Seconds()
	r.Median, r.P99 = s.latencies[counted/2], s.latencies[counted*99/100]
	r.CPU = s.cpu / time.Duration(counted)
	r.Ratio = float64(r.CPU) / (float64(nothing.cpu) / float64(len(nothing.latencies)))
	return r
}

// start runs the server as a process of its own and waits until it serves.
func (s *measured) start(ctx context.Context, folder string, issuer *keystest.Issuer, options *BenchOptions) error {
	args := []string{"bench", "part", "nothing"}
	if s.Rules > 0 {
		if err := writeBenchFiles(folder, issuer, s.Rules); err != nil {
			return err
		}
		args = []string{"bench", "part", "kasbah", filepath.Join(folder, "kasbah.yaml")}
		if options.Profile != "" {
			args = append(args, filepath.Join(options.Profile, fmt.Sprintf("kasbah-%d.pprof", s.Rules)))
		}
	}
	s.command = exec.Command(options.Program, args...)
	s.command.Stderr = os.Stderr
	stdin, err := s.command.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := s.command.StdoutPipe()
	if err != nil {
		return err
	}
	started := time.Now()
	if err := s.command.Start(); err != nil {
		return err
	}
	s.stdin = stdin
	stop := context.AfterFunc(ctx, func() { _ = s.command.Process.Kill() })
	defer stop()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return fmt.Errorf("it ended before it served: %w", err)
	}
	s.Load, s.address = time.Since(started), strings.TrimSpace(line)
	return nil
}

// end lets the server end, by the end of its standard input.
func (s *measured) end() error {
	if s.stdin == nil {
		return nil
	}
	return errors.Join(s.stdin.Close(), s.command.Wait())
}
