package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
)

// benchLoad sends the requests, each again and again on a connection of its own, and returns how long each took. The client
// shares the machine with what it measures, so it does no more than it must.
func benchLoad(ctx context.Context, address string, requests [][]byte, duration time.Duration) ([]time.Duration, error) {
	end := time.Now().Add(duration)
	latencies, faults := make([][]time.Duration, len(requests)), make([]error, len(requests))
	var clients sync.WaitGroup
	for i, request := range requests {
		clients.Go(func() { latencies[i], faults[i] = benchClient(ctx, address, request, end) })
	}
	clients.Wait()
	return slices.Concat(latencies...), errors.Join(faults...)
}

func benchClient(ctx context.Context, address string, request []byte, end time.Time) (latencies []time.Duration, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(end.Add(10 * time.Second)); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	for now := time.Now(); now.Before(end) && ctx.Err() == nil; {
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		if err := readOK(in); err != nil {
			return nil, err
		}
		answered := time.Now()
		latencies = append(latencies, answered.Sub(now))
		now = answered
	}
	return latencies, nil
}

// readOK reads one answer, which must be the 200 that Envoy gives to what is allowed.
func readOK(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("a request that is allowed is answered with %q", line)
	}
	length := 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("content-length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	_, err = in.Discard(length)
	return err
}

// tick is the unit of /proc/PID/stat: 1/100 s, on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpuTime returns the CPU time that a process has used so far.
func cpuTime(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the account of process %d, which only Linux keeps in /proc: %w", pid, err)
	}
	_, rest, _ := strings.Cut(string(data), ") ") // behind the name, which may hold anything
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("the account of process %d has %d fields", pid, len(fields))
	}
	user, errUser := strconv.Atoi(fields[11])
	system, errSystem := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick, errors.Join(errUser, errSystem)
}

// residentSize returns how much memory a process holds, in bytes.
func residentSize(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0, fmt.Errorf("the memory of process %d is %q", pid, data)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// ServeNothing is what Kasbah is measured against: grpc-go's ext_authz server with default settings, which allows everything.
// It serves until ctx ends.
func ServeNothing(ctx context.Context, listener net.Listener) error {
	s := grpc.NewServer()
	authv3.RegisterAuthorizationServer(s, nothing{})
	defer context.AfterFunc(ctx, s.Stop)()
	if err := s.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

type nothing struct {
	authv3.UnimplementedAuthorizationServer
}

func (nothing) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}}, nil
}
