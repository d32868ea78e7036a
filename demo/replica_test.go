package demo_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// buildKasbah builds the program once for a test.
func buildKasbah(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "kasbah")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/kasbah")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	return program
}

// A replica is one `kasbah serve` as a process of its own. It may be ended and started again on the same addresses.
type replica struct {
	program, config string
	listen, admin   string
	log             *lines

	command *exec.Cmd
	ended   chan struct{}
}

// newReplica starts a replica on free ports.
func newReplica(t *testing.T, program, config string) *replica {
	t.Helper()
	r := &replica{program: program, config: config, listen: freePort(t), admin: freePort(t), log: &lines{}}
	r.start(t)
	t.Cleanup(func() {
		r.end(t, syscall.SIGKILL)
		if t.Failed() {
			all := r.log.all()
			t.Logf("the log of the replica at %s ends with:\n%s", r.listen, strings.Join(all[max(0, len(all)-40):], "\n"))
		}
	})
	return r
}

// freePort returns an address that was free a moment ago: Envoy has to know it before the replica listens there.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// start starts the process and waits until it is ready.
func (r *replica) start(t *testing.T) {
	t.Helper()
	command := exec.Command(r.program, "serve", "--config", r.config, "--listen", r.listen, "--admin", r.admin)
	command.Stdout, command.Stderr = r.log, r.log
	command.SysProcAttr = childAttributes()
	started, ended := make(chan error), make(chan struct{})
	go func() {
		// A child may die with the thread that started it, so the thread lives as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait() // how it ended is in its ProcessState
			close(ended)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	r.command, r.ended = command, ended
	await(t, "a replica to be ready", func() bool {
		select {
		case <-ended:
			t.Fatalf("the replica ended: %v\n%s", command.ProcessState, strings.Join(r.log.all(), "\n"))
		default:
		}
		status, _, err := get("http://" + r.admin + "/readyz")
		return err == nil && status == http.StatusOK
	})
}

// signal sends a signal to the process.
func (r *replica) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := r.command.Process.Signal(signal); err != nil {
		t.Fatalf("signalling a replica: %v", err)
	}
}

// end sends a signal, where the process still runs, and waits for its end.
func (r *replica) end(t *testing.T, signal syscall.Signal) {
	t.Helper()
	select {
	case <-r.ended:
		return
	default:
		r.signal(t, signal)
		<-r.ended
	}
}

// metric returns the sum of the samples of a metric that have all these labels; 0 where there is none.
func (r *replica) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	_, text, err := get("http://" + r.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
samples:
	for scanner := bufio.NewScanner(bytes.NewReader(text)); scanner.Scan(); {
		line := scanner.Text()
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(rest, label) {
				continue samples
			}
		}
		value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			t.Fatalf("reading the metric %s: %v", name, err)
		}
		sum += value
	}
	return sum
}

// get asks an admin service.
func get(url string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, errors.Join(err, ctx.Err())
}

// secondReplica adds an endpoint to the cluster of Kasbah, as the comment there says.
func secondReplica(address string) func(*bootstrap) {
	return func(b *bootstrap) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			b.t.Fatal(err)
		}
		number, err := strconv.Atoi(port)
		if err != nil {
			b.t.Fatal(err)
		}
		endpoints := b.mapping(b.cluster("kasbah"), "load_assignment", "endpoints", 0)
		list, ok := endpoints["lb_endpoints"].([]any)
		if !ok || len(list) != 1 {
			b.t.Fatal(fmt.Errorf("the cluster of Kasbah has not one endpoint: %v", endpoints))
		}
		endpoints["lb_endpoints"] = append(list, map[string]any{"endpoint": map[string]any{"address": map[string]any{
			"socket_address": map[string]any{"address": host, "port_value": number},
		}}})
	}
}
